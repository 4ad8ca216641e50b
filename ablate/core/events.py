"""The events that a trial yields while it runs: `Started`, `Epoch`*, then `Done` or `Failed`; `Notice` at any time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

FailureKind = Literal["diverged", "oom", "lost", "error", "pruned"]
"""Why a trial failed. A trial that was pruned was stopped by tuning, which saw better ones.

Like a lost trial, a pruned one continues from its checkpoint when a study asks for all of its epochs.
"""

OF_EPOCHS = ("train_loss", "train_acc", "lr", "train_s", "valid_loss", "valid_acc", "restart_test_acc", "wall_s")
"""The metrics that every epoch reports. All other metrics are reported once, with `Done`."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """An attempt at the trial has started on this host, with this device and thread count.

    `machine` names the models of CPU and GPU, and versions, as `provenance.machine` does; earlier releases wrote none.
    """

    host: str
    pid: int
    device: str
    threads: int
    epochs: int
    machine: Mapping[str, str] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training set has ended. `epoch` counts from 1; accuracies lie in [0, 1]."""

    epoch: int
    metrics: Mapping[str, float]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that a person should know but that changes no result, such as a damaged checkpoint."""

    text: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Done:
    """The trial has finished with a result.

    `predicted` and `labels` hold one class index per test item, in the data set's own order.
    """

    metrics: Mapping[str, float]
    predicted: Sequence[int] = ()
    labels: Sequence[int] = ()
    time: float = field(default_factory=time.time)

    def without_predictions(self) -> Self:
        """Return the same outcome with `predicted` and `labels` empty."""
        return replace(self, predicted=(), labels=())


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trial has ended without metrics. A failure is an outcome too: it is stored and reported.

    `alone` says that the trial had a whole device to itself. A trial that ran out of memory beside others is tried
    once more, alone.
    """

    kind: FailureKind
    reason: str
    traceback: str = ""
    alone: bool = False
    time: float = field(default_factory=time.time)


Event = Started | Epoch | Notice | Done | Failed
Outcome = Done | Failed
_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Started, Epoch, Notice, Done, Failed)}


def to_dict(event: Event) -> dict[str, Any]:
    """Return the event as JSON-ready values.

    >>> to_dict(Epoch(epoch=1, metrics={"loss": 0.5}, time=7.0))
    {'event': 'Epoch', 'epoch': 1, 'metrics': {'loss': 0.5}, 'time': 7.0}
    """
    return {"event": type(event).__name__, **asdict(event)}


def from_dict(values: Mapping[str, Any]) -> Event:
    """Return the event that `to_dict` wrote. Keys that a later version added are ignored.

    >>> from_dict({"event": "Epoch", "epoch": 1, "metrics": {}, "time": 7.0, "attempt": 2})
    Epoch(epoch=1, metrics={}, time=7.0)
    """
    kind = _KINDS[values["event"]]
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name in values})
