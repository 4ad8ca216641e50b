"""The figure that a report compares: its name, its unit, and how its numbers are written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum

import pandas as pd

from ablate.core.errors import UsageError
from analysis import formats

Unit = Enum("Unit", ["percent", "fraction", "plain"])
"""How a metric's values are to be read: 98 is 98%, 0.98 is 98%, or a number without a unit."""

_SHARE = re.compile(r"acc|auc|auroc|precision|recall|f1|top.?\d|dice|iou", re.IGNORECASE)
"""Names of metrics that are shares of 1 and, where they are near 0, useless: so that 0.98 is never 0.98%."""

_ERROR = re.compile(r"err|wer|cer|fpr|fnr", re.IGNORECASE)
"""Names of metrics that may be shares, of which 0.98 may be 98% and may be 0.98%."""


@dataclass(frozen=True)
class Measure:
    """The name and the units of the figure in column `acc`, as reports show them.

    `unit` follows a figure and `points` a margin; numbers stand alone where they are empty. `acc` holds a hundredth of
    the number that is shown: 0.98 is 98%. `decimals` are those of a figure and of a margin.
    """

    name: str = "test accuracy"
    unit: str = "%"
    points: str = "pp"
    lower_is_better: bool = False
    decimals: int = 2

    def of(self, what: str, unit: str) -> str:
        """Return a heading with its unit.

        >>> Measure().of("margin", Measure().points), Measure("loss", "", "").of("margin", "")
        ('margin (pp)', 'margin')
        """
        return f"{what} ({unit})" if unit else what

    def figure(self, acc: float | None) -> str:
        """Return a figure without its unit; a dash if there is none.

        >>> Measure().figure(0.98), Measure("loss", "", "", decimals=4).figure(0.000123)
        ('98.00', '0.0123')
        """
        return formats.ABSENT if acc is None else f"{100 * acc:.{self.decimals}f}"

    def margin(self, value_pp: float | None) -> str:
        """Return a margin with its sign and without its unit; a dash if there is none."""
        return formats.ABSENT if value_pp is None else formats.signed(value_pp, self.decimals)

    def size(self, value_pp: float | None) -> str:
        """Return how large a margin is, without sign and unit; a dash if there is none."""
        return formats.ABSENT if value_pp is None else f"{abs(value_pp):.{self.decimals}f}"

    def interval(self, low_pp: float | None, high_pp: float | None) -> str:
        """Return both ends of an interval of margins; a dash if there is none."""
        return formats.interval(low_pp, high_pp, self.decimals)

    @property
    def in_points(self) -> str:
        """Return what follows a margin in a sentence."""
        return " points" if self.points else ""


TEST_ACCURACY = Measure()


def measured(
    name: str, values: pd.Series[float], *, unit: Unit | None = None, lower_is_better: bool = False
) -> tuple[Measure, pd.Series[float], str]:
    """Return how a metric is shown, its values as `acc`, and a sentence on a unit that nobody has named.

    >>> measured("auc", pd.Series([0.5, 0.9]))[0].points, measured("loss", pd.Series([0.5, 1.9]))[0].points
    ('pp', '')

    Args:
        name: the metric's name.
        values: the metric of each run; NaN where a run has none.
        unit: as the user typed it; None to tell it by the name and the values, where that cannot be wrong.
        lower_is_better: whether less of it is better.

    Raises:
        UsageError: the values do not fit the unit, or the unit cannot be told.
    """
    known = values.dropna()
    note = ""
    if unit is None:
        unit = _unit(name, known, lower_is_better=lower_is_better)
        note = _note(name, unit)
    most = {Unit.percent: 100, Unit.fraction: 1}.get(unit)
    if most and not known.between(0, most).all():
        outside = known[~known.between(0, most)].iloc[0]
        raise UsageError(
            f"unit={unit.name}: {name} is {outside:g} in a run; allowed: values from 0 to {most}, or plain"
        )
    if unit is Unit.plain:
        return Measure(name, "", "", lower_is_better, _decimals(known)), values / 100, note
    return Measure(name, lower_is_better=lower_is_better), values if unit is Unit.fraction else values / 100, note


def _unit(name: str, known: pd.Series[float], *, lower_is_better: bool) -> Unit:
    """Return the unit of a metric where name and values leave no doubt.

    Raises:
        UsageError: they leave doubt.
    """
    are_shares = bool(len(known)) and known.between(0, 1).all()
    if _SHARE.search(name) and not lower_is_better and len(known) and known.between(0, 100).all():
        return Unit.fraction if are_shares else Unit.percent
    if _ERROR.search(name) and are_shares:
        raise UsageError(
            f"metric={name}: its values lie between {known.min():g} and {known.max():g}; are they percent? "
            "allowed: unit=percent, unit=fraction or unit=plain"
        )
    return Unit.plain


def _note(name: str, unit: Unit) -> str:
    if unit is Unit.plain:
        return (
            f"{name} is shown as it is (unit=plain); which differences are too small to be of interest, equivalence= "
            "alone says."
        )
    return f"{name} is taken for a {'share of 1' if unit is Unit.fraction else 'percentage'} (unit={unit.name})."


def _decimals(known: pd.Series[float]) -> int:
    """Return as many decimals as show two digits of the spread of the values, and at least two.

    >>> _decimals(pd.Series([0.0021, 0.0022, 0.0024])), _decimals(pd.Series([1.5, 2.5])), _decimals(pd.Series([1.0]))
    (5, 2, 3)
    """
    spread = float(known.std()) if len(known) > 1 else 0.0
    scale = spread or float(known.abs().max()) / 100 if len(known) else 0.0
    return min(9, max(2, 1 - math.floor(math.log10(scale)))) if scale > 0 else 2
