"""What a trial says while it runs: `Started`, `Epoch`*, then `Done` or `Failed`; and a `Notice` at any time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FailureKind = Literal["diverged", "oom", "lost", "error", "pruned"]
"""`pruned`: stopped by a tuning that saw better ones; like a lost one it goes on where a study asks for it whole."""


OF_EPOCHS = ("train_loss", "train_acc", "lr", "train_s", "valid_loss", "valid_acc", "restart_test_acc", "wall_s")
"""Metrics that every epoch tells; all others are told once, with `Done`."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """An attempt at the trial has begun on this host, with this device and thread count."""

    host: str
    pid: int
    device: str
    threads: int
    epochs: int
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training set is over. `epoch` counts from 1; accuracies lie in [0, 1]."""

    epoch: int
    metrics: Mapping[str, float]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that a person should know and that changes no result, such as a checkpoint found damaged."""

    text: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Done:
    """The trial finished.

    `predicted` and `labels` hold one class index per test item, in the data set's own order.
    """

    metrics: Mapping[str, float]
    predicted: Sequence[int] = ()
    labels: Sequence[int] = ()
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trial is over without a result. A failure is a result too: it is stored and reported.

    `alone`: it had a whole device to itself. One that ran out of memory beside others is tried once more, alone.
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
    """The event as JSON-ready values.

    >>> to_dict(Epoch(epoch=1, metrics={"loss": 0.5}, time=7.0))
    {'event': 'Epoch', 'epoch': 1, 'metrics': {'loss': 0.5}, 'time': 7.0}
    """
    return {"event": type(event).__name__, **asdict(event)}


def from_dict(values: Mapping[str, Any]) -> Event:
    """The event that `to_dict` wrote; keys that a later version added are ignored.

    >>> from_dict({"event": "Epoch", "epoch": 1, "metrics": {}, "time": 7.0, "attempt": 2})
    Epoch(epoch=1, metrics={}, time=7.0)
    """
    kind = _KINDS[values["event"]]
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name in values})
