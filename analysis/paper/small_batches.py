"""What very small batches do to an arm: against itself at large ones, and against another arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import formats
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow, margins
from analysis.paper import ruling
from analysis.sources.runs import Runs

KEY = "recipe.batch_size"
VERY_SMALL = 16
"""Images in the largest batch that counts as very small."""


@dataclass(frozen=True)
class AtSize:
    """An arm at one very small batch size.

    own_pp: (n,) its accuracy there minus its own at `largest`, in percentage points, one a seed.
    margin_pp: (n,) the same accuracy minus the other arm's there.
    diverged: trials of either arm at this size, or of this arm at the largest, that did.
    """

    arm: str
    other: str
    size: int
    largest: int
    own_pp: NDArray[np.float64]
    margin_pp: NDArray[np.float64]
    diverged: int


def at_sizes(runs: Runs, arm: str, other: str, rows: Iterable[MarginRow]) -> list[AtSize]:
    """The arm at every very small batch size that stands beside a larger one.

    Each seed's value is the mean over the cells of the other factors.

    Args:
        runs: the study.
        arm: a level of the norm.
        other: the level that `rows` compare it with.
        rows: what `matched.margins` gives for arm minus other.
    """
    rows = [row for row in rows if KEY in row.levels]
    sizes = [size for size in levels_of(runs.frame, KEY) if any(row.levels[KEY] == size for row in rows)]
    found = []
    for size in sizes[:-1]:
        if size > VERY_SMALL:
            continue
        own = [row for row in margins(runs, Contrast(KEY, size, sizes[-1])) if row.levels.get("norm") == arm]
        there = [row for row in rows if row.levels[KEY] == size]
        diverged = sum(sum(row.diverged) for row in (*own, *there))
        found.append(AtSize(arm, other, size, sizes[-1], _by_seed(own), _by_seed(there), diverged))
    return found


def sentences(found: Sequence[AtSize], p_values: Sequence[float | None], shown: Sequence[int]) -> list[str]:
    """In words, each place that is shown; of an arm of which nothing is, the one with the smallest p value."""
    told = []
    for arm in dict.fromkeys(one.arm for one in found):
        its = [at for at, one in enumerate(found) if one.arm == arm]
        strongest = min(its, key=lambda at: 1.0 if p_values[at] is None else p_values[at] or 0.0)
        said = [at for at in its if at in shown] or [strongest]
        told += [_sentence(found[at], p_values[at]) for at in said]
        silent = [formats.shown(found[at].size) for at in its if at not in shown]
        told += [f"Not shown for {arm} at {', '.join(silent)}."] * bool(silent)
    return told


def _sentence(one: AtSize, p: float | None) -> str:
    where = f"At batches of {one.size} {one.arm} is"
    if not len(one.own_pp) or not len(one.margin_pp):
        return f"No seed of {one.arm} is done both at batches of {one.size} and of {one.largest}, and in {one.other}."
    own = f"{_side(one.own_pp)} itself at {one.largest} ({_spread(one.own_pp)})"
    other = f"{_side(one.margin_pp)} {one.other} ({_spread(one.margin_pp)})"
    told = f"{where} {own}, and {other}"
    return f"{told}: no test." if p is None else f"{told}; both below: {formats.p_is(p)}."


def table(found: Iterable[AtSize], p_values: Iterable[float | None]) -> pd.DataFrame:
    """A row for each size."""
    return pd.DataFrame(
        {
            "arm": one.arm,
            "batch": formats.shown(one.size),
            f"minus itself at {one.largest} (pp)": _mean(one.own_pp),
            "95% interval": ruling.interval(one.own_pp),
            f"minus {one.other} (pp)": _mean(one.margin_pp),
            "its 95% interval": ruling.interval(one.margin_pp),
            "n": min(len(one.own_pp), len(one.margin_pp)),
            "p": formats.p_value(p),
        }
        for one, p in zip(found, p_values, strict=True)
    )


def by_arm(runs: Runs, key: str) -> pd.DataFrame:
    """Accuracy of each norm at each level of the key, over all other factors: a row each."""
    rows = []
    for level in levels_of(runs.frame, key):
        for norm in levels_of(runs.frame, "norm"):
            trials = runs.frame[(runs.frame[key] == level) & (runs.frame["norm"] == norm)]
            acc_pct = 100 * trials.loc[trials["outcome"] == "done", "acc"].dropna()
            rows.append(
                {
                    key: formats.shown(level),
                    "norm": norm,
                    "n": len(acc_pct),
                    "diverged": int((trials["outcome"] == "diverged").sum()),
                    "test accuracy (%)": f"{acc_pct.mean():.2f}" if len(acc_pct) else formats.ABSENT,
                }
            )
    return pd.DataFrame(rows)


def _by_seed(rows: Iterable[MarginRow]) -> NDArray[np.float64]:
    values: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        for seed, value in row.by_seed.items():
            values[seed].append(value)
    return np.round([np.mean(values[seed]) for seed in sorted(values)], 9)


def _mean(values_pp: NDArray[np.float64]) -> str:
    return formats.signed(float(np.mean(values_pp))) if len(values_pp) else formats.ABSENT


def _side(values_pp: NDArray[np.float64]) -> str:
    mean = round(float(np.mean(values_pp)), 2)
    return f"{abs(mean):.2f} points {'above' if mean >= 0 else 'below'}"


def _spread(values_pp: NDArray[np.float64]) -> str:
    spread = ruling.interval(values_pp).replace("-", "−")
    return f"95% interval {spread}, n = {len(values_pp)}" if spread != formats.ABSENT else f"n = {len(values_pp)}"
