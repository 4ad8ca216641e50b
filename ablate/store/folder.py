"""Run directories in a folder, of this machine or of a file system that all machines share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ablate.core.events import Event, Failed, Outcome
from ablate.core.study import Trial
from ablate.store import run_directory
from ablate.store.run_store import RunStore
from ablate.store.text_log import TEXT_LOG


class FolderStore(RunStore):
    """The run directories are in `runs`, whoever works on them: there is nothing to bring."""

    def __init__(self, runs: Path) -> None:
        super().__init__(runs, None)

    @property
    def local(self) -> FolderStore:
        return self

    def check(self, *, writing: bool) -> None:
        pass

    def attempt(
        self, run: run_directory.Run, trial: Trial, *, attempts_before: int | None = None, alone: bool = False
    ) -> Iterator[Event]:
        return run_directory.attempt(run, trial, self.runs, attempts_before=attempts_before, alone=alone)

    def outcomes(self, trials: Iterable[Trial]) -> dict[str, Outcome | None]:
        return {trial.trial_id: run_directory.outcome(trial, self.runs) for trial in trials}

    def ended_attempts(self, trials: Iterable[Trial]) -> dict[str, int]:
        return {trial.trial_id: run_directory.ended_attempts(trial, self.runs) for trial in trials}

    def history(self, trial: Trial) -> list[Event]:
        return run_directory.history(trial, self.runs)

    def text_log(self, trial_id: str) -> Path | None:
        path = self.runs / trial_id / TEXT_LOG
        return path if path.is_file() else None

    def is_leased(self, trial_id: str, *, by_others: bool = False) -> bool:
        return run_directory.is_leased(trial_id, self.runs)

    def leased(self, trial_ids: Iterable[str], *, surely: bool = False) -> set[str]:
        return {trial_id for trial_id in trial_ids if run_directory.is_leased(trial_id, self.runs)}

    def mark(self, trial: Trial, failed: Failed) -> Outcome:
        return run_directory.mark(trial, self.runs, failed)

    def prune(self, trial: Trial, reason: str) -> None:
        run_directory.prune(trial, self.runs, reason)

    def stop_path(self, path: Path) -> Path:
        return path

    def request_stop(self) -> None:
        pass

    def withdraw_stop(self) -> None:
        pass

    def remove(self, trial_ids: Iterable[str]) -> None:
        pass
