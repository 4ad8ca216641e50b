"""Main effects of designs in which few cells or none pair up: least squares over the cells, the seed as the block.

For each seed the model (an intercept and the main effects) is fitted to that seed's cells, which gives one estimate of
each effect. The test is a one-sample t over seeds. It assumes nothing of the spread in a cell, nor that cells that
share a seed are independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ablate.stats import least_squares
from ablate.stats.arrays import Floats
from ablate.stats.finite_test_set import TestSet, item_error
from ablate.stats.margin import margin
from analysis.effects.design_effects import Alias, Axis, Cells, DesignEffect, DesignEffects, Levels, mean_acc
from analysis.effects.matched import MarginRow, Right
from analysis.effects.trial_rows import TrialRow
from analysis.sources.runs import Runs


@dataclass(frozen=True)
class Factor:
    """A factor, or several zipped, with its levels in words, the reference first.

    positions: (trials,) the index of each trial's level among `levels`; -1 where the factor is not set.
    zipped: whether it is several factors; the levels then name them.
    """

    name: str
    levels: Sequence[str]
    positions: NDArray[np.int_]
    zipped: bool = False

    def columns(self, trials: Sequence[int]) -> Floats:
        """Return the (trials, levels - 1) columns of the model for the trials with these indices."""
        return least_squares.coded(self.positions[list(trials)], len(self.levels))


@dataclass
class Estimates:
    """A main effect, seed by seed.

    by_seed: seed -> percentage points.
    weights: seed -> (trial, weight) pairs: how the estimate is made up of the trials' accuracies.
    aliases: for each seed, the weight of every two-factor interaction in the estimate.
    """

    by_seed: dict[int, float] = field(default_factory=dict)
    weights: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    aliases: list[Floats] = field(default_factory=list)

    @property
    def used(self) -> list[int]:
        """The indices of the trials that the estimates rest on."""
        return list(dict.fromkeys(trial for pairs in self.weights.values() for trial, _ in pairs))


def effects(runs: Runs, *, equivalence_pp: float, right: Right) -> DesignEffects:
    """Return the main effects that the study's cells identify, each with the two-factor interactions mixed into it.

    A seed whose cells do not identify an effect is left out of that effect. The notes name the effects that the
    design's cells do not identify. Where a factor is set in some cells only, only these count for its effect.

    Args:
        runs: a study whose design is known.
        equivalence_pp: the smallest difference of interest, in percentage points.
        right: which test items the trials got right, where that is known.
    """
    cells = Cells(runs)
    factors = factors_of(cells)
    columns = [(factor, position) for factor in factors for position in range(1, len(factor.levels))]
    planned = _first_of_each_cell(cells)
    designed = _columns(factors, planned)
    _, identified = least_squares.estimators(designed)
    design_effects = []
    for (factor, position), estimates, is_identified in zip(
        columns, _by_seed(cells.trials, factors), identified, strict=True
    ):
        if is_identified:
            row = _row(runs, cells.trials, factor, position, estimates, equivalence_pp=equivalence_pp, right=right)
            aliases = _aliases(factors, estimates.aliases)
            levels = factor.levels[position], factor.levels[0]
            design_effects.append(DesignEffect(factor.name, *levels, row, aliases, factor.zipped))
    return DesignEffects(
        cells.design["kind"],
        cells.cell("reference"),
        mean_acc(cells.at(cells.cell("reference"))),
        design_effects,
        cells=len(planned),
        seeds=runs.frame["seed"].nunique(),
        resolution=cells.design.get("resolution"),
        balanced=least_squares.balanced([factor.columns(planned) for factor in factors]),
        notes=_not_identified(columns, designed, identified),
    )


def factors_of(cells: Cells) -> list[Factor]:
    """Return the factors with two levels or more, and the keys that have several values although nobody swept them."""
    reference = cells.cell("reference")
    axes = [*cells.axes, *(Axis((key,)) for key in cells.extras)]
    rows = [
        {**levels, **{key: trial.levels[key] for key in cells.extras if trial.levels[key] is not None}}
        for trial, levels in zip(cells.trials, cells.levels, strict=True)
    ]
    factors = [_factor(axis, rows, reference) for axis in axes]
    return [factor for factor in factors if len(factor.levels) > 1]


def _factor(axis: Axis, rows: Sequence[Levels], reference: Levels) -> Factor:
    by_trial = [axis.in_words(levels) if axis.of(levels) else None for levels in rows]
    first = axis.in_words(reference) if axis.of(reference) else None
    levels = [level for level in dict.fromkeys(by_trial) if level is not None]
    levels = sorted(levels, key=lambda level: level != first)  # the reference, then as typed
    positions = np.array([-1 if level is None else levels.index(level) for level in by_trial])
    return Factor(str(axis), levels, positions, len(axis.names) > 1)


def _first_of_each_cell(cells: Cells) -> list[int]:
    """Return the index of a trial of each cell, done or not."""
    first: dict[str, int] = {}
    for index, (trial, levels) in enumerate(zip(cells.trials, cells.levels, strict=True)):
        first.setdefault(repr(levels) + repr([trial.levels[key] for key in cells.extras]), index)
    return list(first.values())


def _columns(factors: Sequence[Factor], trials: Sequence[int]) -> Floats:
    return np.column_stack([np.empty((len(trials), 0)), *(factor.columns(trials) for factor in factors)])


def _interactions(factors: Sequence[Factor], trials: Sequence[int]) -> Floats:
    parts = [factor.columns(trials) for factor in factors]
    products = [least_squares.interaction(first, second) for first, second in combinations(parts, 2)]
    return np.column_stack([np.empty((len(trials), 0)), *products])


def _by_seed(trials: Sequence[TrialRow], factors: Sequence[Factor]) -> list[Estimates]:
    """Return each effect's estimates, from the trials that are done."""
    done_by_seed: dict[int, list[int]] = {}
    for index, trial in enumerate(trials):
        if trial.is_done:
            done_by_seed.setdefault(trial.seed, []).append(index)
    estimates = [Estimates() for factor in factors for _ in factor.levels[1:]]
    solved: dict[bytes, tuple[Floats, NDArray[np.bool_], Floats]] = {}
    for seed, done in sorted(done_by_seed.items()):
        columns = _columns(factors, done)
        model = columns.tobytes()
        if model not in solved:
            weights, identified = least_squares.estimators(columns)
            solved[model] = weights, identified, least_squares.aliases(weights, _interactions(factors, done))
        weights, identified, aliases = solved[model]
        values = weights @ [100 * trials[index].acc for index in done]
        for effect in np.flatnonzero(identified):
            estimates[effect].by_seed[seed] = float(np.round(values[effect], 9))
            estimates[effect].weights[seed] = list(zip(done, weights[effect].tolist(), strict=True))
            estimates[effect].aliases.append(aliases[effect])
    return estimates


def _row(
    runs: Runs,
    trials: Sequence[TrialRow],
    factor: Factor,
    position: int,
    estimates: Estimates,
    *,
    equivalence_pp: float,
    right: Right,
) -> MarginRow:
    """Return the margin of the factor's level at `position` over its reference."""
    sides = [np.flatnonzero(factor.positions == side).tolist() for side in (position, 0)]
    counts = [Counter(trials[index].outcome for index in side) for side in sides]
    failed = [sum(trials[index].is_failed for index in side) for side in sides]
    ended = [count + sum(trials[index].is_done for index in side) for count, side in zip(failed, sides, strict=True)]
    seeds = {trial.seed for trial in trials}
    notes = [
        f"{factor.name}={factor.levels[side]}: {count} {outcome}"
        for side, of_side in zip((position, 0), counts, strict=True)
        for outcome, count in of_side.most_common()
        if outcome != "done"
    ]
    left_out = len(seeds) - len(estimates.by_seed)
    if left_out:
        notes.append(f"{left_out} of {len(seeds)} seeds left out: their cells that are done do not tell it apart")
    values = [pp / 100 for pp in estimates.by_seed.values()]
    over_seeds = (
        margin(
            values,
            [0.0] * len(values),
            equivalence_pp=equivalence_pp,
            test_set=_test_set(trials, estimates, right),
            seed_rule=runs.seed_rule,
        )
        if values
        else None
    )
    return MarginRow(
        {"factor": factor.name, "level": factor.levels[position]},
        over_seeds,
        first_acc=None,
        second_acc=None,
        first_runs=[trials[index].run_id for index in estimates.used if factor.positions[index] == position],
        second_runs=[trials[index].run_id for index in estimates.used if factor.positions[index] == 0],
        notes=notes,
        by_seed=estimates.by_seed,
        failed=(failed[0], failed[1]),
        ended=(ended[0], ended[1]),
        planned=len(seeds),
        versions=tuple(dict.fromkeys(trials[index].code_version for index in estimates.used)),
    )


def _test_set(trials: Sequence[TrialRow], estimates: Estimates, right: Right) -> TestSet | None:
    """Return the test set's share of the error of the mean over seeds; None unless all trials' predictions are known.

    The predictions must be on the same items, too.
    """
    used = [(trials[index].run_id, weight) for pairs in estimates.weights.values() for index, weight in pairs if weight]
    if not used or any(run_id not in right for run_id, _ in used):
        return None
    known = [right[run_id] for run_id, _ in used]
    if len({len(items) for items in known}) > 1:
        return None
    by_item = np.zeros(len(known[0]))
    for (_, weight), items in zip(used, known, strict=True):
        by_item += weight / len(estimates.by_seed) * items
    return item_error(by_item)


def _aliases(factors: Sequence[Factor], by_seed: Sequence[Floats]) -> list[Alias]:
    """Return the interactions mixed into an effect, the largest first; those of weight 0 are left out.

    A weight is the mean over the seeds that the effect rests on.
    """
    if not by_seed:
        return []
    names = [
        f"{_name(first, first_position)} x {_name(second, second_position)}"
        for first, second in combinations(factors, 2)
        for first_position in range(1, len(first.levels))
        for second_position in range(1, len(second.levels))
    ]
    mean = np.mean(by_seed, axis=0)
    aliases = [Alias(name, float(weight)) for name, weight in zip(names, mean, strict=True) if abs(weight) > 1e-6]
    return sorted(aliases, key=lambda alias: -abs(round(alias.weight, 6)))


def _name(factor: Factor, position: int) -> str:
    return factor.name if len(factor.levels) == 2 else f"{factor.name} {factor.levels[position]}"


def _not_identified(
    columns: Sequence[tuple[Factor, int]], designed: Floats, identified: NDArray[np.bool_]
) -> list[str]:
    """Return a sentence for each effect that these cells do not identify, with the effects it is confounded with."""
    names = [
        f"{factor.levels[position]} against {factor.levels[0]}"
        if factor.zipped
        else f"{factor.name} {factor.levels[position]} against {factor.levels[0]}"
        for factor, position in columns
    ]
    sentences = []
    for column in np.flatnonzero(~identified):
        others = [names[other] for other in least_squares.entangled(designed, int(column))]
        sentences.append(
            f"Not estimated: {names[column]}; in these cells it cannot be told from {' and '.join(others)}."
        )
    return sentences
