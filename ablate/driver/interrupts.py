"""Ctrl-C and SIGTERM: once, trials stop between two batches with their checkpoints written; twice, now."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from ablate.store.run_store import RunStore

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """While this lasts, the first signal asks trials to stop, the second raises KeyboardInterrupt.

    Trials see a file, `path`, since they run in other processes and perhaps on other machines. A third signal
    ends this process at once: what it started ends with it.

    Args:
        store: the run directories; `store.runs` is there already.
        say: told to the user at the first signal.
    """

    def __init__(self, store: RunStore, say: Callable[[str], None]) -> None:
        self.path = store.runs / f".stop-{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
        self.is_requested = False
        self.signal: int | None = None
        self._say, self._store = say, store
        self._before: dict[int, Any] = {}
        self._times = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():  # after one, what is left to say is not to be interrupted
            signal.signal(number, handler if self.signal is None else signal.SIG_IGN)
        self.path.unlink(missing_ok=True)
        if self.is_requested:
            self._store.withdraw_stop()

    def request(self) -> None:
        """Have trials stop between two batches, and no other begin."""
        self.is_requested = True
        with contextlib.suppress(OSError):  # on a full disk they stop by themselves
            self.path.touch()
        self._store.request_stop()

    @property
    def exit_status(self) -> int:
        """As shells have it: 128 and the signal's number."""
        return 128 + (self.signal or signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._times += 1
        self.signal = number
        if self._times == 1:
            self._say("Stopping: running trials write their checkpoints. Once more stops now.")
            self.request()
        elif self._times == 2:
            raise KeyboardInterrupt
        else:
            os._exit(self.exit_status)
