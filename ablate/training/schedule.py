"""Learning-rate schedules: the factor by which the initial rate is multiplied at each batch."""

from __future__ import annotations

import math


def warm_restarts(step: int, *, steps_per_epoch: int, epochs: int, floor: float) -> float:
    """Return the factor of cosine decay with warm restarts: cycles of 2, 4, 8, ... epochs.

    The last cycle is shortened where the epochs run out, so that training always ends at the floor.

    Args:
        step: batches done so far, from 0.
        steps_per_epoch: batches in an epoch, the last partial one included.
        epochs: epochs in all.
        floor: the factor at the end of a cycle.

    >>> [round(warm_restarts(s, steps_per_epoch=1, epochs=6, floor=0), 2) for s in range(6)]
    [1.0, 0.0, 1.0, 0.75, 0.25, 0.0]

    Source: [WR], after Loshchilov and Hutter, arXiv 1608.03983.
    """
    start, length = 0, 2
    while step >= (start + length) * steps_per_epoch:
        start, length = start + length, length * 2
    length = min(length, epochs - start)
    return _cosine(step - start * steps_per_epoch, length * steps_per_epoch, floor)


def cycle_ends(epochs: int) -> list[int]:
    """Return the epochs, counted from 1, with which the cycles of `warm_restarts` end; the last one included.

    >>> cycle_ends(20)
    [2, 6, 14, 20]
    """
    ends, length = [min(2, epochs)], 2
    while ends[-1] < epochs:
        length *= 2
        ends.append(min(ends[-1] + length, epochs))
    return ends


def cosine(step: int, *, steps_per_epoch: int, epochs: int, floor: float) -> float:
    """Return the factor of one cosine over the whole training. Arguments are as in `warm_restarts`.

    Source: the authors' code release, for shifted-ReLU networks.
    """
    return _cosine(step, steps_per_epoch * epochs, floor)


DROP_EPOCHS = (85, 170)


def step(done: int, *, steps_per_epoch: int, epochs: int, floor: float) -> float:
    """Return 1, a tenth after 85 epochs and a hundredth after 170; `floor` is not used.

    >>> [step(epoch, steps_per_epoch=1, epochs=254, floor=0) for epoch in (0, 84, 85, 169, 170, 253)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]

    Source: [WR], the schedule that warm restarts are compared with.
    """
    return 10.0 ** -sum(done >= drop * steps_per_epoch for drop in DROP_EPOCHS)


def _cosine(step: int, steps: int, floor: float) -> float:
    """Return the factor that falls from 1 at the first of `steps` batches to `floor` at the last."""
    done = step / (steps - 1) if steps > 1 else 0.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
