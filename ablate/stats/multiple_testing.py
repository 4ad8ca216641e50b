"""P values adjusted for being tested together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def holms(p_values: Sequence[float] | Floats) -> Floats:
    """The p values adjusted for being tested together along the last axis; NaN was no test and stays NaN.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    held = np.asarray(p_values, dtype=float)
    order = np.argsort(held, axis=-1)  # NaN comes last
    tested = np.sum(~np.isnan(held), axis=-1, keepdims=True)
    multiplied = np.take_along_axis(held, order, axis=-1) * (tested - np.arange(held.shape[-1]))
    adjusted = np.empty_like(held)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(multiplied, axis=-1), 1.0), axis=-1)
    return adjusted


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values adjusted for being tested together; one that is None was no test and stays None.

    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    adjusted = holms([np.nan if p is None else p for p in p_values])
    return [None if np.isnan(p) else float(p) for p in adjusted]
