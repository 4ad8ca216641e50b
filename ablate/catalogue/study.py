"""One study of a runs folder: its cells, its trials, and why some of them failed."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from ablate.catalogue.states import STATES, brought, states_of
from ablate.core import invocation
from ablate.core.events import Done, Failed, Outcome
from ablate.core.levels import show
from ablate.core.study import Cell, Study, Trial
from ablate.core.text import counted
from ablate.driver.tables import show_failure
from ablate.driver.terminal import Terminal
from ablate.store import manifest

SHOWN_TRIALS = 30
"""The most trials in the table, unless all are asked for."""

Cells = Mapping[tuple[str, ...], Sequence[Trial]]


def show_study(terminal: Terminal, stored: manifest.StoredStudy, runs: Path, *, every_trial: bool) -> None:
    """Show the cells of a study with their trials by state, then its trials, then each failure with its reason.

    Args:
        terminal: where to print.
        stored: the study.
        runs: the runs folder.
        every_trial: whether its trials are shown however many there are, those that tuning tried too.
    """
    study = stored.study
    store = brought(terminal, stored, runs)
    outcomes = store.local.outcomes(study.trials)
    state_of = states_of(store, study, outcomes)
    final = dataclasses.replace(study, trials=[trial for trial in study.trials if not trial.tuning])
    factors, cells = cells_of(final)
    terminal.line(f"study {study.name}: {counted(len(cells), 'cell')}, {counted(len(final.trials), 'trial')}")
    terminal.console.print(_cells_table(factors, cells, state_of))
    tried = [trial for trial in study.trials if trial.tuning]
    if tried:
        states = collections.Counter(state_of[trial.trial_id] for trial in tried)
        how = ", ".join(f"{states[state_name]} {state_name}" for state_name in STATES if states[state_name])
        terminal.line(f"tuning: {counted(len(tried), 'configuration')}: {how}")
    named = [(_in_words(factors, levels, trial), trial) for levels, trials in cells.items() for trial in trials]
    if every_trial:
        named += [(str(trial).removesuffix(" (tuning)"), trial) for trial in tried]
    shown = named if every_trial else named[:SHOWN_TRIALS]
    terminal.console.print(_trials_table(shown, state_of, outcomes))
    if len(shown) < len(named):
        terminal.line(
            f"  ... and {counted(len(named) - len(shown), 'more trial')}: "
            f"{invocation.command('studies')} study={study.name} trials=all"
        )
    for trial in final.trials:
        end = outcomes[trial.trial_id]
        if isinstance(end, Failed):
            show_failure(terminal.console, trial, end, store.local.text_log(trial.trial_id))
    if shown:
        terminal.line(f"Config, curve and log of one: {invocation.command('studies')} trial={shown[0][1].trial_id}")


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


def _in_words(factors: Sequence[str], levels: Sequence[str], trial: Trial) -> str:
    """Return a trial's levels, and what was drawn or chosen for it, as one would type them."""
    return str(Cell((*zip(factors, levels, strict=True), *trial.values)))


def _cells_table(factors: Sequence[str], cells: Cells, state_of: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for factor in factors:
        table.add_column(factor, overflow="fold")
    for column in STATES:
        table.add_column(column, justify="right")
    for levels, trials in cells.items():
        states = collections.Counter(state_of[trial.trial_id] for trial in trials)
        table.add_row(*levels, *(str(states[state_name]) for state_name in STATES))
    return table


def _trials_table(
    named: Sequence[tuple[str, Trial]], state_of: Mapping[str, str], outcomes: Mapping[str, Outcome | None]
) -> Table:
    """Return a row for each trial: its id, levels, seed, outcome, test accuracy and seconds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("levels", overflow="fold")
    for column in ("seed", "outcome", "test", "seconds"):
        table.add_column(column, justify="left" if column == "outcome" else "right", no_wrap=True)
    for levels, trial in named:
        state, end = state_of[trial.trial_id], outcomes[trial.trial_id]
        metrics = end.metrics if isinstance(end, Done) else {}
        test = f"{metrics['test_acc']:.2%}" if "test_acc" in metrics and not trial.tuning else ""
        seconds = f"{metrics['wall_s']:.1f}" if "wall_s" in metrics else ""
        outcome = end.kind if isinstance(end, Failed) and state != "running" else state
        table.add_row(trial.trial_id, levels, str(trial.seed), outcome, test, seconds)
    return table
