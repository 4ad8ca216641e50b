"""Run directories in a folder, of this machine or of a file system that all machines share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.core.events import Event, Failed, Outcome
from ablate.core.study import Trial
from ablate.store import run_directory


@dataclass(frozen=True)
class Folder:
    """The run directories are in `runs`, whoever works at them: there is nothing to bring."""

    runs: Path

    url = None

    def check(self, *, writing: bool) -> None:
        pass

    def attempt(
        self, run: run_directory.Run, trial: Trial, *, asked: float | None = None, alone: bool = False
    ) -> Iterator[Event]:
        return run_directory.attempt(run, trial, self.runs, asked=asked, alone=alone)

    def refresh(self, trials: Iterable[Trial]) -> None:
        pass

    def is_claimed(self, trial_id: str, *, by_others: bool = False) -> bool:
        return run_directory.is_claimed(trial_id, self.runs)

    def claimed(self, trial_ids: Iterable[str], *, surely: bool = False) -> set[str]:
        return {one for one in trial_ids if run_directory.is_claimed(one, self.runs)}

    def mark(self, trial: Trial, failed: Failed) -> Outcome:
        return run_directory.mark(trial, self.runs, failed)

    def prune(self, trial: Trial, reason: str) -> None:
        run_directory.prune(trial, self.runs, reason)

    def seen_by_trials(self, stop: Path) -> Path:
        return stop

    def ask_to_stop(self) -> None:
        pass

    def forget_stop(self) -> None:
        pass

    def remove(self, trial_ids: Iterable[str]) -> None:
        pass
