"""The error of a margin over new seeds and new test items at once.

Every seed is scored on the same test items, so that seeds and items are crossed. The variance of the mean is then that
over seeds plus that over items, less what is in both. Student's t over seeds alone is about these very items: on 360
of them it calls equal arms different in 5 to 34% of studies, the more often the more seeds there are.

Source: readers and cases, Gallas (2006), One-shot estimate of MRMC variance; degrees of freedom, Satterthwaite (1946).
Chosen by benchmarks/population_errors.py.
"""

from __future__ import annotations

import numpy as np

from ablate.stats.arrays import Floats, Values
from ablate.stats.finite_test_set import TestSet


def error(values: Values, test_se: Floats | float, residual_se: Floats | float, items: int) -> tuple[Floats, Floats]:
    """Return the (...) standard errors of the means over seeds and items, and their (...) degrees of freedom.

    The variance is never below that over seeds alone, or over items alone: estimates of what is in both vary.

    Args:
        values: (..., n) margins, one per seed; n is 2 or more.
        test_se: (...) the standard errors that come from the test set.
        residual_se: (...) the part of them that the spread over seeds contains too.
        items: the size of the test set.
    """
    samples = np.asarray(values, dtype=float)
    n = samples.shape[-1]
    return crossed(np.var(samples, ddof=1, axis=-1) / n, n - 1, test_se, residual_se, items)


def crossed(
    of_seeds: Floats | float, seeds_df: Floats | float, test_se: Floats | float, residual_se: Floats | float, items: int
) -> tuple[Floats, Floats]:
    """Return the same, given the (...) variances of the means over seeds and their degrees of freedom."""
    of_items, of_both = np.square(test_se), np.square(residual_se)
    variance = np.maximum.reduce([of_seeds + of_items - of_both, np.asarray(of_seeds), of_items])
    spread = np.square(of_seeds) / seeds_df + of_items**2 / (items - 1) + of_both**2 / (seeds_df * (items - 1))
    return np.sqrt(variance), np.maximum(variance**2 / spread, 1)


def items_alone_pp(test_set: TestSet) -> float:
    """Return the standard error, in percentage points, that no number of seeds would take away."""
    return float(np.sqrt(max(test_set.se_pp**2 - test_set.residual_se_pp**2, 0.0)))
