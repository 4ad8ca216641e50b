"""What a study's design varies, trial by trial, and what a report shows of each of its factors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Required, TypedDict

import pandas as pd

from ablate.core import expression
from ablate.core.errors import UsageError
from ablate.core.expression import Expression
from ablate.core.levels import Level, same
from ablate.tracking import encoding
from analysis.effects.factors import factors
from analysis.effects.matched import MarginRow
from analysis.effects.trial_rows import TrialRow, trials_of
from analysis.effects.verdict import Verdict
from analysis.formats import shown
from analysis.sources.runs import Runs

AROUND = ("one_factor", "leave_one_out", "add_one_in")
"""The designs that change one factor at a time from a base cell."""
FEW_CELLS = ("fractional", "screening", "random")
"""The designs in which few cells or none pair up: their main effects are estimated together."""

Levels = Mapping[str, Level]
"""The factors that are set in a cell, with their levels."""


class Design(TypedDict, total=False):
    """A study's design, as the study recorded it.

    kind: its name. base, reference, bare: the cells that effects are measured from; a design has those that it needs.
    zip: the factors that change together, a list for each group. when: the condition of each conditional factor, as
    typed. resolution: that of a regular fraction.
    """

    kind: Required[str]
    base: Levels | None
    reference: Levels | None
    bare: Levels | None
    zip: Sequence[Sequence[str]]
    when: Mapping[str, str]
    resolution: int | None


@dataclass(frozen=True)
class Axis:
    """A factor that a design varies, or several that it varies together (zipped)."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.names)

    def of(self, levels: Levels) -> tuple[tuple[str, Level], ...]:
        """Return the axis's (factor, level) pairs in a cell; empty where the cell does not set it."""
        return tuple((name, levels[name]) for name in self.names if name in levels)

    def in_words(self, levels: Levels) -> str:
        """Return the axis's level in a cell, in words.

        >>> Axis(("bits",)).in_words({"bits": 1}), Axis(("depth", "width")).in_words({"depth": 14, "width": 2})
        ('1', 'depth 14, width 2')
        """
        pairs = self.of(levels)
        if len(self.names) == 1:
            return in_words(pairs[0][1]) if pairs else "not set"
        return ", ".join(f"{name} {in_words(level)}" for name, level in pairs) or "not set"

    def differs(self, first: Levels, second: Levels) -> bool:
        """Return whether any factor of the axis that both cells set is at another level."""
        both = [name for name in self.names if name in first and name in second]
        return any(not same(first[name], second[name]) for name in both)


@dataclass(frozen=True)
class Alias:
    """A two-factor interaction that is mixed into a main effect, `weight` times.

    An interaction is half of the difference that the other factor's level, against its reference, makes to a factor's
    effect.
    """

    name: str
    weight: float


@dataclass(frozen=True)
class DesignEffect:
    """The effect of a factor: the level `first` minus the level `second`, in percentage points.

    row: its margin, with a value per seed, and the accuracies of both sides where these are two cells.
    zipped: whether it is the effect of several factors that change together; the levels then name them.
    """

    factor: str
    first: str
    second: str
    row: MarginRow
    aliases: Sequence[Alias] = ()
    zipped: bool = False


@dataclass(frozen=True)
class DesignEffects:
    """The effects that a design is made to show.

    kind: the design.
    base: the cell that the others are compared with, or the reference cell of main effects.
    base_acc: its mean accuracy in [0, 1]; None where none of its trials is done.
    cells, seeds: how many the study has.
    resolution: that of a regular fraction; None for other designs.
    balanced: whether the levels of every two factors occur together equally often.
    notes: what a reader must know.
    """

    kind: str
    base: Levels
    base_acc: float | None
    effects: Sequence[DesignEffect]
    cells: int
    seeds: int
    verdicts: Sequence[Verdict] = ()
    resolution: int | None = None
    balanced: bool = True
    notes: Sequence[str] = ()

    @property
    def around(self) -> bool:
        """Whether each effect compares two cells that differ in that factor alone; otherwise they are main effects."""
        return self.kind in AROUND

    @property
    def has_effects(self) -> bool:
        return any(effect.row.margin for effect in self.effects)

    @property
    def knows_test_set(self) -> bool:
        return any(effect.row.margin and effect.row.margin.test_set for effect in self.effects)


class Cells:
    """The cell of each trial of a study whose design is known.

    trials: as plain values.
    levels: for each trial, the factors that are set in it.
    extras: the keys that have several values although nobody swept them.
    derived: the keys whose values follow from another choice.
    """

    def __init__(self, runs: Runs) -> None:
        self.design: Design = runs.metadata["design"]
        typed = [key for key in runs.factors if key in runs.frame]
        self.extras = [key for key in factors(runs) if key not in (*typed, *runs.derived)]
        self.derived = [key for key in runs.derived if key in runs.frame]
        self.trials: list[TrialRow] = trials_of(runs.frame, [*typed, *self.extras, *self.derived])
        self.axes = _axes(typed, self.design.get("zip", ()))
        self.when = _conditions(self.design.get("when", {}), typed, runs.frame)
        self.levels = [self.is_set({key: trial.levels[key] for key in typed}) for trial in self.trials]

    def is_set(self, levels: Levels) -> dict[str, Level]:
        """Return the levels without the factors whose condition does not hold."""
        kept = dict(levels)
        for name, condition in self.when.items():
            if name in kept and not condition.holds(kept):
                del kept[name]
        return kept

    def cell(self, name: Literal["base", "reference", "bare"]) -> dict[str, Level]:
        """Return the cell that the design calls by this name; empty where it has none."""
        return self.is_set(self.design.get(name) or {})

    def at(self, levels: Levels) -> list[TrialRow]:
        """Return the trials of a cell."""
        return [trial for trial, own in zip(self.trials, self.levels, strict=True) if self.alike(own, levels)]

    def alike(self, first: Levels, second: Levels) -> bool:
        """Return whether two cells set the same factors to the same levels."""
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)


def in_words(level: Level) -> str:
    """Return a level for people, null included.

    >>> in_words(0.5), in_words(None)
    ('0.5', 'null')
    """
    return "null" if level is None else shown(level)


def mean_acc(trials: Sequence[TrialRow]) -> float | None:
    """Return the mean accuracy of the trials that are done, in [0, 1]; None if none is."""
    accs = [trial.acc for trial in trials if trial.is_done]
    return sum(accs) / len(accs) if accs else None


def _axes(typed: Sequence[str], zips: Sequence[Sequence[str]]) -> list[Axis]:
    zipped = {name: tuple(names) for names in zips for name in names}
    return [Axis(names) for names in dict.fromkeys(zipped.get(name, (name,)) for name in typed)]


def _conditions(when: Mapping[str, str], typed: Sequence[str], frame: pd.DataFrame) -> dict[str, Expression]:
    """Return each conditional factor's condition.

    A factor that another's condition names comes before the other: the study's plan has put them in this order.
    """
    conditions = {}
    for name, text in when.items():
        words = [encoding.level(word) for word in re.findall(r"[^\s()\[\],'\"=!<>]+", text)]
        levels = {key: _levels(frame[key], words) for key in typed}
        try:
            conditions[name] = expression.read(f"when.{name}", text, levels, when)
        except UsageError:  # it names levels that no trial has
            continue
    return conditions


def _levels(column: pd.Series, words: Sequence[Level]) -> list[Level]:
    """Return a factor's levels, and the words that an expression may compare it with."""
    levels = [level for level in column.astype(object).unique() if not pd.isna(level)]
    only_numbers = all(isinstance(level, int | float) for level in levels)
    return [*levels, *(word for word in words if isinstance(word, int | float) or not only_numbers)]
