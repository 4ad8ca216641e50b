"""A contrast in every cell of the other factors: trials that differ in it alone, paired by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.core.levels import Level, show
from ablate.stats.finite_test_set import TestSet, error_of_test_set
from ablate.stats.margin import Margin, differences_pp, margin
from ablate.stats.paired import EQUIVALENCE_PP
from ablate.stats.seed_rule import SeedRule
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import factors, level_positions
from analysis.effects.trial_rows import Arms, TrialRow, trials_of
from analysis.sources.runs import Runs

Right = Mapping[str, NDArray[np.bool_]]
"""run_id -> (items,) whether the trial got each test item right, for the trials whose predictions are known."""


@dataclass(frozen=True)
class MarginRow:
    """A contrast in one cell: the levels of the other factors, and the margin where both arms have a seed.

    by_seed: each seed's margin in percentage points, in the order of the runs.
    failed: how many trials of the first and of the second arm failed, in any way.
    ended: how many trials of each arm are done or failed.
    failed_by_seed: for each seed that ended in both arms, whether the first arm failed, less whether the second did.
    planned: how many trials the arm with more of them has, done or not.
    versions: the versions of the code that made the runs.
    lacks_an_arm: whether one arm has no trial at all, done or not.
    """

    levels: dict[str, Level]
    margin: Margin | None
    first_acc: float | None
    second_acc: float | None
    first_runs: Sequence[str]
    second_runs: Sequence[str]
    notes: Sequence[str]
    by_seed: Mapping[int, float] = field(default_factory=dict)
    failed: tuple[int, int] = (0, 0)
    ended: tuple[int, int] = (0, 0)
    failed_by_seed: Mapping[int, int] = field(default_factory=dict)
    planned: int = 0
    versions: Sequence[str] = ()
    lacks_an_arm: bool = False


def margins(
    runs: Runs,
    contrast: Contrast,
    *,
    equivalence_pp: float = EQUIVALENCE_PP,
    right: Right | None = None,
) -> list[MarginRow]:
    """Return the contrast in every cell of the other factors, paired by seed.

    All other factors match exactly. A key that only one arm has (norm.temperature under srelu) cannot match: each of
    its levels is a row, against the same trials of the other arm. A derived key need not match, unless an arm has
    several of its levels in one cell; where the arms differ in one, a note says so.

    Args:
        runs: the study.
        contrast: the two levels that are compared.
        equivalence_pp: the smallest difference of interest, in percentage points.
        right: which test items the trials got right, where that is known.
    """
    frame = runs.frame
    keys = [key for key in factors(runs) if key != contrast.factor]
    frames = [frame[_is(frame[contrast.factor], level)] for level in (contrast.first, contrast.second)]
    below = [key for key in keys if key.startswith(f"{contrast.factor}.")]
    own = [key for key in below if any(arm[key].isna().all() for arm in frames)]
    shared = [key for key in keys if key not in own]
    unmatched = [key for key in runs.derived if key in frame and key not in keys]
    unmatched = [key for key in unmatched if not key.startswith(f"{contrast.factor}.")]
    arms = [trials_of(arm, [*shared, *own, *unmatched]) for arm in frames]
    by_cell = [_cells(arm, shared) for arm in arms]
    in_both = by_cell[0].keys() & by_cell[1].keys()
    per_seed = [key for key in unmatched if key not in runs.searched]
    several = {key for cells in by_cell for cell in in_both for key in _several(cells[cell], per_seed)}
    if several:
        shared += [key for key in unmatched if key in several]
        unmatched = [key for key in unmatched if key not in several]
        by_cell = [_cells(arm, shared) for arm in arms]
    names = (f"{contrast.factor}={show(contrast.first)}", f"{contrast.factor}={show(contrast.second)}")
    rows = []
    for cell in dict.fromkeys([*by_cell[0], *by_cell[1]]):
        first, second = (cells.get(cell, []) for cells in by_cell)
        levels = {key: (first or second)[0].levels[key] for key in shared}
        for pair in _pairs(first, second, own):
            row = margin_row(
                levels | {key: _either(*(arm[0].levels[key] if arm else None for arm in pair)) for key in own},
                pair,
                names,
                unmatched,
                equivalence_pp=equivalence_pp,
                right=right or {},
                seed_rule=runs.seed_rule,
            )
            rows.append(row)
    return _in_order(rows, frame)


def split_constants(rows: Sequence[MarginRow]) -> tuple[list[MarginRow], dict[str, Level]]:
    """Return the rows without the factors that have one level in all of them, and those factors with their levels."""
    keys = rows[0].levels if rows else {}
    constant = {key: rows[0].levels[key] for key in keys if len({repr(row.levels[key]) for row in rows}) == 1}
    varied = [replace(row, levels={k: v for k, v in row.levels.items() if k not in constant}) for row in rows]
    return varied, constant


def margin_row(
    levels: dict[str, Level],
    arms: Arms,
    names: tuple[str, str],
    unmatched: Sequence[str] = (),
    *,
    equivalence_pp: float,
    right: Right,
    seed_rule: SeedRule,
) -> MarginRow:
    """Pair two arms' trials by seed, and return their margin.

    Args:
        levels: the levels of the row's cell.
        arms: the trials of each arm.
        names: what the row's notes call the arms.
        unmatched: keys in which the arms may differ; a note says where they do.
        equivalence_pp: the smallest difference of interest, in percentage points.
        right: which test items the trials got right, where that is known.
        seed_rule: as in `ablate.stats.margin.margin`.
    """
    by_seed = [{trial.seed: trial for trial in arm if trial.is_done} for arm in arms]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    alone = [len(done) - len(seeds) for done in by_seed]
    notes = [*_outcome_notes(names, arms), *_unmatched_notes(unmatched, arms), *_alone_notes(names, arms, alone)]
    unpaired = replace(_unpaired(levels, arms), notes=notes)
    if not seeds:
        return unpaired
    first, second = ([done[seed] for seed in seeds] for done in by_seed)
    first_accs, second_accs = [trial.acc for trial in first], [trial.acc for trial in second]
    test_set = _test_set(first, second, right)
    items = _items([*first, *second], test_set)
    return replace(
        unpaired,
        margin=margin(
            first_accs,
            second_accs,
            equivalence_pp=equivalence_pp,
            test_set=test_set,
            seed_rule=seed_rule,
            items=items,
        ),
        first_acc=float(np.mean(first_accs)),
        second_acc=float(np.mean(second_accs)),
        first_runs=[trial.run_id for trial in first],
        second_runs=[trial.run_id for trial in second],
        by_seed=dict(zip(seeds, differences_pp(first_accs, second_accs, items).tolist(), strict=True)),
        versions=tuple(dict.fromkeys(trial.code_version for trial in (*first, *second))),
    )


def _unpaired(levels: dict[str, Level], arms: Arms) -> MarginRow:
    """Return what the trials of each arm say on their own: mean accuracies, and how many failed."""
    done = [[trial.acc for trial in arm if trial.is_done] for arm in arms]
    first_acc, second_acc = (float(np.mean(accs)) if accs else None for accs in done)
    return MarginRow(
        levels,
        margin=None,
        first_acc=first_acc,
        second_acc=second_acc,
        first_runs=(),
        second_runs=(),
        notes=(),
        failed=(sum(trial.is_failed for trial in arms[0]), sum(trial.is_failed for trial in arms[1])),
        ended=(sum(trial.has_ended for trial in arms[0]), sum(trial.has_ended for trial in arms[1])),
        failed_by_seed=_failed_by_seed(arms),
        planned=max(map(len, arms)),
        lacks_an_arm=not all(arms),
    )


def _outcome_notes(names: tuple[str, str], arms: Arms) -> Iterator[str]:
    """Yield which arms have no trial, and how many trials of each arm are not done."""
    for name, arm in zip(names, arms, strict=True):
        if not arm:
            yield f"{name}: not run"
        not_done = Counter(trial.outcome for trial in arm if trial.outcome != "done")
        yield from (f"{name}: {count} {outcome}" for outcome, count in not_done.most_common())


def _unmatched_notes(unmatched: Sequence[str], arms: Arms) -> Iterator[str]:
    """Yield the keys in which the arms differ, with the levels of each arm."""
    if not all(arms):
        return
    for key in unmatched:
        first, second = (", ".join(map(show, dict.fromkeys(trial.levels[key] for trial in arm))) for arm in arms)
        if first != second:
            yield f"{key} {first} against {second}"


def _alone_notes(names: tuple[str, str], arms: Arms, counts: Sequence[int]) -> Iterator[str]:
    """Yield how many trials of each arm are done without a partner of the same seed."""
    if not all(arms):
        return
    yield from (
        f"{name}: {count} done without a partner of the same seed"
        for name, count in zip(names, counts, strict=True)
        if count
    )


def _failed_by_seed(arms: Arms) -> dict[int, int]:
    first, second = ({trial.seed: trial.is_failed for trial in arm if trial.has_ended} for arm in arms)
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}


def _items(trials: Sequence[TrialRow], test_set: TestSet | None) -> int | None:
    """Return the size of the test set; None where it is not known, or not the same for all."""
    if test_set:
        return test_set.items
    sizes = {trial.items for trial in trials}
    return sizes.pop() if len(sizes) == 1 else None


def _test_set(first: Sequence[TrialRow], second: Sequence[TrialRow], right: Right) -> TestSet | None:
    """Return the test set's share of the error; None unless all trials' predictions are known, on the same items."""
    if not all(trial.run_id in right for trial in (*first, *second)):
        return None
    known_first, known_second = ([right[trial.run_id] for trial in arm] for arm in (first, second))
    if len({len(items) for items in (*known_first, *known_second)}) > 1:
        return None
    return error_of_test_set(known_first, known_second)


def _pairs(first: Sequence[TrialRow], second: Sequence[TrialRow], own: Sequence[str]) -> Iterator[Arms]:
    """Yield every pair of the two arms' cells, where an arm's trials are split by the keys that only one arm has."""
    second_cells = list(_cells(second, own).values()) or [[]]
    for first_cell in list(_cells(first, own).values()) or [[]]:
        yield from ((first_cell, second_cell) for second_cell in second_cells)


def _in_order(rows: list[MarginRow], frame: pd.DataFrame) -> list[MarginRow]:
    """Return the rows by the first factor's levels, then by the next one's; numbers by size."""
    keys = list(rows[0].levels) if rows else []
    if not keys:
        return rows
    levels = pd.DataFrame([row.levels for row in rows], columns=keys, dtype=object)
    ordered = levels.sort_values(keys, key=lambda column: level_positions(frame, column))
    return [rows[index] for index in ordered.index]


def _cells(trials: Sequence[TrialRow], keys: Sequence[str]) -> dict[tuple[str, ...], list[TrialRow]]:
    """Return levels as text -> the trials that have them. As text, since True is not 1."""
    cells: dict[tuple[str, ...], list[TrialRow]] = {}
    for trial in trials:
        cells.setdefault(tuple(repr(trial.levels[key]) for key in keys), []).append(trial)
    return cells


def _several(cell: Sequence[TrialRow], keys: Sequence[str]) -> list[str]:
    """Return those of the keys that have several levels in one arm of one cell."""
    return [key for key in keys if len({repr(trial.levels[key]) for trial in cell}) > 1]


def _is(column: pd.Series, level: Level) -> pd.Series:
    return column.astype(object).map(lambda value: value == level)


def _either(first: Level, second: Level) -> Level:
    return second if first is None else first
