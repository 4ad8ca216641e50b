"""The table of all studies of a runs folder."""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from ablate.catalogue.states import STATES, brought, states_of
from ablate.catalogue.study import cells_of
from ablate.core import invocation
from ablate.core.study import Trial
from ablate.core.text import file_size
from ablate.driver.terminal import Terminal
from ablate.store import manifest


def show_all(terminal: Terminal, runs: Path) -> None:
    """Show a line for each study: its cells, its trials by state, its size on disk, and its last activity."""
    if not manifest.names(runs):
        terminal.line(f"No study in {runs} yet: {invocation.command('run')} -m norm=bn,srelu bits=1,32")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("study", overflow="fold")
    for column in ("cells", *STATES, "on disk", "last activity"):
        table.add_column(column, justify="right")
    studies, damaged = manifest.readable(runs)
    for stored in studies:
        store, trials = brought(terminal, stored, runs), stored.study.trials
        states = collections.Counter(states_of(store, stored.study, store.local.outcomes(trials)).values())
        size, last = on_disk(trials, runs)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(last, stored.requested_at)))
        counts = (str(states[state_name]) for state_name in STATES)
        table.add_row(stored.study.name, str(len(cells_of(stored.study)[1])), *counts, file_size(size), when)
    terminal.console.print(table)
    for damage in damaged:
        terminal.warn(damage)


def on_disk(trials: Sequence[Trial], runs: Path) -> tuple[int, float]:
    """Bytes of the run directories, and the time of the last event in them, in seconds since the epoch."""
    size, last = 0, 0.0
    for trial in trials:
        for path in (runs / trial.trial_id).rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # a checkpoint that was moved into place
                continue
            size += status.st_size
            if path.name == "events.jsonl":
                last = max(last, status.st_mtime)
    return size, last
