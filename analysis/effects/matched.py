"""A contrast in every cell of the other factors: trials that differ in it alone, paired by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.core.levels import show
from ablate.stats.finite_test_set import test_set_error
from ablate.stats.paired import EQUIVALENCE_PP, Margin, differences_pp, margin
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import factors, level_positions
from analysis.sources.runs import Runs

Row = dict[str, Any]
"""A trial as plain values: its seed, outcome, acc, run_id, code_version, and its levels."""


@dataclass(frozen=True)
class MarginRow:
    """A contrast in one cell: its other factors' levels, and the margin where both arms have a seed.

    by_seed: each seed's margin in percentage points, in the order of the runs.
    diverged: how many trials of the first and of the second arm did.
    planned: how many seeds the arm with more of them has, done or not.
    versions: the code that made the runs.
    lacks_an_arm: whether one arm has no trial at all, done or not.
    """

    levels: dict[str, Any]
    margin: Margin | None
    first_acc: float | None
    second_acc: float | None
    first_runs: Sequence[str]
    second_runs: Sequence[str]
    notes: Sequence[str]
    by_seed: Mapping[int, float] = field(default_factory=dict)
    diverged: tuple[int, int] = (0, 0)
    planned: int = 0
    versions: Sequence[str] = ()
    lacks_an_arm: bool = False


def margins(
    runs: Runs,
    contrast: Contrast,
    *,
    equivalence_pp: float = EQUIVALENCE_PP,
    right: Mapping[str, NDArray[np.bool_]] | None = None,
) -> list[MarginRow]:
    """The contrast in every cell of the other factors, paired by seed.

    All other factors match exactly. A key that only one arm has (norm.temperature under srelu) cannot:
    each of its levels is a row, against the same trials of the other arm. A derived key need not match, unless
    an arm has several of its levels in one cell; where the arms differ in one, a note says so.

    Args:
        runs: the study.
        contrast: what is compared.
        equivalence_pp: the smallest difference of interest.
        right: run_id -> (items,) whether the trial got each test item right, of the trials of which it is known.
    """
    keys = [key for key in factors(runs) if key != contrast.factor]
    most = runs.terms.get("seeds", {}).get("most")
    frame = runs.frame
    arms = [frame[_is(frame[contrast.factor], level)] for level in (contrast.first, contrast.second)]
    own = [key for key in keys if key.startswith(f"{contrast.factor}.") and any(arm[key].isna().all() for arm in arms)]
    shared = [key for key in keys if key not in own]
    unmatched = [key for key in runs.derived if key in frame and key not in keys]
    unmatched = [key for key in unmatched if not key.startswith(f"{contrast.factor}.")]
    trials = [trials_of(arm, [*shared, *own, *unmatched]) for arm in arms]
    by_cell = [_cells(arm, shared) for arm in trials]
    in_both = by_cell[0].keys() & by_cell[1].keys()
    told_apart = {key for arm in by_cell for cell in in_both for key in _several(arm[cell], unmatched)}
    shared += [key for key in unmatched if key in told_apart]
    unmatched = [key for key in unmatched if key not in told_apart]
    by_cell = [_cells(arm, shared) for arm in trials] if told_apart else by_cell
    rows: list[MarginRow] = []
    for cell in dict.fromkeys([*by_cell[0], *by_cell[1]]):
        parts = [arm.get(cell, []) for arm in by_cell]
        levels = {key: next(trial for part in parts for trial in part)[key] for key in shared}
        first_cells, second_cells = (list(_cells(part, own).values()) or [[]] for part in parts)
        for first in first_cells:
            for second in second_cells:
                extra = {key: _either(*(arm[0][key] if arm else None for arm in (first, second))) for key in own}
                row = margin_row(
                    {**levels, **extra},
                    (first, second),
                    (f"{contrast.factor}={show(contrast.first)}", f"{contrast.factor}={show(contrast.second)}"),
                    unmatched,
                    equivalence_pp=equivalence_pp,
                    right=right or {},
                    most_seeds=most,
                )
                rows.append(row)
    return _in_order(rows, frame)


def split_constants(rows: Sequence[MarginRow]) -> tuple[list[MarginRow], dict[str, Any]]:
    """The rows without the factors that stand at one level in all of them, and those factors' levels."""
    keys = rows[0].levels if rows else {}
    constant = {key: rows[0].levels[key] for key in keys if len({repr(row.levels[key]) for row in rows}) == 1}
    kept = [replace(row, levels={k: v for k, v in row.levels.items() if k not in constant}) for row in rows]
    return kept, constant


def _in_order(rows: list[MarginRow], frame: pd.DataFrame) -> list[MarginRow]:
    """By the first factor's levels, then the next one's; numbers by size."""
    keys = list(rows[0].levels) if rows else []
    if not keys:
        return rows
    levels = pd.DataFrame([row.levels for row in rows], columns=keys, dtype=object)
    ordered = levels.sort_values(keys, key=lambda column: level_positions(frame, column))
    return [rows[index] for index in ordered.index]


def margin_row(
    levels: dict[str, Any],
    arms: tuple[Sequence[Row], Sequence[Row]],
    names: tuple[str, str],
    unmatched: Sequence[str] = (),
    *,
    equivalence_pp: float,
    right: Mapping[str, NDArray[np.bool_]],
    most_seeds: int | None,
) -> MarginRow:
    """Two arms' trials, paired by seed.

    Args:
        levels: what the row is called.
        arms: the trials of each.
        names: what its notes call them.
        unmatched: keys in which the arms may differ; a note says so.
        equivalence_pp: the smallest difference of interest.
        right: as in `margins`.
        most_seeds: as in `margin`.
    """
    first, second = arms
    notes = []
    for name, arm in zip(names, arms, strict=True):
        if not arm:
            notes.append(f"{name}: not run")
        ended_badly = Counter(trial["outcome"] for trial in arm if trial["outcome"] != "done")
        notes += [f"{name}: {count} {kind}" for kind, count in ended_badly.most_common()]
    for key in unmatched:
        told = [", ".join(map(show, dict.fromkeys(trial[key] for trial in arm))) for arm in (first, second)]
        if told[0] != told[1] and first and second:
            notes.append(f"{key} {told[0]} against {told[1]}")
    done = [{t["seed"]: t for t in arm if t["outcome"] == "done" and not np.isnan(t["acc"])} for arm in (first, second)]
    seeds = sorted(done[0].keys() & done[1].keys())
    for name, of in zip(names, done, strict=True):
        alone = len(of) - len(seeds)
        if alone and first and second:
            notes.append(f"{name}: {alone} done without a partner of the same seed")
    ended = [Counter(trial["outcome"] for trial in arm) for arm in (first, second)]
    diverged = (ended[0]["diverged"], ended[1]["diverged"])
    planned = max(len(first), len(second))
    if not seeds:
        means = [float(np.mean([t["acc"] for t in of.values()])) if of else None for of in done]
        lacks_an_arm = not (first and second)
        return MarginRow(
            *(levels, None, means[0], means[1], (), (), notes),
            diverged=diverged,
            planned=planned,
            lacks_an_arm=lacks_an_arm,
        )
    pairs = [[of[seed] for seed in seeds] for of in done]
    accs = [[trial["acc"] for trial in arm] for arm in pairs]
    runs = [[trial["run_id"] for trial in arm] for arm in pairs]
    known = [[right[run_id] for run_id in arm if run_id in right] for arm in runs]
    sizes = {len(one) for arm in known for one in arm}
    test_set = test_set_error(*known) if len(sizes) == 1 and len(known[0]) == len(known[1]) == len(seeds) else None
    return MarginRow(
        levels,
        margin(accs[0], accs[1], equivalence_pp=equivalence_pp, test_set=test_set, most_seeds=most_seeds),
        float(np.mean(accs[0])),
        float(np.mean(accs[1])),
        runs[0],
        runs[1],
        notes,
        dict(zip(seeds, differences_pp(accs[0], accs[1]).tolist(), strict=True)),
        diverged,
        planned,
        tuple(dict.fromkeys(trial["code_version"] for arm in pairs for trial in arm)),
    )


def trials_of(arm: pd.DataFrame, keys: Sequence[str]) -> list[Row]:
    """The trials as plain values of these keys and their bookkeeping, an absent key as None."""
    columns = [*dict.fromkeys(["seed", "outcome", "acc", "run_id", "code_version", *keys])]
    there = [column for column in columns if column in arm]
    values = arm[there].astype(object)
    values[values.isna()] = None
    plain = values.to_dict("records")
    for trial in plain:
        trial["acc"] = np.nan if trial["acc"] is None else trial["acc"]
        trial.setdefault("code_version", "unknown")
    return plain


def _cells(trials: Sequence[Row], keys: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """Levels as text -> the trials there. As text, since True is not 1."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for trial in trials:
        found.setdefault(tuple(repr(trial[key]) for key in keys), []).append(trial)
    return found


def _several(cell: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Those of the keys with several levels in one arm of one cell."""
    return [key for key in keys if len({repr(trial[key]) for trial in cell}) > 1]


def _is(column: pd.Series, level: Any) -> pd.Series:
    return column.astype(object).map(lambda value: value == level)


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first
