"""The effect of very small batches on an arm: against itself at large ones, and against another arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from ablate.core.levels import Level, is_number
from ablate.stats.arrays import Floats
from ablate.stats.failures import fails_more
from ablate.stats.seed_rule import FIXED, SeedRule
from analysis import formats
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import factors, levels_of
from analysis.effects.matched import MarginRow, margins
from analysis.effects.trial_rows import trials_of
from analysis.paper import ruling
from analysis.sources.outcomes import is_failed
from analysis.sources.runs import Runs

KEY = "recipe.batch_size"
VERY_SMALL = 16
"""Images in the largest batch that counts as very small."""

FEWEST_SEEDS = 5
"""With fewer seeds that fail in one condition alone, no exact test is significant: 1/2 to the power of 5 is 0.03."""


@dataclass(frozen=True)
class AtSize:
    """An arm at one very small batch size.

    size: images in a batch. largest: images in the study's largest batch.
    own_pp: (n,) the arm's accuracy at this size minus its own at `largest`, in percentage points, one per seed.
    margin_pp: (n,) the arm's accuracy at this size minus the other arm's at this size.
    failed: the number of trials that failed: of either arm at this size, or of this arm at the largest.
    seed_rule: how the study came to its number of seeds.
    """

    arm: str
    other: str
    size: int | float
    largest: int | float
    own_pp: Floats
    margin_pp: Floats
    failed: int
    seed_rule: SeedRule = FIXED


@dataclass(frozen=True)
class Failures:
    """Trials of two conditions that agree in all but the condition, and how many of them failed.

    first, second: how many failed in each condition, of how many that are done or failed.
    excess_by_seed: (n,) what `ablate.stats.failures.fails_more` takes.
    """

    first: tuple[int, int]
    second: tuple[int, int]
    excess_by_seed: Sequence[int]

    @property
    def p(self) -> float:
        return fails_more(self.excess_by_seed)


def failures(runs: Runs, first: Mapping[str, Level], second: Mapping[str, Level]) -> Failures:
    """Return the failures in two conditions, paired by cell and seed.

    Args:
        runs: the study.
        first: the levels of the first condition.
        second: the same keys at the second one's. They alone differ between the trials of a pair; keys below one that
            differs, as norm.temperature below norm, need not agree.
    """
    changed = [key for key in first if first[key] != second[key]]
    keys = [key for key in factors(runs) if key not in first and not key.startswith(tuple(f"{c}." for c in changed))]
    by_cell = []
    for levels in (first, second):
        trials = trials_of(runs.frame[(runs.frame[list(levels)] == pd.Series(levels)).all(axis=1)], keys)
        outcomes: dict[tuple[int, str], list[bool]] = defaultdict(list)
        for trial in trials:
            if trial.has_ended:
                cell = repr([trial.levels.get(key) for key in keys])
                outcomes[trial.seed, cell].append(trial.is_failed)
        by_cell.append(outcomes)
    excess: dict[int, int] = {}
    for seed, cell in by_cell[0].keys() & by_cell[1].keys():
        pairs = product(by_cell[0][seed, cell], by_cell[1][seed, cell])
        excess[seed] = excess.get(seed, 0) + sum(int(failed) - int(other_failed) for failed, other_failed in pairs)
    counts = [[failed for outcomes in cells.values() for failed in outcomes] for cells in by_cell]
    return Failures(
        (sum(counts[0]), len(counts[0])), (sum(counts[1]), len(counts[1])), [excess[seed] for seed in sorted(excess)]
    )


def at_sizes(runs: Runs, arm: str, other: str, rows: Iterable[MarginRow]) -> list[AtSize]:
    """Return the arm at every very small batch size that the study compares with a larger one.

    Each seed's value is the mean over the cells of the other factors.

    Args:
        runs: the study.
        arm: a level of the norm.
        other: the level that `rows` compare it with.
        rows: what `matched.margins` returns for arm minus other.
    """
    rows = [row for row in rows if KEY in row.levels]
    sizes = [
        size for size in levels_of(runs.frame, KEY) if is_number(size) and any(row.levels[KEY] == size for row in rows)
    ]
    measured = []
    for size in sizes[:-1]:
        if size > VERY_SMALL:
            continue
        own = [row for row in margins(runs, Contrast(KEY, size, sizes[-1])) if row.levels.get("norm") == arm]
        against_other = [row for row in rows if row.levels[KEY] == size]
        failed = sum(sum(row.failed) for row in (*own, *against_other))
        values = _by_seed(own), _by_seed(against_other)
        measured.append(AtSize(arm, other, size, sizes[-1], *values, failed, runs.seed_rule))
    return measured


def sentences(measured: Sequence[AtSize], p_values: Sequence[float | None], shown: Sequence[int]) -> list[str]:
    """Return the results in words.

    Each result that is shown has a sentence. Of an arm for which nothing is shown, the result with the smallest p value
    has one.

    Args:
        measured: the arms at the sizes that were tested.
        p_values: of each test.
        shown: the indices of the results that are shown.
    """
    lines = []
    for arm in dict.fromkeys(at_size.arm for at_size in measured):
        of_arm = [index for index, at_size in enumerate(measured) if at_size.arm == arm]
        strongest = min(of_arm, key=lambda index: 1.0 if p_values[index] is None else p_values[index] or 0.0)
        reported = [index for index in of_arm if index in shown] or [strongest]
        lines += [_sentence(measured[index], p_values[index]) for index in reported]
        not_shown = [formats.shown(measured[index].size) for index in of_arm if index not in shown]
        lines += [f"Not shown for {arm} at {', '.join(not_shown)}."] * bool(not_shown)
    return lines


def _sentence(at_size: AtSize, p: float | None) -> str:
    arm, other, size, largest = at_size.arm, at_size.other, at_size.size, at_size.largest
    if not len(at_size.own_pp) or not len(at_size.margin_pp):
        return f"No seed of {arm} is done both at batches of {size} and of {largest}, and in {other}."
    below_own = f"{_side(at_size.own_pp)} itself at {largest} ({_spread(at_size.own_pp, at_size.seed_rule)})"
    below_other = f"{_side(at_size.margin_pp)} {other} ({_spread(at_size.margin_pp, at_size.seed_rule)})"
    text = f"At batches of {size} {arm} is {below_own}, and {below_other}"
    return f"{text}: no test." if p is None else f"{text}; both below: {formats.p_is(p)}."


def failures_in_words(at_size: AtSize, own: Failures, against_other: Failures, p: float | None) -> str:
    """Return how many trials of both arms failed, and the tests, as a sentence; `p` is adjusted."""
    seeds = sum(1 for excess in own.excess_by_seed if excess > 0)
    few = f" {seeds} seeds cannot show it; {FEWEST_SEEDS} can." if 0 < seeds < FEWEST_SEEDS else ""
    return (
        f"Diverged at batches of {at_size.size}: {own.first[0]} of {own.first[1]} {at_size.arm}, against "
        f"{own.second[0]} of {own.second[1]} at {at_size.largest}, and {against_other.second[0]} of "
        f"{against_other.second[1]} {at_size.other} at {at_size.size} (more than either, exact tests within cell with "
        f"the seed as the block, one-sided, {formats.p_is(p)}).{few}"
    )


def table(measured: Iterable[AtSize], p_values: Iterable[float | None]) -> pd.DataFrame:
    """Return a row for each arm and size."""
    return pd.DataFrame(
        {
            "arm": at_size.arm,
            "batch": formats.shown(at_size.size),
            f"minus itself at {at_size.largest} (pp)": _mean(at_size.own_pp),
            "95% interval": ruling.interval(at_size.own_pp, at_size.seed_rule),
            f"minus {at_size.other} (pp)": _mean(at_size.margin_pp),
            "its 95% interval": ruling.interval(at_size.margin_pp, at_size.seed_rule),
            "n": min(len(at_size.own_pp), len(at_size.margin_pp)),
            "p": formats.p_value(p),
        }
        for at_size, p in zip(measured, p_values, strict=True)
    )


def by_arm(runs: Runs, key: str) -> pd.DataFrame:
    """Return the accuracy of each norm at each level of the key, over all other factors, with a row for each."""
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
                    "failed": int(trials["outcome"].map(is_failed).sum()),
                    "test accuracy (%)": f"{acc_pct.mean():.2f}" if len(acc_pct) else formats.ABSENT,
                }
            )
    return pd.DataFrame(rows)


def _by_seed(rows: Iterable[MarginRow]) -> Floats:
    values: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        for seed, value in row.by_seed.items():
            values[seed].append(value)
    return np.round([np.mean(values[seed]) for seed in sorted(values)], 9)


def _mean(values_pp: Floats) -> str:
    return formats.signed(float(np.mean(values_pp))) if len(values_pp) else formats.ABSENT


def _side(values_pp: Floats) -> str:
    mean = round(float(np.mean(values_pp)), 2)
    return f"{abs(mean):.2f} points {'above' if mean >= 0 else 'below'}"


def _spread(values_pp: Floats, seed_rule: SeedRule) -> str:
    spread = ruling.interval(values_pp, seed_rule).replace("-", "−")
    return f"95% interval {spread}, n = {len(values_pp)}" if spread != formats.ABSENT else f"n = {len(values_pp)}"
