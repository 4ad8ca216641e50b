"""Seeds added one by one until a margin is decided, with error rates that hold under looking each time.

A row is one margin: paired differences by seed, first arm minus second, in percentage points. There is a look at it
with `first` seeds, and another after each further seed, up to `last`. The p values and intervals here are valid at each
of these looks. A row may stop at any of them, for any reason: a statement at level 5% is wrong in at most 5%.
This needs seeds without a trend, and noise that is not strongly skewed.

The method: at each look the t test's p value is turned into a normal score, divided by `1 + 0.75 / (n - 1)`. The first
looks, whose t tests could hardly decide anything, then use up little of the level. Under normal noise the distribution
of the highest of these scores depends on neither mean nor spread. A row's p value is the probability of a score as high
at any look up to `last`. With `last` equal to `first` it is the t test's p value.

Source: repeated tests at nominal levels, Pocock (1977), Wang and Tsiatis (1987), Jennison and Turnbull (2000), Group
Sequential Methods, chapters 2 and 9 (repeated confidence intervals); p values for any stopping time, Johari et al.
(2022), Always valid inference; sequences of intervals, Howard et al. (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats, Values
from ablate.stats.highest_score import check_looks, critical_score, p_value, shape
from ablate.stats.multiple_testing import ALPHA, CONFIDENCE, holms
from ablate.stats.paired import Alternative

FIRST = 3

MARGINS_PP, SD_PP = (0.0, 0.5, 1.5), 0.4
"""The rows that `expected_seeds` simulates: true margins in equal shares, and the standard deviation over seeds."""

ROWS_PLAYED = 6_000
"""Simulated rows for `expected_seeds`, at least 20 studies of them."""


def difference_p(values: Values, last: int, *, first: int = FIRST) -> Floats:
    """Return the two-sided p value of no difference, valid at any look.

    Args:
        values: (..., n) differences in points, in the order of seeds, n at most `last`. NaN stands for no seed: one
            that failed, or one after the row has stopped. A look at which all values so far are the same counts as no
            evidence.
        last: the most seeds that a row may get. It must be fixed beforehand.
        first: the seeds at the first look.

    Returns:
        (...) p values, 1 with fewer than `first` seeds.

    Raises:
        ValueError: there are more values than `last`, or 2 <= first <= last does not hold.

    >>> values = [1.1, 1.3, 0.8, 1.0]
    >>> float(difference_p(values, 4, first=4).round(3)), float(difference_p(values, 20).round(3))
    (0.002, 0.043)
    """
    return p_value(_highest(values, (0.0,), first, last, two_sided=True)[0], first, last, True)


def p_by_look(values: Floats, last: int, within_pp: float | None = None, *, first: int = FIRST) -> Floats:
    """Return the p value after each look, as `difference_p` gives it, or with `within_pp` `equivalence_p`.

    Args:
        values: (..., n) differences in points, all n there.
        last: the most seeds that a row may get, fixed beforehand.
        within_pp: the smallest difference of interest; None for p values of no difference.
        first: the seeds at the first look.

    Returns:
        (..., n - first + 1) p values.
    """
    if within_pp is None:
        highest = np.maximum.accumulate(_scores(values, (0.0,), first, last, two_sided=True)[0], axis=-1)
    else:
        sides = [np.maximum.accumulate(side, axis=-1) for side in _scores(values, (-within_pp, within_pp), first, last)]
        highest = np.minimum(*sides)
    by_look = [p_value(highest[..., look], first, last, within_pp is None) for look in range(highest.shape[-1])]
    return np.stack(by_look, axis=-1)


def mean_p(
    values: Values, mean: float, last: int, alternative: Alternative = "two-sided", *, first: int = FIRST
) -> Floats:
    """Return the p value of a mean of `mean`, against that alternative, valid at any look.

    The other arguments and the errors are those of `difference_p`.

    >>> values = [1.1, 1.3, 0.8, 1.0]
    >>> float(mean_p(values, 0.5, 4, "greater", first=4).round(3)), float(mean_p(values, 0.5, 4, "less"))
    (0.007, 1.0)
    """
    off = np.asarray(values, dtype=float) - mean
    if alternative == "two-sided":
        return difference_p(off, last, first=first)
    return p_value(_highest(-off if alternative == "less" else off, (0.0,), first, last)[0], first, last, False)


def equivalence_p(values: Values, within_pp: float, last: int, *, first: int = FIRST) -> Floats:
    """Return the p value of a margin of `within_pp` or more, valid at any look: the larger of two one-sided p values.

    The two sides may be shown at different looks. The other arguments and the errors are those of `difference_p`.

    Source: two one-sided tests, Schuirmann (1987).
    """
    sides = _highest(values, (-within_pp, within_pp), first, last)
    return p_value(np.minimum(sides[0], sides[1]), first, last, False)


def interval(values: Values, last: int, *, first: int = FIRST, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Return the ends of an interval in points that holds the true margin at all looks together.

    The interval consists of all means that `difference_p` rejects at no look so far. So it never gets wider. If every
    mean is rejected (the true one is then among them), it is the last interval that was not empty.

    The other arguments and the errors are those of `difference_p`.

    Returns:
        Low and high ends, (...) each; NaN without evidence.
    """
    from scipy import special

    mean, se, n = _looks(values, first, last)
    level = special.ndtr(-critical_score(confidence, first, last) * shape(n))
    half = -special.stdtrit(n - 1, level) * se
    low = np.maximum.accumulate(np.where(np.isnan(half), -np.inf, mean - half), axis=-1)
    high = np.minimum.accumulate(np.where(np.isnan(half), np.inf, mean + half), axis=-1)
    last_not_empty = np.sum(low <= high, axis=-1, keepdims=True) - 1  # once empty, it stays empty
    ends = [np.take_along_axis(end, last_not_empty, axis=-1)[..., 0] for end in (low, high)]
    return np.where(np.isinf(ends[0]), np.nan, ends[0]), np.where(np.isinf(ends[1]), np.nan, ends[1])


def undecided(
    rows: Sequence[Sequence[float]], last: int, within_pp: float, *, first: int = FIRST, alpha: float = ALPHA
) -> list[bool]:
    """Return for each row of a study whether it needs another seed: it has fewer than `last` and is not decided.

    A row is decided when a difference is shown, or equivalence. Each of the two is adjusted by Holm over all rows, at a
    family-wise level of `alpha`. A decided row stays decided, whatever seeds the others get.

    Args:
        rows: for each row, its differences in points in the order of seeds, NaN for a seed that failed in either arm.
        last: the most seeds that a row may get, failed ones included.
        within_pp: the smallest difference of interest.
        first: the seeds at the first look.
        alpha: the family-wise level of each of the two families of tests.

    Raises:
        ValueError: as for `difference_p`.

    >>> undecided([[2.0, 2.01, 1.99], [0.1, 0.5, 0.3], [0.4, float("nan")]], 20, 0.5)
    [False, True, True]
    """
    if not rows:
        return []
    longest = max(first, *(len(row) for row in rows))
    values = np.full((len(rows), longest), np.nan)
    for padded, row in zip(values, rows, strict=True):
        padded[: len(row)] = row
    p_values = difference_p(values, last, first=first), equivalence_p(values, within_pp, last, first=first)
    is_decided = (holms(p_values[0]) < alpha) | (holms(p_values[1]) < alpha)
    return [len(row) < last and not decided for row, decided in zip(rows, is_decided, strict=True)]


@lru_cache
def expected_seeds(rows: int, first: int, last: int, within_pp: float) -> float:
    """Return the mean number of seeds per row, simulated over studies like those of benchmarks/sequential_errors.py.

    The rows' true margins are 0, 0.5 and 1.5 points in equal shares, with normal noise of a standard deviation of 0.4
    points over seeds. The result is exact to within 0.2 seeds, and the same at every call.

    Raises:
        ValueError: rows is below 1, or 2 <= first <= last does not hold.
    """
    check_looks(first, last)
    if rows < 1:
        raise ValueError(f"rows={rows}: allowed: 1 or more")
    rng = np.random.default_rng(0)
    studies = max(ROWS_PLAYED // rows, 20)
    turns = np.add.outer(np.arange(studies), np.arange(rows)) % len(MARGINS_PP)
    mean_pp = np.asarray(MARGINS_PP)[turns][..., None]
    return float(np.mean(play(rng.normal(mean_pp, SD_PP, (studies, rows, last)), within_pp, first=first)[2]))


def play(
    values: Floats, within_pp: float, *, first: int = FIRST, alpha: float = ALPHA
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int_]]:
    """Simulate studies that add one seed at a time to each row that `undecided` returns true for.

    Args:
        values: (..., rows, last) the differences in points that each row's seeds would have.
        within_pp: the smallest difference of interest.
        first: the seeds at the first look.
        alpha: the family-wise level of each of the two families of tests.

    Returns:
        Whether a difference is shown, whether equivalence is shown, and the number of seeds taken: (..., rows) each.
    """
    last = values.shape[-1]
    differ = _scores(values, (0.0,), first, last, two_sided=True)
    equal = _scores(values, (-within_pp, within_pp), first, last)
    highest = np.full((3, *values.shape[:-1]), -np.inf)
    shown = np.zeros((2, *values.shape[:-1]), bool)
    seeds = np.full(values.shape[:-1], first - 1)
    for look in range(last - first + 1):
        goes_on = ~shown.any(axis=0)
        seeds += goes_on
        now = np.stack([differ[0][..., look], equal[0][..., look], equal[1][..., look]])
        highest = np.where(goes_on, np.maximum(highest, now), highest)
        p_values = p_value(highest[0], first, last, True), p_value(highest[1:].min(axis=0), first, last, False)
        shown = np.stack([holms(p) < alpha for p in p_values])
    return shown[0], shown[1], seeds


def _highest(values: Values, means: Sequence[float], first: int, last: int, two_sided: bool = False) -> list[Floats]:
    return [scores.max(axis=-1) for scores in _scores(values, means, first, last, two_sided)]


def _scores(values: Values, means: Sequence[float], first: int, last: int, two_sided: bool = False) -> list[Floats]:
    """Return (..., looks) scores for each of one or two means.

    A high score is evidence that the true mean is above the first of the means, and below the second. With `two_sided`
    it is evidence that the true mean differs. -inf stands for no evidence.
    """
    from scipy import special

    mean, se, n = _looks(values, first, last)
    scores = []
    for against, sign in zip(means, (1, -1), strict=False):
        with np.errstate(invalid="ignore", over="ignore"):
            t = sign * (mean - against) / se
        t = np.abs(t) if two_sided else t
        score = -special.ndtri(special.stdtr(n - 1, -t)) / shape(n)
        scores.append(np.where(np.isnan(t), -np.inf, score))
    return scores


def _looks(values: Values, first: int, last: int) -> tuple[Floats, Floats, NDArray[np.int_]]:
    """Return the mean and the standard error, (..., looks) each, and n, (looks,).

    NaN stands for a look that has not happened, and its standard error is NaN where the values do not vary.
    """
    check_looks(first, last)
    ordered = np.round(np.asarray(values, dtype=float), 9)  # 0.98 - 0.96 is not quite 0.02
    if ordered.shape[-1] > last:
        raise ValueError(f"{ordered.shape[-1]} seeds; allowed: {last} or fewer")
    ordered = np.take_along_axis(ordered, np.argsort(np.isnan(ordered), axis=-1, kind="stable"), axis=-1)
    n = np.arange(1, ordered.shape[-1] + 1)
    off = ordered - ordered[..., :1]  # so that squares of large means do not swamp the spread
    total = np.cumsum(off, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (np.cumsum(off**2, axis=-1) - total**2 / n) / (n - 1)
        varies = np.maximum.accumulate(off, axis=-1) > np.minimum.accumulate(off, axis=-1)
        se = np.sqrt(np.where(varies & (variance > 0), variance, np.nan) / n)
    seen = slice(first - 1, None)
    if len(n) < first:
        nothing = np.full((*ordered.shape[:-1], 1), np.nan)
        return nothing, nothing, np.array([first])
    return (ordered[..., :1] + total / n)[..., seen], se[..., seen], n[seen]
