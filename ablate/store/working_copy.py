"""A trial's checkpoint, weights, predictions and text log in a folder of this machine, stored as they change."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.core.errors import StorageUnavailable
from ablate.store.leases import stem
from ablate.store.object_store import Objects, patiently
from ablate.store.predictions import PREDICTIONS
from ablate.store.run_directory import CHECKPOINTS, WEIGHTS
from ablate.store.text_log import TEXT_LOG

CHECKPOINT = CHECKPOINTS[0]
"""The one before it is not stored: an object is never half written, and its checksum travels with it."""

RESULTS = (WEIGHTS, PREDICTIONS)
"""The files of a trial that is done."""

FILES = (CHECKPOINT, *RESULTS, TEXT_LOG)
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_TEXT_LOGS = 30.0
"""The text log is stored whole each time: seldom, and where it matters at last."""
PATIENCE_S = 300.0


@dataclass(frozen=True)
class WorkingCopy:
    """The objects under a lease's number, to be worked on from any machine: it can be pickled.

    A trial of several processes may well write its checkpoints on another machine than the task that holds the lease.
    On that machine, `with copy.at(directory) as files:` brings the checkpoint, and stores those to come.
    """

    objects: Objects
    trial_id: str
    number: int

    def name(self, file: str) -> str:
        """Return the name of the object that holds the file."""
        return f"{stem(self.trial_id, self.number)}/{file}"

    @contextlib.contextmanager
    def at(self, directory: Path) -> Iterator[Files]:
        """Bring the checkpoint, then store the files as they change, and at last where this ends without an error.

        Raises:
            StorageUnavailable: the object store has not answered for minutes.
        """
        patiently(lambda: self.objects.download(self.name(CHECKPOINT), directory / CHECKPOINT), PATIENCE_S)
        files = Files(self, directory)
        try:
            yield files
            files.flush(PATIENCE_S)
        finally:
            files.end()


class Files:
    """A thread that stores the FILES of a folder as they change: training does not wait for it."""

    def __init__(self, copy: WorkingCopy, directory: Path) -> None:
        self._copy, self._directory = copy, directory
        self._stored = {name: self._version(name) for name in FILES}  # what is here now was brought
        self._storing, self._over = threading.Lock(), threading.Event()
        self._text_log_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def is_stored(self, name: str) -> bool:
        """Return whether the object is the file as it is now."""
        return self._stored[name] == self._version(name)

    def flush(self, patience_s: float) -> None:
        """Store the files as they are now. Raises StorageUnavailable when that cannot be done within so long."""
        patiently(functools.partial(self._store, FILES), patience_s)

    def end(self) -> None:
        """Store nothing more, except for what is under way."""
        self._over.set()

    def _work(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            with contextlib.suppress(StorageUnavailable, FileNotFoundError):  # it is tried again at the next look
                is_due = time.monotonic() - self._text_log_at >= SECONDS_BETWEEN_TEXT_LOGS
                self._store(FILES if is_due else (CHECKPOINT, *RESULTS))

    def _store(self, names: Sequence[str]) -> None:
        with self._storing:
            if TEXT_LOG in names:
                self._text_log_at = time.monotonic()
            for name in names:
                version = self._version(name)
                if version == self._stored[name]:
                    continue
                if version is None:
                    self._copy.objects.remove([self._copy.name(name)])
                else:
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile: the next look sees that
                        self._copy.objects.upload(self._directory / name, self._copy.name(name))
                self._stored[name] = version

    def _version(self, name: str) -> tuple[int, int] | None:
        """Return a value that differs for each file, and each state of a file, under the name; None without a file."""
        try:
            status = (self._directory / name).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns
