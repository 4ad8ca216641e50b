"""When seeds stopped being added, and the tests and intervals over seeds that hold for it.

- The number of seeds was fixed beforehand: Student's.
- Seeds were added until they decided, as planned (seeds=auto): those of `ablate.stats.sequential`.
- Seeds were added after a look at the results, unplanned. The first look has then spent the whole level of 5%. What
  comes later may spend one more percent in all, so that a study without a margin that is followed up until it shows one
  ends wrongly in at most 6%. Followed up by plain t tests to 20 seeds it does in 9 to 16%: benchmarks/looks_errors.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablate.stats import sequential
from ablate.stats.arrays import Values
from ablate.stats.multiple_testing import ALPHA, CONFIDENCE
from ablate.stats.paired import Alternative, t_interval, t_test

LATER_LEVEL = 0.01
"""What all looks after the first may add to the probability of an error."""

_STAGE_SEEDS, _STAGE_GROWTH, _STAGE_SHARE = 20, 4, 5
"""Later looks come in stages: up to 20 seeds, up to 4 times as many, and so on, each with a fifth of the level of the
one before, since the sequential test needs the most seeds to be fixed."""


@dataclass(frozen=True)
class SeedRule:
    """How a study came to its number of seeds.

    most_seeds: the most seeds that were planned, where they were added until they decided; None for a fixed number.
    looks: the numbers of seeds at which the study was looked at, where more were added after the first look, unplanned;
        empty where none were. It counts before `most_seeds`.
    """

    most_seeds: int | None = None
    looks: tuple[int, ...] = ()

    @property
    def is_fixed(self) -> bool:
        return self.most_seeds is None and not self.looks

    @property
    def in_words(self) -> str:
        """What is special about the number of seeds; empty where it was fixed."""
        if self.looks:
            return f"seeds were added after a look, at {' and '.join(map(str, self.looks))} seeds"
        return "" if self.is_fixed else "seeds were added until margins were decided"

    def test(self, values: Values, mean: float = 0.0, alternative: Alternative = "two-sided") -> float | None:
        """Return the p value of (n,) values, in the order of seeds, having this mean. None without a test."""
        if self.is_fixed:
            return t_test(values, mean, alternative)
        if len(values) < 2 or np.ptp(np.asarray(values, float)) == 0:
            return None
        last, factor = self.plan(len(values))
        return min(1.0, factor * float(sequential.mean_p(values, mean, last, alternative)))

    def equivalence_test(self, values: Values, within: float) -> float:
        """Return the p value of a mean as large as `within`, for (n,) values of a number of seeds that is not fixed."""
        last, factor = self.plan(len(values))
        return min(1.0, factor * float(sequential.equivalence_p(values, within, last)))

    def interval(self, values: Values, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Return the interval for the mean of (n,) values, in the order of seeds. None where they show no spread."""
        if self.is_fixed:
            return t_interval(values, confidence)
        last, factor = self.plan(len(values))
        low, high = sequential.interval(values, last, confidence=1 - (1 - confidence) / factor)
        return None if np.isnan(low) else (float(low), float(high))

    def plan(self, n: int) -> tuple[int, float]:
        """Return the most seeds that the sequential test allows for, and by what to multiply its p values."""
        if self.most_seeds is not None and not self.looks:
            return max(self.most_seeds, n), 1.0
        return later_look(n)


FIXED = SeedRule()


def later_look(n: int) -> tuple[int, float]:
    """Return the same for a look with n seeds that was not planned, and was not the first."""
    last, level = _STAGE_SEEDS, LATER_LEVEL * (1 - 1 / _STAGE_SHARE)
    while last < n:
        last, level = last * _STAGE_GROWTH, level / _STAGE_SHARE
    return last, ALPHA / level
