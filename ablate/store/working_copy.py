"""A trial's checkpoint and weights in a folder of this machine, stored under a claim's number as they change."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.core.errors import StorageUnavailable
from ablate.store.leases import stem
from ablate.store.object_store import Objects, patiently
from ablate.store.run_directory import CHECKPOINTS, WEIGHTS

CHECKPOINT = CHECKPOINTS[0]
"""The one before it stays here: an object is never half of it, and its checksum travels with it."""

FILES = (CHECKPOINT, WEIGHTS)
SECONDS_BETWEEN_LOOKS = 1.0
PATIENCE_S = 300.0


@dataclass(frozen=True)
class WorkingCopy:
    """What stands under a claim's number, to be worked on from any machine: picklable.

    A trial of several processes may well write its checkpoints on another machine than that of the task that holds the
    claim: there, `with copy.at(directory) as files:` brings the checkpoint, and stores those to come.
    """

    objects: Objects
    trial_id: str
    number: int

    def name(self, file: str) -> str:
        return f"{stem(self.trial_id, self.number)}/{file}"

    @contextlib.contextmanager
    def at(self, directory: Path) -> Iterator[Files]:
        """Bring the checkpoint, then store it and the weights as they change; all of it, where this ends without error.

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
    """A thread that stores a folder's checkpoint and weights as they change: training does not wait for it."""

    def __init__(self, copy: WorkingCopy, directory: Path) -> None:
        self._copy, self._directory = copy, directory
        self._stored = {name: self._version(name) for name in FILES}  # what is here now was brought
        self._storing, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def is_stored(self, name: str) -> bool:
        """Whether the object is the file as it is now."""
        return self._stored[name] == self._version(name)

    def flush(self, patience_s: float) -> None:
        """Store what there is now. Raises StorageUnavailable when that cannot be done within so long."""
        patiently(self._store, patience_s)

    def end(self) -> None:
        """Store nothing more, but for what is under way."""
        self._over.set()

    def _work(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            with contextlib.suppress(StorageUnavailable, FileNotFoundError):  # it is tried again at the next look
                self._store()

    def _store(self) -> None:
        with self._storing:
            for name in FILES:
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
        """Another one for each file that is moved to its place."""
        try:
            held = (self._directory / name).stat()
        except FileNotFoundError:
            return None
        return held.st_ino, held.st_mtime_ns
