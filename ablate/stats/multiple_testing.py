"""P values adjusted for tests that are made together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate.stats.arrays import Floats

ALPHA, CONFIDENCE = 0.05, 0.95
"""The level of a family of tests, and the confidence of an interval."""


def holms(p_values: Sequence[float] | Floats) -> Floats:
    """Return the p values adjusted for the tests made together along the last axis.

    NaN stands for no test, and stays NaN.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given, axis=-1)  # NaN comes last
    tested = np.sum(~np.isnan(given), axis=-1, keepdims=True)
    multiplied = np.take_along_axis(given, order, axis=-1) * (tested - np.arange(given.shape[-1]))
    adjusted = np.empty_like(given)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(multiplied, axis=-1), 1.0), axis=-1)
    return adjusted


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values adjusted for the tests made together. None stands for no test, and stays None.

    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    adjusted = holms([np.nan if p is None else p for p in p_values])
    return [None if np.isnan(p) else float(p) for p in adjusted]


def at_least_p(p_values: Sequence[float | None], count: int) -> float:
    """Return the p value of at least so many of the null hypotheses being false, however the tests go together.

    Args:
        p_values: one per test; None stands for no test, and counts as 1.
        count: from 1, as in Bonferroni's test of any, to their number, as in the intersection-union test of all.

    >>> at_least_p([0.01, 0.02, 0.04], 1), at_least_p([0.01, 0.02, 0.04], 2), at_least_p([0.01, 0.02, None], 3)
    (0.03, 0.04, 1.0)

    Source: Benjamini and Heller (2008), Screening for partial conjunction hypotheses, Bonferroni's version.
    """
    ordered = sorted(1.0 if p is None else p for p in p_values)
    return min(1.0, (len(ordered) - count + 1) * ordered[count - 1])
