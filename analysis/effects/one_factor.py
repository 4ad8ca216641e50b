"""Designs that change one factor at a time: each other cell against the base cell, paired by seed."""

from __future__ import annotations

from ablate.core.levels import show
from analysis.effects.design_effects import Axis, Cells, DesignEffect, DesignEffects, Levels, mean_acc
from analysis.effects.matched import Right, margin_row
from analysis.effects.trial_rows import TrialRow
from analysis.sources.runs import Runs

ALL_PARTS = "all parts"


def effects(runs: Runs, *, equivalence_pp: float, right: Right) -> DesignEffects:
    """Return the effect of every cell that differs from the base in one factor.

    A design of the kind `add_one_in` has one effect more: that of the reference cell.

    The sign of an effect is that of the part in question. `one_factor` gives the level minus the reference,
    `leave_one_out` the reference minus the cell without the part, `add_one_in` the cell with the part minus the bare
    cell.

    Args:
        runs: a study with such a design.
        equivalence_pp: the smallest difference of interest, in percentage points.
        right: which test items the trials got right, where that is known.
    """
    cells = Cells(runs)
    base = cells.cell("base")
    others, apart = _other_cells(cells, base), 0
    indexed: list[tuple[int, DesignEffect]] = []
    for levels, trials in others:
        changed = [axis for axis in cells.axes if axis.differs(levels, base)]
        complete = cells.design["kind"] == "add_one_in" and cells.alike(levels, cells.cell("reference"))
        if len(changed) == 1 or (complete and changed):
            index = cells.axes.index(changed[0]) if len(changed) == 1 else len(cells.axes)
            effect = _effect(runs, cells, changed, levels, trials, equivalence_pp=equivalence_pp, right=right)
            indexed.append((index, effect))
        else:
            apart += 1
    indexed.sort(key=lambda index_and_effect: index_and_effect[0])
    notes = [f"{apart} cells differ from the {_name(cells)} in more than one factor, and are not compared here."]
    return DesignEffects(
        cells.design["kind"],
        base,
        mean_acc(cells.at(base)),
        [effect for _, effect in indexed],
        cells=len(others) + 1,
        seeds=runs.frame["seed"].nunique(),
        notes=notes if apart else [],
    )


def _other_cells(cells: Cells, base: Levels) -> list[tuple[Levels, list[TrialRow]]]:
    """Return each cell but the base with its trials; a cell counts several times if keys that nobody swept differ."""
    others: dict[str, tuple[Levels, list[TrialRow]]] = {}
    for trial, levels in zip(cells.trials, cells.levels, strict=True):
        if not cells.alike(levels, base):
            key = repr(levels) + repr([trial.levels[extra] for extra in cells.extras])
            others.setdefault(key, (levels, []))[1].append(trial)
    return list(others.values())


def _effect(
    runs: Runs,
    cells: Cells,
    changed: list[Axis],
    levels: Levels,
    trials: list[TrialRow],
    *,
    equivalence_pp: float,
    right: Right,
) -> DesignEffect:
    """Return the effect of the cell with these levels and trials, in which the axes `changed` differ from the base."""
    base = cells.cell("base")
    names = [name for axis in changed for name in axis.names]
    own = tuple(f"{name}." for name in names)
    extras = {key: trials[0].levels[key] for key in cells.extras}
    matching = [key for key in extras if not key.startswith(own)]
    base_trials = [trial for trial in cells.at(base) if all(trial.levels[key] == extras[key] for key in matching)]
    factor, first, second = _in_words(changed, levels, base)
    arms, arm_names = (trials, base_trials), (_typed(names, levels), _name(cells))
    if cells.design["kind"] == "leave_one_out":
        arms, arm_names, first, second = arms[::-1], arm_names[::-1], second, first
    row = margin_row(
        {name: levels.get(name) for name in names} | extras,
        arms,
        arm_names,
        [key for key in cells.derived if not key.startswith(own)],
        equivalence_pp=equivalence_pp,
        right=right,
        seed_rule=runs.seed_rule,
    )
    more = ", ".join(f"{key} {show(value)}" for key, value in extras.items())
    return DesignEffect(f"{factor} ({more})" if more else factor, first, second, row, zipped=len(changed[0].names) > 1)


def _in_words(changed: list[Axis], levels: Levels, base: Levels) -> tuple[str, str, str]:
    """Return the factor, its level in the cell and its level in the base."""
    if len(changed) > 1:
        return ALL_PARTS, "reference", "bare"
    return str(changed[0]), changed[0].in_words(levels), changed[0].in_words(base)


def _typed(names: list[str], levels: Levels) -> str:
    return " ".join(f"{name}={show(levels[name])}" for name in names if name in levels)


def _name(cells: Cells) -> str:
    return "bare cell" if cells.design["kind"] == "add_one_in" else "reference"
