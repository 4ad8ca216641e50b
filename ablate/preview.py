"""Tables of a study for a person: what would run (mode=plan), and how it ended."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ablate import schema
from ablate.design import Study, Trial, show
from ablate.events import Done, Failed, Outcome

SHOWN_CELLS = 100
SHOWN_TRIALS = 300
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


def training_multiply_adds(config: Mapping[str, Any]) -> int | None:
    """Multiply-adds of one trial's training; None where the network has no count, or the data set no shape.

    Three times the forward pass's: the gradient of the maps, and that of the weights, cost as much again.
    """
    dataset, counts = config["dataset"], schema.hooks(config, "multiply_adds")
    if not counts or "shape" not in dataset:
        return None
    images = round(dataset["shape"]["items"] * (1 - dataset.get("valid_fraction", 0)))
    return 3 * counts[0](config) * images * config["recipe"]["epochs"]


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


def _more(console: Console, count: int, noun: str) -> None:
    if count > 0:
        _line(console, f"  ... and {counted(count, f'more {noun}')}")


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
