"""Tables of a study for a person: what would run (mode=plan), and how it ended."""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ablate import expected, machine
from ablate.design import Cell, Study, Trial, show
from ablate.events import Done, Failed, Outcome
from ablate.expected import Expectations, training_multiply_adds

SHOWN_CELLS = 100
SHOWN_TRIALS = 300
SHOWN_LARGE = 3
"""So many rows of a table, or lines, a person may still read; of more the first are shown, and how many there are."""

Outcomes = Mapping[str, Outcome | None]
"""trial_id -> how its last attempt ended, None for no outcome."""


def show_plan(
    console: Console,
    study: Study,
    outcomes: Outcomes,
    to_do: Sequence[Trial],
    cell_configs: Sequence[Mapping[str, Any]],
) -> None:
    """The cells with their trials done, failed and to do, what those cost, then each trial to do by name.

    `cell_configs` holds one resolved config a cell.
    """
    table = _cells_table(study, "done", "failed", "to do")
    waiting = {trial.trial_id for trial in to_do}
    for cell, trials in itertools.islice(study.cells.items(), SHOWN_CELLS):
        new = sum(trial.trial_id in waiting for trial in trials)
        done = sum(isinstance(outcomes[trial.trial_id], Done) for trial in trials)
        table.add_row(*(show(level) for _, level in cell.levels), str(done), str(len(trials) - done - new), str(new))
    _title(console, study)
    console.print(table)
    _more(console, len(study.cells) - SHOWN_CELLS, "cell")
    if not to_do:
        _line(console, "Nothing to do: every trial has its outcome.")
        return
    config_of = dict(zip(study.cells, cell_configs, strict=True))
    _expected(console, to_do, config_of)
    work_of = dict(zip(study.cells, map(training_multiply_adds, cell_configs), strict=True))
    known = [work for trial in to_do if (work := work_of[trial.cell]) is not None]
    told = f", {sum(known):.2g} multiply-adds of training" if known else ""
    unknown = f", multiply-adds unknown for {len(to_do) - len(known)}" if len(known) < len(to_do) else ""
    _line(console, f"{len(to_do)} to do{told}{unknown}:")
    for trial in to_do[:SHOWN_TRIALS]:
        _line(console, f"  {trial.trial_id}  {trial}")
    _more(console, len(to_do) - SHOWN_TRIALS, "trial")


def show_outcomes(console: Console, study: Study, outcomes: Outcomes) -> None:
    """Test accuracy of every cell (mean and standard deviation over seeds), then each failure's reason."""
    table = _cells_table(study, "done", "failed", "test accuracy ± sd")
    for cell, trials in itertools.islice(study.cells.items(), SHOWN_CELLS):
        ended = [outcomes[trial.trial_id] for trial in trials]
        accs = [100 * end.metrics["test_acc"] for end in ended if isinstance(end, Done) and "test_acc" in end.metrics]
        failed = sum(isinstance(end, Failed) for end in ended)
        spread = f" ± {statistics.stdev(accs):.2f}" if len(accs) > 1 else ""
        table.add_row(
            *(show(level) for _, level in cell.levels),
            f"{sum(isinstance(end, Done) for end in ended)}/{len(trials)}",
            str(failed) if failed else "",
            f"{statistics.mean(accs):.2f}%{spread}" if accs else "none",
        )
    _title(console, study)
    console.print(table)
    _more(console, len(study.cells) - SHOWN_CELLS, "cell")
    without = [trial for trial in study.trials if not isinstance(outcomes[trial.trial_id], Done)]
    for trial in without[:SHOWN_TRIALS]:
        end = outcomes[trial.trial_id]
        if isinstance(end, Failed):
            _line(console, f"failed  {trial.trial_id}  {trial}: {end.kind}: {end.reason}", style="red")
        else:
            _line(console, f"not finished  {trial.trial_id}  {trial}", style="yellow")
    _more(console, len(without) - SHOWN_TRIALS, "trial")


def counts(outcomes: Outcomes) -> str:
    """How many trials are done, failed, and still to do, in words."""
    done = sum(isinstance(end, Done) for end in outcomes.values())
    failed = sum(isinstance(end, Failed) for end in outcomes.values())
    told = [f"{done} of {counted(len(outcomes), 'trial')} done"] + [f"{failed} failed"] * bool(failed)
    return ", ".join(told)


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the right number."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _cells_table(study: Study, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for factor in study.factors:
        table.add_column(factor, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _title(console: Console, study: Study) -> None:
    _line(console, f"study {study.name}: {counted(len(study.cells), 'cell')}, {counted(len(study.trials), 'trial')}")


def _expected(console: Console, to_do: Sequence[Trial], config_of: Mapping[Cell, Mapping[str, Any]]) -> None:
    """One line of hours and disk, and one of the cells that are larger than this machine's memory."""
    waiting = collections.Counter(trial.cell for trial in to_do)
    first = next(iter(config_of.values()))
    runs, slots = Path(first["runs"]).absolute(), machine.slots(first["dispatch"])
    memory = machine.memory_bytes(machine.kind_of_device(first["dispatch"]))
    expectations = Expectations(runs)
    seconds = [(expectations.seconds(config_of[cell]), trials) for cell, trials in waiting.items()]
    known = [(each, trials) for each, trials in seconds if each is not None]
    parts = []
    if known:
        total, trials = sum(each * trials for each, trials in known), sum(trials for _, trials in known)
        of = "" if trials == len(to_do) else f" for {trials} of them"
        parts.append(f"{_hours(total)}{of} by what finished here, {_hours(total / slots)} on {counted(slots, 'slot')}")
    learned = {cell: expected.parameters(config_of[cell]) or 0 for cell in waiting}
    if any(learned.values()):
        weights = sum(4 * learned[cell] * trials for cell, trials in waiting.items())
        checkpoints = slots * 2 * 2 * 4 * max(learned.values())
        free = machine.free_disk_bytes(runs)
        parts.append(f"{_size(weights + checkpoints)} of disk, {_size(free)} free")
    if parts:
        _line(console, f"Expected: {'; '.join(parts)}.")
    large = [(cell, peak) for cell in waiting if (peak := expectations.peak_bytes(config_of[cell])) is not None]
    large = [(cell, peak) for cell, peak in large if memory and peak > memory]
    for cell, peak in large[:SHOWN_LARGE]:
        _line(console, f"Too large: {cell}: {_size(peak)} of memory, {_size(memory or 0)} here", "yellow")
    _more(console, len(large) - SHOWN_LARGE, "such cell")
    if large:
        _line(console, "A smaller recipe.micro_batch holds less at once.", "yellow")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _size(count: float) -> str:
    unit, name = next((unit, name) for unit, name in ((1e12, "TB"), (1e9, "GB"), (0, "MB")) if count >= unit)
    return f"{count / (unit or 1e6):.3g} {name}"


def _more(console: Console, count: int, noun: str) -> None:
    if count > 0:
        _line(console, f"  ... and {counted(count, f'more {noun}')}")


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
