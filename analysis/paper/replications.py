"""Whether seeds reproduce the numbers that papers printed: all numbers of a report are judged together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import equivalence_tests
from ablate.stats.replication import further_run_half_width, further_run_p, level_of_each
from analysis.formats import ABSENT

REPRODUCED_PP = 0.5
"""Percentage points around the printed number within which the mean of the recipe has to be shown to lie."""

RULES = (
    f"Reproduced: the mean over seeds is shown to lie within {REPRODUCED_PP} points of the number as it was printed "
    "(its whole interval does), whatever the mean of more runs of its authors would be.",
    "Not reproduced: the number lies outside the prediction interval of a further run, since a printed number is one "
    "run, as noisy as ours; tails as heavy as those of Student's t with 3 degrees of freedom are allowed for.",
    "Inconclusive: neither; ± is the half-width of the prediction interval.",
)
"""What the statuses mean, for people."""


@dataclass(frozen=True)
class Seeds:
    """The values of the seeds that match a printed number, in its unit and in percent.

    values_pct: (n,), n from 0. printed_pct: the number. runs: how many runs the number is the mean of.
    """

    values_pct: Sequence[float]
    printed_pct: float
    runs: int = 1

    @property
    def spread(self) -> bool:
        """Whether there is a spread to estimate the noise from."""
        return len(self.values_pct) > 1 and float(np.ptp(self.values_pct)) > 0


@dataclass(frozen=True)
class Replication:
    """What seeds say to a printed number.

    status: "reproduced", "not reproduced", or "inconclusive" with the reason or the half-width of `run_pct`.
    run_pct: the prediction interval of a further run, at the level that Holm's adjustment leaves to each number.
    p_run: that the number is a further run. p_within: that the mean lies 0.5 points from the number or more. Both are
        two-sided and adjusted for all numbers (Holm). None, as run_pct is, without a spread.
    """

    status: str
    run_pct: tuple[float, float] | None = None
    p_run: float | None = None
    p_within: float | None = None


def replications(numbers: Sequence[Seeds]) -> list[Replication]:
    """Return what seeds say to each printed number, adjusted for all numbers that are judged together.

    A number is "reproduced" if the whole interval of the seeds' mean lies within 0.5 points of it: Student's interval
    at 95% for one number, and wider for several. That is a statement on the number as printed, so the noise of the
    printed run is not in it. Otherwise the number is "not reproduced" if it lies outside the prediction interval of a
    further run, and "inconclusive" if inside. Where seeds have no spread they are inconclusive.

    The spread is that of our seeds. Our networks and the printed one are scored on the same test items, whose sampling
    moves both alike and is not counted.

    >>> [result.status for result in replications([Seeds([4.1, 4.2, 4.3], printed) for printed in (4.2, 4.8, 3.0)])]
    ['reproduced', 'inconclusive (n = 3, ±0.86)', 'not reproduced']
    >>> [result.status for result in replications([Seeds([4.0], 4.0), Seeds([4.0, 4.0], 4.0)])]
    ['inconclusive (n = 1)', 'inconclusive (n = 2, all the same)']

    Source: Patil, Peng and Leek (2016), What should we expect when we replicate? A statistical view of replicability in
    psychological science; two one-sided tests, Schuirmann (1987); Holm (1979).
    """
    p_runs, p_withins = (
        [test(number) if number.spread else np.nan for number in numbers] for test in (_p_run, _p_within)
    )
    level = level_of_each(p_runs)
    adjusted = zip(numbers, holms(p_runs), holms(p_withins), strict=True)
    return [_replication(number, p_run, p_within, level) for number, p_run, p_within in adjusted]


def in_words(replication: Replication) -> str:
    """Return the prediction interval for people."""
    return f"{replication.run_pct[0]:.2f} to {replication.run_pct[1]:.2f}" if replication.run_pct else ABSENT


def _p_run(number: Seeds) -> float:
    return float(further_run_p(number.values_pct, number.printed_pct, number.runs))


def _p_within(number: Seeds) -> float:
    """Return the least level at which the whole two-sided interval of the mean lies within REPRODUCED_PP."""
    differences = np.asarray(number.values_pct) - number.printed_pct
    return min(1.0, 2 * float(equivalence_tests(differences, REPRODUCED_PP)))


def _replication(number: Seeds, p_run: float, p_within: float, level: float) -> Replication:
    n = len(number.values_pct)
    if not number.spread:
        return Replication(f"inconclusive (n = {n}{', all the same' * (n > 1)})")
    mean, half = np.mean(number.values_pct), further_run_half_width(number.values_pct, level, number.runs)
    status = f"inconclusive (n = {n}, ±{half:.2f})"
    if p_run < ALPHA:
        status = "not reproduced"
    if p_within < ALPHA:
        status = "reproduced"
    return Replication(status, (float(mean - half), float(mean + half)), float(p_run), float(p_within))
