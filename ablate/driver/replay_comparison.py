"""The events of a trial and those of its replay: are all numbers equal to the last bit, and if not, which is first?"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ablate.core.events import Done, Epoch, Event, Failed

OF_THE_CLOCK = ("train_s", "wall_s")
"""Metrics of an epoch that no two runs share."""

OF_RESULTS = ("test_loss", "test_acc", "test_correct", "test_items", "test_acc_multicrop")
"""The metrics of a result that are compared: the others are costs, or those of the last epoch again."""


@dataclass(frozen=True)
class Difference:
    """Two numbers that differ, or texts; None where one of both is lacking."""

    where: str
    before: float | str | None
    now: float | str | None

    def __str__(self) -> str:
        before, now = ("none" if value is None else str(value) for value in (self.before, self.now))
        apart = ""
        if isinstance(self.before, int | float) and isinstance(self.now, int | float):
            apart = f" ({abs(self.now - self.before):.2g} apart)"
        return f"{self.where}: {before} before, {now} now{apart}"


@dataclass(frozen=True)
class Comparison:
    """What was compared, in words, and every difference, in the order of training."""

    compared: Sequence[str]
    differences: Sequence[Difference]


def compared(before: Sequence[Event], now: Sequence[Event]) -> Comparison:
    """Compare what a trial recorded with what its replay did: its epochs, its result and its predictions.

    Args:
        before: the trial's history.
        now: the replay's, which may go on for longer.
    """
    epochs = [event for event in before if isinstance(event, Epoch)]
    again = {event.epoch: event.metrics for event in now if isinstance(event, Epoch)}
    differences: list[Difference] = []
    for event in epochs:
        metrics = {name: value for name, value in event.metrics.items() if name not in OF_THE_CLOCK}
        differences += _of_metrics(f"epoch {event.epoch}, ", metrics, again.get(event.epoch, {}))
    words = [f"the curve of {len(epochs)} epoch{'s' * (len(epochs) != 1)}"] if epochs else []
    end, end_now = before[-1] if before else None, now[-1] if now else None
    if isinstance(end, Done):
        result = {name: value for name, value in end.metrics.items() if name in OF_RESULTS}
        differences += _of_metrics("", result, end_now.metrics if isinstance(end_now, Done) else {})
        words += [f"test accuracy {result['test_acc']:.2%}"] if "test_acc" in result else []
        if end.predicted:
            differences += _of_predictions(end, end_now)
            words.append(f"{len(end.predicted)} predictions")
    if isinstance(end, Failed) and end.kind in ("diverged", "error"):
        ends = [f"{e.kind}: {e.reason}" if isinstance(e, Failed) else type(e).__name__ for e in (end, end_now)]
        differences += [Difference("its end", *ends)] if ends[0] != ends[1] else []
        words.append(f"its end, {end.kind}")
    return Comparison(words, differences)


def _of_metrics(where: str, before: Mapping[str, float], now: Mapping[str, float]) -> Iterator[Difference]:
    for name, value in before.items():
        if name not in now or not _same_bits(value, now[name]):
            yield Difference(f"{where}{name}", value, now.get(name))


def _of_predictions(before: Done, now: Event | None) -> Iterator[Difference]:
    if not isinstance(now, Done) or len(now.predicted) != len(before.predicted):
        yield Difference("predictions", len(before.predicted), len(now.predicted) if isinstance(now, Done) else None)
        return
    pairs = list(zip(before.predicted, now.predicted, strict=True))
    others = [n for n, (first, second) in enumerate(pairs) if first != second]
    if others:
        first, second = pairs[others[0]]
        yield Difference(f"{len(others)} of {len(pairs)} predictions, the first of item {others[0]}", first, second)
    if list(before.labels) != list(now.labels):
        yield Difference("labels of the test items", "those of its data", "others")


def _same_bits(first: float, second: float) -> bool:
    if math.isnan(first) and math.isnan(second):  # the event log does not keep which of its bit patterns it was
        return True
    return struct.pack("d", first) == struct.pack("d", second)
