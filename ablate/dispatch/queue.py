"""The queue of trials that wait. A trial that another process works on goes to the back for some seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ablate.core.study import Trial
from ablate.store.run_store import RunStore

SECONDS_BETWEEN_LOOKS = 1.0


class Queue:
    """A first-in, first-out queue. Whoever consumes the events may put in more trials until the last one is over."""

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self._now = deque(trials)
        self._later: deque[tuple[float, Trial]] = deque()

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> Queue:
        """Return the trials as a queue. A queue is returned as it is."""
        return trials if isinstance(trials, Queue) else cls(trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter((*self._now, *(trial for _, trial in self._later)))

    def __bool__(self) -> bool:
        return bool(self._now or self._later)

    def take(self, fits: Callable[[Trial], bool] = lambda trial: True) -> Trial | None:
        """Remove and return the first trial that `fits` and is not put off. None when there is none now."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._now.append(self._later.popleft()[1])
        for index, trial in enumerate(self._now):
            if fits(trial):
                del self._now[index]
                return trial
        return None

    def put(self, trial: Trial) -> None:
        """Add the trial at the end."""
        self._now.append(trial)

    def put_first(self, trial: Trial) -> None:
        """Add the trial at the front."""
        self._now.appendleft(trial)

    def put_off(self, trial: Trial) -> None:
        """Add the trial so that it is taken only after a while, since another process works on it."""
        self._later.append((time.monotonic() + SECONDS_BETWEEN_LOOKS, trial))

    def wait(self) -> None:
        """Sleep until a trial that was put off may be taken, or briefly: 0.01 to 0.2 seconds."""
        due = self._later[0][0] - time.monotonic() if self._later else 0.0
        time.sleep(min(max(due, 0.01), 0.2))


class Requests:
    """How many attempts at each trial of a queue had ended when this process requested it.

    What fails after that has failed for this process too, whoever tried it: it is not tried again at once.

    Raises:
        StorageUnavailable: the object store has not answered for minutes.
    """

    def __init__(self, store: RunStore, queue: Queue) -> None:
        self._store, self._queue = store, queue
        self._before = store.ended_attempts(queue)

    def attempts_before(self, trial: Trial) -> int:
        """Return the number of attempts before the request. Trials that came into the queue later are looked up."""
        if trial.trial_id not in self._before:
            new = [other for other in self._queue if other.trial_id not in self._before]
            self._before |= self._store.ended_attempts([trial, *new])
        return self._before[trial.trial_id]

    def has_ended_since(self, trial: Trial) -> bool:
        """Return whether an attempt has ended since the request."""
        return self._store.ended_attempts([trial])[trial.trial_id] > self.attempts_before(trial)
