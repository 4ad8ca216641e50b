"""The interface to a study's run directories, wherever they are: in a folder, or in an object store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from ablate.core.events import Event, Failed, Outcome
from ablate.core.study import Trial
from ablate.store import run_directory


class RunStore(ABC):
    """The run directories of trials. A read of a trial first brings what is newer than this machine's folder.

    It can be pickled: workers hold the store of their driver.

    Args:
        runs: the folder on this machine. It holds the run directories, or mirrors them.
        url: where the run directories are, if not in `runs`; otherwise None.
    """

    def __init__(self, runs: Path, url: str | None) -> None:
        self.runs, self.url = runs, url

    @property
    @abstractmethod
    def local(self) -> RunStore:
        """Return a store that reads the folder of this machine as it is, and asks nobody.

        It holds what the reads of this store brought last. It is for readers who know that this is new enough, or who
        must not wait for an object store.
        """

    @abstractmethod
    def check(self, *, writing: bool) -> None:
        """Raise UsageError, in one line, when trials cannot be read there, or with `writing` not be stored."""

    @abstractmethod
    def attempt(
        self, run: run_directory.Run, trial: Trial, *, attempts_before: int | None = None, alone: bool = False
    ) -> Iterator[Event]:
        """Try the trial once, and yield its events, each after it was stored: see `run_directory.attempt`."""

    @abstractmethod
    def outcomes(self, trials: Iterable[Trial]) -> dict[str, Outcome | None]:
        """Return trial_id -> how its last attempt ended: see `run_directory.outcome`.

        An object store is asked once for all trials, and never again for a trial that is done.

        Raises:
            StorageUnavailable: the object store has not answered for minutes.
        """

    def outcome(self, trial: Trial) -> Outcome | None:
        """Return how the trial's last attempt ended. Raises StorageUnavailable."""
        return self.outcomes([trial])[trial.trial_id]

    @abstractmethod
    def ended_attempts(self, trials: Iterable[Trial]) -> dict[str, int]:
        """Return trial_id -> how many attempts at it have ended. Raises StorageUnavailable."""

    @abstractmethod
    def history(self, trial: Trial) -> list[Event]:
        """Return the trial's events: see `run_directory.history`. Raises StorageUnavailable."""

    @abstractmethod
    def text_log(self, trial_id: str) -> Path | None:
        """Return the file in `runs` with what the trial's code printed; None without one, or before a read of it.

        Raises StorageUnavailable.
        """

    @abstractmethod
    def is_leased(self, trial_id: str, *, by_others: bool = False) -> bool:
        """Return whether somebody works on the trial now; with `by_others`, somebody else than this driver's workers.

        In an object store the lease of a worker that died counts until it was seen to have no heartbeat for
        `leases.DEAD_AFTER_S`: ask repeatedly. Raises StorageUnavailable.
        """

    @abstractmethod
    def leased(self, trial_ids: Iterable[str], *, surely: bool = False) -> set[str]:
        """Return those of the trials that somebody works on, in a few requests.

        Leases of workers that died are among them, unless `surely`: then it waits for their heartbeats, up to
        `leases.DEAD_AFTER_S`. Raises StorageUnavailable.
        """

    @abstractmethod
    def mark(self, trial: Trial, failed: Failed) -> Outcome:
        """Store how the trial failed where its own process could not, and return its outcome.

        The outcome is Done where its process could store that much after all. Raises StorageUnavailable.
        """

    @abstractmethod
    def prune(self, trial: Trial, reason: str) -> None:
        """Have a running trial stop soon, with a checkpoint."""

    @abstractmethod
    def stop_path(self, path: Path) -> Path:
        """Return the file whose presence stops a trial, as its process sees it: `path`, or one in its directory."""

    @abstractmethod
    def request_stop(self) -> None:
        """Have all trials of this driver stop soon, with a checkpoint, where they cannot see the driver's file."""

    @abstractmethod
    def withdraw_stop(self) -> None:
        """Take the request back."""

    @abstractmethod
    def remove(self, trial_ids: Iterable[str]) -> None:
        """Remove trials for good, except for what is in `runs`. Raises StorageUnavailable."""
