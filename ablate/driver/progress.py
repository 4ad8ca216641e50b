"""The progress of a study: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from ablate.core.events import Done, Epoch, Event, Failed, Notice, Started
from ablate.core.study import Trial
from ablate.core.text import printable

SECONDS_BETWEEN_LINES = 30.0


class Display:
    """Shows a study's progress from its events. It is a context manager; call `show` with each event.

    Args:
        console: where to draw; it must hold the terminal's own stream, since sys.stdout may be redirected.
        trials: the trials that will run.
        total: the number of trials with those that will follow from results; None where no more follow.
        is_open: whether even more may follow.
    """

    def __init__(
        self, console: Console, trials: Sequence[Trial], total: int | None = None, *, is_open: bool = False
    ) -> None:
        self.console, self.is_open = console, is_open
        self.ended, self.total = 0, len(trials) if total is None else total
        self.left = {trial.trial_id: trial.config["recipe"]["epochs"] for trial in trials}
        self.tasks: dict[str, TaskID] = {}
        self.last_line: dict[str, float] = {}
        self.has_shown_traceback = False
        self.live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.all = self.live.add_task("all trials", total=sum(self.left.values()), state="starting workers")

    def __enter__(self) -> Self:
        self.live.start()
        if not self.console.is_terminal:
            self._line(f"{self._of} trial{'s' * (self._of != '1')} to run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.live.stop()

    def add(self, trials: Sequence[Trial]) -> None:
        """Add trials that follow from results."""
        new = {trial.trial_id: trial.config["recipe"]["epochs"] for trial in trials}
        self.left |= new
        self.total = max(self.total, len(self.left))
        self.live.update(self.all, total=sum(new.values()) + (self.live.tasks[0].total or 0))

    def show(self, trial: Trial, event: Event) -> None:
        if isinstance(event, Started):
            if trial.trial_id not in self.tasks:
                self.tasks[trial.trial_id] = self.live.add_task(str(trial), total=event.epochs, state="")
        elif isinstance(event, Epoch):
            self._epoch(trial, event)
        elif isinstance(event, Notice):
            self._line(f"        {trial}: {event.text}", style="yellow")
        else:
            self._outcome(trial, event)
        self.live.update(self.all, state=f"{self.ended}/{self._of} done")

    @property
    def _of(self) -> str:
        return f"{self.total}+" if self.is_open else str(self.total)

    def _epoch(self, trial: Trial, event: Epoch) -> None:
        epochs = trial.config["recipe"]["epochs"]
        acc = "valid_acc" if "valid_acc" in event.metrics else "train_acc"
        state = f"epoch {event.epoch}/{epochs}"
        if {"train_loss", acc} <= event.metrics.keys():
            state += f"  loss {event.metrics['train_loss']:.3f}  {acc[:5]} {event.metrics[acc]:.1%}"
        if trial.trial_id in self.tasks:
            self.live.update(self.tasks[trial.trial_id], completed=event.epoch, state=state)
        self._advance(trial, epochs - event.epoch)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.last_line.setdefault(trial.trial_id, now) >= (
            SECONDS_BETWEEN_LINES
        ):
            self.last_line[trial.trial_id] = now
            self._line(f"        {trial}: {state}")

    def _outcome(self, trial: Trial, event: Done | Failed) -> None:
        self.ended += 1
        self._advance(trial, 0)
        if trial.trial_id in self.tasks:
            self.live.remove_task(self.tasks.pop(trial.trial_id))
        count = f"[{self.ended}/{self._of}]"
        if isinstance(event, Done):
            acc = "valid_acc" if trial.tuning else "test_acc"  # a tuning does not look at the test
            parts = [f"{acc[:-4]} {event.metrics[acc]:.2%}"] if acc in event.metrics else []
            parts += [f"{event.metrics['wall_s']:.1f} s"] if "wall_s" in event.metrics else []
            self._line(f"{count} {trial}: {', '.join(['done', *parts])}")
            return
        style = "red" if event.kind != "pruned" else None
        self._line(f"{count} {trial.trial_id}  {trial}: {event.kind}: {printable(event.reason)}", style=style)
        if event.traceback and not self.has_shown_traceback:
            self.has_shown_traceback = True
            self._line(event.traceback.rstrip())

    def _advance(self, trial: Trial, left: int) -> None:
        self.live.advance(self.all, self.left[trial.trial_id] - left)
        self.left[trial.trial_id] = left

    def _line(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
