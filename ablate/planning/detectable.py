"""The margin that a planned study can show, from the spread between seeds of finished trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ablate.core.study import Cell
from ablate.core.text import counted
from ablate.planning.contrasts import pairs
from ablate.planning.estimates import Expectations
from ablate.planning.plan import Plan


class Spread(NamedTuple):
    """The standard deviation between seeds within a cell, in percentage points, and what it was taken from."""

    sd_pp: float
    cells: int
    trials: int


def notes(planned: Plan, expected: Expectations) -> list[str]:
    """Return a line that names the margin which the study finds with a chance of 80%; none where no spread is known.

    The difference of two trials with the same seed is taken to spread as that of two with different seeds; pairing
    makes it smaller where a seed moves both arms alike.
    """
    from ablate.stats.moderated import FROM_CELLS  # NumPy and SciPy, which no other line needs
    from ablate.stats.power import POWER, detectable_pp

    design = planned.study.metadata.get("design") or {}
    base = Cell(tuple(design["base"].items())) if design.get("base") else None
    compared = pairs(list(planned.configs), planned.study.factors, planned.study.contrast, base)
    if not compared:
        return []
    seeds = planned.auto.most if planned.auto else min(planned.seeds.values())
    if seeds < 2:
        return ["With one seed no margin is tested; allowed: seeds=3, say."]
    spread = pooled(expected.test_accs_pct(list(planned.configs.values())))
    if spread is None:
        return []
    alone = detectable_pp(spread.sd_pp * math.sqrt(2), seeds)
    text = f"a margin of about {alone:.1f} points would be found in {100 * POWER:.0f}%"
    if len(compared) > 1:
        many = len(compared) >= FROM_CELLS and not planned.auto
        df = (seeds - 1) * len(compared) if many else None
        among = detectable_pp(spread.sd_pp * math.sqrt(2), seeds, len(compared), df)
        text += f" if it were alone, of about {among:.1f} as one of {len(compared)}"
        text += ", if all spread alike" if many else ""
    most = "up to " if planned.auto else ""
    return [
        f"With {most}{seeds} seeds, and a spread between seeds of {spread.sd_pp:.2f} points as in "
        f"{counted(spread.trials, 'finished trial')} on such data here, {text}."
    ]


def pooled(accs_pct: Mapping[str, Sequence[float]]) -> Spread | None:
    """Return the standard deviation between seeds, pooled over the cells that have several; None without a spread.

    >>> pooled({"a": [90.0, 92.0], "b": [80.0, 80.0], "c": [70.0]})
    Spread(sd_pp=1.0, cells=2, trials=4)

    Args:
        accs_pct: cell -> the test accuracy of each of its finished trials, in percent.
    """
    several = [accs for accs in accs_pct.values() if len(accs) > 1]
    if not several:
        return None
    squares = sum(statistics.variance(accs) * (len(accs) - 1) for accs in several)
    trials = sum(map(len, several))
    sd_pp = math.sqrt(squares / (trials - len(several)))
    return Spread(sd_pp, len(several), trials) if sd_pp else None
