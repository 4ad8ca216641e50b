"""The tables of a study for people: what would run (mode=plan), and how it ended."""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ablate.core import hardware
from ablate.core.config import Config
from ablate.core.events import Done, Failed, Outcome
from ablate.core.folders import as_typed_here
from ablate.core.levels import Level, show
from ablate.core.study import Cell, Study, Trial
from ablate.core.text import counted, duration, printable, size
from ablate.planning import estimates
from ablate.planning.estimates import Expectations, training_multiply_adds
from ablate.planning.settings import Settings
from ablate.planning.tuning import Search

SHOWN_CELLS = 100
SHOWN_TRIALS = 300
SHOWN_LARGE = 3
"""The most rows or lines that are shown; of more, the first and how many there are."""

Outcomes = Mapping[str, Outcome | None]
"""trial_id -> how its last attempt ended, None for no outcome."""


def show_plan(
    console: Console,
    study: Study,
    outcomes: Outcomes,
    to_do: Sequence[Trial],
    configs: Mapping[Cell, Config],
    coming: Mapping[Cell, int],
    notes: Sequence[str],
    expectations: Expectations,
) -> None:
    """Show the cells with their trials done, failed and to do, what these cost, then each trial to do by name.

    Args:
        console: where to print.
        study: the study with the trials known so far.
        outcomes: the outcomes of these trials.
        to_do: the trials that would run.
        configs: one resolved config for each cell.
        coming: the number of trials of each cell that follow from results, and are to run too.
        notes: lines that say how these follow, and what the study can show.
        expectations: of their seconds and memory.
    """
    waiting = collections.Counter(trial.cell for trial in to_do)
    trials_of = study.cells
    table = _cells_table(study, "done", "failed", "to do")
    for cell in itertools.islice(configs, SHOWN_CELLS):
        trials = trials_of.get(cell, [])
        new = waiting[cell]
        done = sum(isinstance(outcomes[trial.trial_id], Done) for trial in trials)
        counted_now = str(done), str(len(trials) - done - new), str(new + coming.get(cell, 0))
        table.add_row(*(show(level) for _, level in cell.levels), *counted_now)
    _title(console, study, len(configs), len(study.trials) + sum(coming.values()))
    console.print(table)
    _more(console, len(configs) - SHOWN_CELLS, "cell")
    for note in notes:
        _line(console, note)
    total = waiting + collections.Counter(coming)
    if not total:
        _line(console, "Nothing to do: every trial has its outcome.")
        return
    _expected(console, total, configs, expectations)
    work_of = {cell: training_multiply_adds(configs[cell]) for cell in total}
    unknown = sum(trials for cell, trials in total.items() if work_of[cell] is None)
    work = sum((work_of[cell] or 0) * trials for cell, trials in total.items())
    effort = f", {work:.2g} multiply-adds of training" if unknown < total.total() else ""
    lacking = f", multiply-adds unknown for {unknown}" if unknown else ""
    _line(console, f"{total.total()} to do{effort}{lacking}{':' if to_do else '.'}")
    for trial in to_do[:SHOWN_TRIALS]:
        _line(console, f"  {trial.trial_id}  {trial}")
    _more(console, len(to_do) - SHOWN_TRIALS, "trial")


def show_outcomes(console: Console, study: Study, outcomes: Outcomes, log_of: Callable[[str], Path | None]) -> None:
    """Show the mean and sd over seeds of every cell's test accuracy, then each failure's reason and its text log.

    Args:
        console: where to print.
        study: the study.
        outcomes: the outcomes of its trials.
        log_of: trial_id -> the file with what the trial's code printed; None without one.
    """
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
    _title(console, study, len(study.cells), len(study.trials))
    console.print(table)
    _more(console, len(study.cells) - SHOWN_CELLS, "cell")
    without = [trial for trial in study.trials if not isinstance(outcomes[trial.trial_id], Done)]
    for trial in without[:SHOWN_TRIALS]:
        end = outcomes[trial.trial_id]
        if isinstance(end, Failed):
            show_failure(console, trial, end, log_of(trial.trial_id))
        else:
            _line(console, f"not finished  {trial.trial_id}  {trial}", style="yellow")
    _more(console, len(without) - SHOWN_TRIALS, "trial")


def show_failure(console: Console, trial: Trial, failed: Failed, log: Path | None) -> None:
    """Show why a trial failed, and the file with what its code printed, if there is one."""
    _line(console, f"failed  {trial.trial_id}  {trial}: {failed.kind}: {printable(failed.reason)}", style="red")
    if log is not None:
        _line(console, f"        log: {as_typed_here(log)}")


def show_tuning(
    console: Console,
    study: Study,
    tried: Mapping[Search, Sequence[Outcome | None]],
    chosen: Mapping[Search, Mapping[str, Level]],
    edges: Mapping[Search, Mapping[str, str]],
) -> None:
    """Show how many configurations each search of a cell tried, how they ended, and what it chose.

    Args:
        console: where to print.
        study: the study that the cells are of.
        tried: the outcomes of each search's configurations.
        chosen: the keys and values that each search chose; none where no configuration succeeded.
        edges: the chosen keys of each search that lie at an end of their space -> "lowest" or "highest".
    """
    kinds = list(dict.fromkeys(_kind(end) for ends in tried.values() for end in ends))
    several = any(search.number for search in tried)
    table = _cells_table(study, *["search"] * several, "tried", *kinds)
    table.add_column("chosen", overflow="fold")
    for search, ends in itertools.islice(tried.items(), SHOWN_CELLS):
        counts = collections.Counter(map(_kind, ends))
        values = ", ".join(
            f"{key} {show(value)}" + (f" ({edges[search][key]} allowed)" if key in edges.get(search, {}) else "")
            for key, value in chosen.get(search, {}).items()
        )
        levels = [show(level) for _, level in search.cell.levels]
        number = [str(search.number + 1)] * several
        table.add_row(*levels, *number, str(len(ends)), *(str(counts[kind]) for kind in kinds), values or "none yet")
    _line(console, "tuning:")
    console.print(table)
    _more(console, len(tried) - SHOWN_CELLS, "row")


def _kind(end: Outcome | None) -> str:
    return "not finished" if end is None else "done" if isinstance(end, Done) else end.kind


def counts(outcomes: Outcomes) -> str:
    """Return in words how many trials are done, failed, and still to do."""
    done = sum(isinstance(end, Done) for end in outcomes.values())
    failed = sum(isinstance(end, Failed) for end in outcomes.values())
    parts = [f"{done} of {counted(len(outcomes), 'trial')} done"] + [f"{failed} failed"] * bool(failed)
    return ", ".join(parts)


def _cells_table(study: Study, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for factor in study.factors:
        table.add_column(factor, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _title(console: Console, study: Study, cells: int, trials: int) -> None:
    _line(console, f"study {study.name}: {counted(cells, 'cell')}, {counted(trials, 'trial')}")


def _expected(
    console: Console,
    waiting: collections.Counter[Cell],
    config_of: Mapping[Cell, Config],
    expectations: Expectations,
) -> None:
    """Show the hours and the disk space to expect, and the cells that are larger than this machine's memory."""
    first = next(iter(config_of.values()))
    settings = Settings.of(first)
    runs, slots = Path(settings.runs).absolute(), settings.dispatch.slots_here
    memory = hardware.memory_bytes(hardware.kind_of_device(settings.dispatch.gpus_per_trial))
    seconds = [(expectations.seconds(config_of[cell]), trials) for cell, trials in waiting.items()]
    known = [(each, trials) for each, trials in seconds if each is not None]
    parts = []
    if known:
        total, trials = sum(each * trials for each, trials in known), sum(trials for _, trials in known)
        of = "" if trials == waiting.total() else f" for {trials} of them"
        parts.append(
            f"{duration(total)}{of} by what finished here, {duration(total / slots)} on {counted(slots, 'slot')}"
        )
    learned = {cell: estimates.parameters(config_of[cell]) or 0 for cell in waiting}
    if any(learned.values()):
        weights = sum(4 * learned[cell] * trials for cell, trials in waiting.items())
        checkpoints = slots * 2 * 2 * 4 * max(learned.values())
        free = hardware.free_disk_bytes(runs)
        parts.append(f"{size(weights + checkpoints)} of disk, {size(free)} free")
    if parts:
        _line(console, f"Expected: {'; '.join(parts)}.")
    large = [(cell, peak) for cell in waiting if (peak := expectations.peak_bytes(config_of[cell])) is not None]
    large = [(cell, peak) for cell, peak in large if memory and peak > memory]
    for cell, peak in large[:SHOWN_LARGE]:
        _line(console, f"Too large: {cell}: {size(peak)} of memory, {size(memory or 0)} here", "yellow")
    _more(console, len(large) - SHOWN_LARGE, "such cell")
    if large:
        _line(console, "A smaller recipe.micro_batch holds less at once.", "yellow")


def _more(console: Console, count: int, noun: str) -> None:
    if count > 0:
        _line(console, f"  ... and {counted(count, f'more {noun}')}")


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
