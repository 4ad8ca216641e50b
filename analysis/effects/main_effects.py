"""Main effects of designs in which few cells pair up, or none: least squares over the cells, the seed as the block.

For each seed the model (an intercept and the main effects) is fitted to that seed's cells, which gives one estimate of
each effect; the test is a one-sample t over seeds. So nothing is assumed of the spread in a cell, nor that cells that
share a seed are independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.stats import least_squares
from ablate.stats.arrays import Floats
from ablate.stats.finite_test_set import TestSet, item_error
from ablate.stats.paired import margin
from analysis.effects.design_effects import Alias, Axis, Cells, DesignEffect, DesignEffects, Levels, mean_acc
from analysis.effects.matched import MarginRow, Row
from analysis.sources.runs import Runs

Right = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Factor:
    """A factor, or several zipped, with its levels in words, the reference first.

    places: (trials,) the place of each trial's level; -1 where it is not set. zipped: the levels name the factors.
    """

    name: str
    levels: Sequence[str]
    places: NDArray[np.int_]
    zipped: bool = False

    def columns(self, at: Sequence[int]) -> Floats:
        return least_squares.coded(self.places[list(at)], len(self.levels))


@dataclass
class Estimates:
    """A main effect seed by seed. by_seed: percentage points. weights: seed -> (trial, weight) pairs."""

    by_seed: dict[int, float] = field(default_factory=dict)
    weights: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    aliases: list[Floats] = field(default_factory=list)


def effects(runs: Runs, *, equivalence_pp: float, right: Right) -> DesignEffects:
    """The main effects that the cells there are can tell, with the two-factor interactions mixed into each.

    A seed whose cells do not identify an effect is left out of it. An effect that the design's cells do not identify is
    named in the notes. Of a factor that is set in some cells only, these alone count.

    Args:
        runs: a study whose design is known.
        equivalence_pp: the smallest difference of interest.
        right: run_id -> (items,) whether the trial got each test item right, of the trials of which it is known.
    """
    cells = Cells(runs)
    factors = factors_of(cells)
    columns = [(factor, place) for factor in factors for place in range(1, len(factor.levels))]
    planned = _first_of_each_cell(cells)
    designed = _columns(factors, planned)
    _, identified = least_squares.estimators(designed)
    estimates = _by_seed(cells.trials, factors)
    found = []
    for at, (factor, place) in enumerate(columns):
        if identified[at]:
            row = _row(cells.trials, factor, place, estimates[at], runs, equivalence_pp, right)
            mixed = _aliases(factors, estimates[at].aliases)
            found.append(DesignEffect(factor.name, factor.levels[place], factor.levels[0], row, mixed, factor.zipped))
    return DesignEffects(
        cells.design["kind"],
        cells.cell("reference"),
        mean_acc(cells.at(cells.cell("reference"))),
        found,
        cells=len(planned),
        seeds=runs.frame["seed"].nunique(),
        resolution=cells.design.get("resolution"),
        balanced=least_squares.balanced([factor.columns(planned) for factor in factors]),
        notes=_not_identified(columns, designed, identified),
    )


def factors_of(cells: Cells) -> list[Factor]:
    """The factors with two levels or more, and the keys that nobody swept and that have several values all the same."""
    reference = cells.cell("reference")
    axes = [*cells.axes, *(Axis((key,)) for key in cells.extras)]
    rows = [
        {**levels, **{key: trial[key] for key in cells.extras if trial[key] is not None}}
        for trial, levels in zip(cells.trials, cells.levels, strict=True)
    ]
    found = [_factor(axis, rows, reference) for axis in axes]
    return [one for one in found if len(one.levels) > 1]


def _factor(axis: Axis, rows: Sequence[Levels], reference: Levels) -> Factor:
    there = [axis.in_words(levels) if axis.of(levels) else None for levels in rows]
    first = axis.in_words(reference) if axis.of(reference) else None
    levels = [one for one in dict.fromkeys(there) if one is not None]
    levels = sorted(levels, key=lambda one: one != first)  # the reference, then as typed
    place = {one: at for at, one in enumerate(levels)}
    return Factor(
        str(axis), levels, np.array([-1 if one is None else place[one] for one in there]), len(axis.names) > 1
    )


def _first_of_each_cell(cells: Cells) -> list[int]:
    """A trial of each cell, done or not."""
    first: dict[str, int] = {}
    for at, (trial, levels) in enumerate(zip(cells.trials, cells.levels, strict=True)):
        first.setdefault(repr(levels) + repr([trial[key] for key in cells.extras]), at)
    return list(first.values())


def _columns(factors: Sequence[Factor], at: Sequence[int]) -> Floats:
    return np.column_stack([np.empty((len(at), 0)), *(factor.columns(at) for factor in factors)])


def _interactions(factors: Sequence[Factor], at: Sequence[int]) -> Floats:
    parts = [factor.columns(at) for factor in factors]
    products = [least_squares.interaction(one, other) for one, other in combinations(parts, 2)]
    return np.column_stack([np.empty((len(at), 0)), *products])


def _by_seed(trials: Sequence[Row], factors: Sequence[Factor]) -> list[Estimates]:
    """Each effect's estimates, from the trials that are done."""
    of_seed: dict[int, list[int]] = {}
    for at, trial in enumerate(trials):
        if trial["outcome"] == "done" and not pd.isna(trial["acc"]):
            of_seed.setdefault(trial["seed"], []).append(at)
    found = [Estimates() for factor in factors for _ in factor.levels[1:]]
    solved: dict[Any, tuple[Floats, NDArray[np.bool_], Floats]] = {}
    for seed, its in sorted(of_seed.items()):
        columns = _columns(factors, its)
        if columns.tobytes() not in solved:
            weights, identified = least_squares.estimators(columns)
            mixed = least_squares.aliases(weights, _interactions(factors, its))
            solved[columns.tobytes()] = weights, identified, mixed
        weights, identified, mixed = solved[columns.tobytes()]
        values = weights @ [100 * trials[at]["acc"] for at in its]
        for place in np.flatnonzero(identified):
            found[place].by_seed[seed] = float(np.round(values[place], 9))
            found[place].weights[seed] = list(zip(its, weights[place].tolist(), strict=True))
            found[place].aliases.append(mixed[place])
    return found


def _row(
    trials: Sequence[Row],
    factor: Factor,
    place: int,
    its: Estimates,
    runs: Runs,
    equivalence_pp: float,
    right: Right,
) -> MarginRow:
    sides = [np.flatnonzero(factor.places == side).tolist() for side in (place, 0)]
    outcomes = [Counter(trials[at]["outcome"] for at in side) for side in sides]
    seeds = sorted({trial["seed"] for trial in trials})
    used = dict.fromkeys(at for pairs in its.weights.values() for at, _ in pairs)
    notes = [
        f"{factor.name}={factor.levels[side]}: {count} {kind}"
        for side, its_outcomes in zip((place, 0), outcomes, strict=True)
        for kind, count in its_outcomes.most_common()
        if kind != "done"
    ]
    left_out = len(seeds) - len(its.by_seed)
    if left_out:
        notes.append(f"{left_out} of {len(seeds)} seeds left out: their cells that are done do not tell it apart")
    values = [pp / 100 for pp in its.by_seed.values()]
    options: Any = {"test_set": _test_set(trials, its, right), "most_seeds": runs.terms.get("seeds", {}).get("most")}
    found = margin(values, [0.0] * len(values), equivalence_pp=equivalence_pp, **options) if values else None
    return MarginRow(
        {"factor": factor.name, "level": factor.levels[place]},
        found,
        None,
        None,
        [trials[at]["run_id"] for at in used if factor.places[at] == place],
        [trials[at]["run_id"] for at in used if factor.places[at] == 0],
        notes,
        its.by_seed,
        (outcomes[0]["diverged"], outcomes[1]["diverged"]),
        len(seeds),
        tuple(dict.fromkeys(trials[at]["code_version"] for at in used)),
    )


def _test_set(trials: Sequence[Row], its: Estimates, right: Right) -> TestSet | None:
    """What the test set leaves open about the mean over seeds; None where a trial's predictions are not known."""
    used = [(trials[at]["run_id"], weight) for pairs in its.weights.values() for at, weight in pairs if weight]
    if not used or any(run_id not in right for run_id, _ in used):
        return None
    known = [right[run_id] for run_id, _ in used]
    if len({len(one) for one in known}) > 1:
        return None
    by_item = np.zeros(len(known[0]))
    for (_, weight), one in zip(used, known, strict=True):
        by_item += weight / len(its.by_seed) * one
    return item_error(by_item)


def _aliases(factors: Sequence[Factor], by_seed: Sequence[Floats]) -> list[Alias]:
    """The mean over the seeds that the effect rests on, the largest first; those that are nothing left out."""
    if not by_seed:
        return []
    names = [
        f"{_name(one, first)} x {_name(other, second)}"
        for one, other in combinations(factors, 2)
        for first in range(1, len(one.levels))
        for second in range(1, len(other.levels))
    ]
    mean = np.mean(by_seed, axis=0)
    found = [Alias(name, float(weight)) for name, weight in zip(names, mean, strict=True) if abs(weight) > 1e-6]
    return sorted(found, key=lambda one: -abs(round(one.weight, 6)))


def _name(factor: Factor, place: int) -> str:
    return factor.name if len(factor.levels) == 2 else f"{factor.name} {factor.levels[place]}"


def _not_identified(
    columns: Sequence[tuple[Factor, int]], designed: Floats, identified: NDArray[np.bool_]
) -> list[str]:
    """What these cells cannot tell, and from what."""
    names = [
        f"{factor.levels[place]} against {factor.levels[0]}"
        if factor.zipped
        else f"{factor.name} {factor.levels[place]} against {factor.levels[0]}"
        for factor, place in columns
    ]
    told = []
    for at in np.flatnonzero(~identified):
        others = [names[place] for place in least_squares.entangled(designed, int(at))]
        told.append(f"Not estimated: {names[at]}; in these cells it cannot be told from {' and '.join(others)}.")
    return told
