"""Designs that change one factor at a time: each other cell against the base cell, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.core.levels import show
from analysis.effects.design_effects import Axis, Cells, DesignEffect, DesignEffects, Levels, mean_acc
from analysis.effects.matched import Row, margin_row
from analysis.sources.runs import Runs

ALL_PARTS = "all parts"


def effects(runs: Runs, *, equivalence_pp: float, right: Mapping[str, NDArray[np.bool_]]) -> DesignEffects:
    """Every cell that differs from the base in one factor; of `add_one_in` the reference cell too.

    The effect is what the part in question does: of `one_factor` the level minus the reference, of `leave_one_out` the
    reference minus the cell without it, of `add_one_in` the cell with it minus the bare one.

    Args:
        runs: a study with such a design.
        equivalence_pp: the smallest difference of interest.
        right: run_id -> (items,) whether the trial got each test item right, of the trials of which it is known.
    """
    cells = Cells(runs)
    base = cells.cell("base")
    others, apart = _other_cells(cells, base), 0
    found: list[tuple[int, DesignEffect]] = []
    for levels, trials in others:
        changed = [axis for axis in cells.axes if axis.differs(levels, base)]
        complete = cells.design["kind"] == "add_one_in" and cells.alike(levels, cells.cell("reference"))
        if len(changed) == 1 or (complete and changed):
            place = cells.axes.index(changed[0]) if len(changed) == 1 else len(cells.axes)
            found.append((place, _effect(cells, base, changed, levels, trials, runs, equivalence_pp, right)))
        else:
            apart += 1
    found.sort(key=lambda one: one[0])
    notes = [f"{apart} cells differ from the {_name(cells)} in more than one factor, and are not compared here."]
    return DesignEffects(
        cells.design["kind"],
        base,
        mean_acc(cells.at(base)),
        [one for _, one in found],
        cells=len(others) + 1,
        seeds=runs.frame["seed"].nunique(),
        notes=notes if apart else [],
    )


def _other_cells(cells: Cells, base: Levels) -> list[tuple[Levels, list[Row]]]:
    """Each cell but the base with its trials; one that differs in keys that nobody swept is several."""
    found: dict[str, tuple[Levels, list[Row]]] = {}
    for trial, levels in zip(cells.trials, cells.levels, strict=True):
        if not cells.alike(levels, base):
            key = repr(levels) + repr([trial[extra] for extra in cells.extras])
            found.setdefault(key, (levels, []))[1].append(trial)
    return list(found.values())


def _effect(
    cells: Cells,
    base: Levels,
    changed: list[Axis],
    levels: Levels,
    trials: list[Row],
    runs: Runs,
    equivalence_pp: float,
    right: Mapping[str, NDArray[np.bool_]],
) -> DesignEffect:
    names = [name for axis in changed for name in axis.names]
    own = tuple(f"{name}." for name in names)
    extras = [key for key in cells.extras if not key.startswith(own)]
    against = [trial for trial in cells.at(base) if all(trial[key] == trials[0][key] for key in extras)]
    factor, here, there = _in_words(changed, levels, base)
    arms, words = (trials, against), (_typed(names, levels), _name(cells))
    if cells.design["kind"] == "leave_one_out":
        arms, words, here, there = (against, trials), (words[1], words[0]), there, here
    row = margin_row(
        {name: levels.get(name) for name in names} | {key: trials[0][key] for key in cells.extras},
        arms,
        words,
        [key for key in cells.derived if not key.startswith(own)],
        equivalence_pp=equivalence_pp,
        right=right,
        most_seeds=runs.terms.get("seeds", {}).get("most"),
    )
    more = ", ".join(f"{key} {show(trials[0][key])}" for key in cells.extras)
    return DesignEffect(f"{factor} ({more})" if more else factor, here, there, row, zipped=len(changed[0].names) > 1)


def _in_words(changed: list[Axis], levels: Levels, base: Levels) -> tuple[str, str, str]:
    """The factor, its level and the base's."""
    if len(changed) > 1:
        return ALL_PARTS, "reference", "bare"
    return str(changed[0]), changed[0].in_words(levels), changed[0].in_words(base)


def _typed(names: list[str], levels: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={show(levels[name])}" for name in names if name in levels)


def _name(cells: Cells) -> str:
    return "bare cell" if cells.design["kind"] == "add_one_in" else "reference"
