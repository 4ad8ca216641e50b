"""Trials that wait: in the order given, and those that another process works on looked at again and again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ablate.core.study import Trial

SECONDS_BETWEEN_LOOKS = 1.0


class Queue:
    """A queue of trials, the first given first. Whoever follows the events may put in more, until the last is over."""

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self._now = deque(trials)
        self._later: deque[tuple[float, Trial]] = deque()

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> Queue:
        """The trials as a queue; one that is a queue already stays itself."""
        return trials if isinstance(trials, Queue) else cls(trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter((*self._now, *(trial for _, trial in self._later)))

    def __bool__(self) -> bool:
        return bool(self._now or self._later)

    def take(self, fits: Callable[[Trial], bool] = lambda trial: True) -> Trial | None:
        """The first trial that `fits` and that it is time for; None when there is none now."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._now.append(self._later.popleft()[1])
        for place, trial in enumerate(self._now):
            if fits(trial):
                del self._now[place]
                return trial
        return None

    def put(self, trial: Trial) -> None:
        """Last."""
        self._now.append(trial)

    def put_first(self, trial: Trial) -> None:
        self._now.appendleft(trial)

    def put_off(self, trial: Trial) -> None:
        """Out of the way for a while: another process works on it."""
        self._later.append((time.monotonic() + SECONDS_BETWEEN_LOOKS, trial))

    def wait(self) -> None:
        """Sleep until a trial may be there to take, or for a moment."""
        due = self._later[0][0] - time.monotonic() if self._later else 0.0
        time.sleep(min(max(due, 0.01), 0.2))
