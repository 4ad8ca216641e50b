"""One study of a runs folder: its cells, and what became of its trials."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

from rich import box
from rich.table import Table

from ablate.catalogue.states import STATES, brought, states_of
from ablate.core.events import Failed
from ablate.core.levels import show
from ablate.core.study import Study, Trial
from ablate.core.text import counted
from ablate.driver.terminal import Terminal
from ablate.store import manifest


def show_study(terminal: Terminal, stored: manifest.StoredStudy, runs: Path) -> None:
    """Show the cells of a study with their trials by state, then each failure with its reason."""
    study = stored.study
    store = brought(terminal, stored, runs)
    state_of = states_of(store, study)
    final = dataclasses.replace(study, trials=[trial for trial in study.trials if not trial.tuning])
    factors, cells = cells_of(final)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for factor in factors:
        table.add_column(factor, overflow="fold")
    for column in STATES:
        table.add_column(column, justify="right")
    for levels, trials in cells.items():
        states = collections.Counter(state_of[trial.trial_id] for trial in trials)
        table.add_row(*levels, *(str(states[state_name]) for state_name in STATES))
    terminal.line(f"study {study.name}: {counted(len(cells), 'cell')}, {counted(len(final.trials), 'trial')}")
    terminal.console.print(table)
    tried = collections.Counter(state_of[trial.trial_id] for trial in study.trials if trial.tuning)
    if tried:
        how = ", ".join(f"{tried[state_name]} {state_name}" for state_name in STATES if tried[state_name])
        terminal.line(f"tuning: {counted(tried.total(), 'configuration')}: {how}")
    for trial in final.trials:
        end = store.local.outcome(trial)
        if isinstance(end, Failed):
            terminal.line(f"failed  {trial.trial_id}  {trial}: {end.kind}: {end.reason}", "red")


def cells_of(study: Study) -> tuple[list[str], dict[tuple[str, ...], list[Trial]]]:
    """Return the factors of all lines that named the study, and the trials of each combination of their levels.

    One line may have varied a key that another line fixed. The level is then the value that the trial has.
    """
    factors = list(dict.fromkeys(factor for trial in study.trials for factor, _ in trial.cell.levels))
    cells: dict[tuple[str, ...], list[Trial]] = {}
    for trial in study.trials:
        levels = dict(trial.cell.levels)
        shown = (show(levels.get(factor, trial.params.get(factor))) for factor in factors)
        cells.setdefault(tuple(shown), []).append(trial)
    return factors, cells
