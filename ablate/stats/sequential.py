"""Seeds added one by one until a margin is decided, with error rates that hold under looking each time.

A row is one margin: paired differences by seed, first arm minus second, in percentage points. It is looked at with
`first` seeds and after each further one, up to `last`. The p values and intervals here may be read at any of these
looks, and a row may stop at whichever it likes, for any reason: what is said at level 5% is wrong in 5% at most. That
needs seeds without a trend and noise that is not strongly skewed.

How: at each look the t test's p value becomes a normal score, divided by `1 + SHAPE / (n - 1)`, so that the first
looks, whose t tests could hardly decide anything, use up little of the level. Under normal noise the law of the highest
of these scores is free of mean and spread. A row's p value is the chance of as high a one in all looks up to `last`.
With `last` equal to `first` it is the t test's.

Source: repeated tests at nominal levels, Pocock (1977), Wang and Tsiatis (1987), Jennison and Turnbull (2000), Group
Sequential Methods, chapters 2 and 9 (repeated confidence intervals); p values for any stopping time, Johari et al.
(2022), Always valid inference; sequences of intervals, Howard et al. (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.stats.multiple_testing import holms

FIRST = 3
ALPHA = 0.05
CONFIDENCE = 0.95

SHAPE = 0.75
"""Any from 0.5 to 1.5 needs the same seeds for the same power, to within 2% (docs/log.md)."""

MARGINS_PP, SD_PP = (0.0, 0.5, 1.5), 0.4
"""What `expected_seeds` takes rows to be like: true margins in equal shares, and the spread over seeds."""

DRAWS = 4_000
SCORES = np.append(-3, np.arange(-1, 7.01, 0.25))
ROWS_PLAYED = 6_000

Floats = NDArray[np.float64]


def difference_p(values: Any, last: int, *, first: int = FIRST) -> Floats:
    """The p value of no difference, two-sided, valid at any look.

    Args:
        values: (..., n) differences in points, in the order of seeds, n at most `last`. NaN is no seed: one that
            failed, or after the row has stopped. Looks where all are the same so far are no evidence.
        last: the most seeds that a row may get; to be fixed beforehand.
        first: the seeds at the first look.

    Returns:
        (...): 1 with fewer than `first` seeds.

    Raises:
        ValueError: more values than `last`, or 2 <= first <= last does not hold.

    >>> values = [1.1, 1.3, 0.8, 1.0]
    >>> float(difference_p(values, 4, first=4).round(3)), float(difference_p(values, 20).round(3))
    (0.002, 0.043)
    """
    return _p_value(_highest(values, (0.0,), first, last, two_sided=True)[0], first, last, True)


def equivalence_p(values: Any, within_pp: float, last: int, *, first: int = FIRST) -> Floats:
    """The p value of a margin of `within_pp` or more, valid at any look: the larger of two one-sided ones.

    The two sides may be shown at different looks. Arguments otherwise, and errors, as in `difference_p`.

    Source: two one-sided tests, Schuirmann (1987).
    """
    sides = _highest(values, (-within_pp, within_pp), first, last)
    return _p_value(np.minimum(sides[0], sides[1]), first, last, False)


def interval(values: Any, last: int, *, first: int = FIRST, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Low and high ends, (...), of an interval in points that holds the true margin at all looks together.

    It is all means that `difference_p` rejects at no look so far, and never gets wider. Where that leaves none (the
    true one is then among the rejected), it is the last interval that was not empty. NaN without evidence.
    Arguments otherwise, and errors, as in `difference_p`.
    """
    from scipy import special

    mean, se, n = _looks(values, first, last)
    level = special.ndtr(-critical_score(confidence, first, last) * _shape(n))
    half = -special.stdtrit(n - 1, level) * se
    low = np.maximum.accumulate(np.where(np.isnan(half), -np.inf, mean - half), axis=-1)
    high = np.minimum.accumulate(np.where(np.isnan(half), np.inf, mean + half), axis=-1)
    last_held = np.sum(low <= high, axis=-1, keepdims=True) - 1  # once empty, it stays so
    ends = [np.take_along_axis(end, last_held, axis=-1)[..., 0] for end in (low, high)]
    return np.where(np.isinf(ends[0]), np.nan, ends[0]), np.where(np.isinf(ends[1]), np.nan, ends[1])


def undecided(
    rows: Sequence[Sequence[float]], last: int, within_pp: float, *, first: int = FIRST, alpha: float = ALPHA
) -> list[bool]:
    """For each row of a study, whether it is to get another seed: it has fewer than `last` and is not decided.

    Decided: a difference is shown, or equivalence, each adjusted by Holm over all rows and each at a family-wise level
    of `alpha`. A row once decided stays so, whatever the others get.

    Args:
        rows: for each, its differences in points in the order of seeds, NaN for a seed that failed in either arm.
        last: the most seeds that a row may get, failed ones included.
        within_pp: the smallest difference of interest.
        first: the seeds at the first look.
        alpha: the level.

    Raises:
        ValueError: as `difference_p`.

    >>> undecided([[2.0, 2.01, 1.99], [0.1, 0.5, 0.3], [0.4, float("nan")]], 20, 0.5)
    [False, True, True]
    """
    if not rows:
        return []
    longest = max(first, *(len(row) for row in rows))
    values = np.full((len(rows), longest), np.nan)
    for held, row in zip(values, rows, strict=True):
        held[: len(row)] = row
    p_values = difference_p(values, last, first=first), equivalence_p(values, within_pp, last, first=first)
    is_decided = (holms(p_values[0]) < alpha) | (holms(p_values[1]) < alpha)
    return [len(row) < last and not is_so for row, is_so in zip(rows, is_decided, strict=True)]


@lru_cache
def expected_seeds(rows: int, first: int, last: int, within_pp: float) -> float:
    """The mean seeds per row of studies like those of the benchmark, by simulation; the same at every call.

    Rows' true margins are 0, 0.5 and 1.5 points in equal shares, the spread over seeds 0.4 points, the noise normal.
    To within 0.2 seeds.

    Raises:
        ValueError: no rows, or 2 <= first <= last does not hold.
    """
    _check(first, last)
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
    """What `undecided` would lead to: a seed at a time for the rows of a study that need one.

    Args:
        values: (..., rows, last) differences in points: what each row's seeds would give.
        within_pp: as in `undecided`, and so the others.
        first: the seeds at the first look.
        alpha: the level.

    Returns:
        Whether a difference is shown, whether equivalence is, and how many seeds were taken: (..., rows) each.
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
        p_values = _p_value(highest[0], first, last, True), _p_value(highest[1:].min(axis=0), first, last, False)
        shown = np.stack([holms(p) < alpha for p in p_values])
    return shown[0], shown[1], seeds


@lru_cache
def critical_score(confidence: float, first: int, last: int) -> float:
    """The score whose two-sided p value is 1 - confidence. At a look of n, times its shape, it is a normal quantile."""
    from scipy import optimize

    def excess(score: float) -> float:
        return float(_p_value(np.array(score), first, last, True)) - (1 - confidence)

    return float(optimize.brentq(excess, 0, 40, xtol=1e-12))


def _highest(values: Any, means: Sequence[float], first: int, last: int, two_sided: bool = False) -> list[Floats]:
    return [one.max(axis=-1) for one in _scores(values, means, first, last, two_sided)]


def _scores(values: Any, means: Sequence[float], first: int, last: int, two_sided: bool = False) -> list[Floats]:
    """(..., looks) scores for each of the means: high speaks for more than the first and less than the second.

    Two-sided: for more or less. -inf is no evidence.
    """
    from scipy import special

    mean, se, n = _looks(values, first, last)
    found = []
    for against, sign in zip(means, (1, -1), strict=False):
        with np.errstate(invalid="ignore", over="ignore"):
            t = sign * (mean - against) / se
        t = np.abs(t) if two_sided else t
        score = -special.ndtri(special.stdtr(n - 1, -t)) / _shape(n)
        found.append(np.where(np.isnan(t), -np.inf, score))
    return found


def _looks(values: Any, first: int, last: int) -> tuple[Floats, Floats, NDArray[np.int_]]:
    """Mean and standard error, (..., looks), and n, (looks,). NaN: no such look, or one without spread."""
    _check(first, last)
    held = np.round(np.asarray(values, dtype=float), 9)  # 0.98 - 0.96 is not quite 0.02
    if held.shape[-1] > last:
        raise ValueError(f"{held.shape[-1]} seeds where {last} are the most: allowed: {last} or fewer")
    held = np.take_along_axis(held, np.argsort(np.isnan(held), axis=-1, kind="stable"), axis=-1)
    n = np.arange(1, held.shape[-1] + 1)
    off = held - held[..., :1]  # so that squares of large means do not swamp the spread
    total = np.cumsum(off, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (np.cumsum(off**2, axis=-1) - total**2 / n) / (n - 1)
        varies = np.maximum.accumulate(off, axis=-1) > np.minimum.accumulate(off, axis=-1)
        se = np.sqrt(np.where(varies & (variance > 0), variance, np.nan) / n)
    seen = slice(first - 1, None)
    if len(n) < first:
        nothing = np.full((*held.shape[:-1], 1), np.nan)
        return nothing, nothing, np.array([first])
    return (held[..., :1] + total / n)[..., seen], se[..., seen], n[seen]


def _shape(n: NDArray[np.int_]) -> Floats:
    return 1 + SHAPE / (n - 1)


def _p_value(score: Floats, first: int, last: int, two_sided: bool) -> Floats:
    """(...) the chance, with no difference, that any look from `first` to `last` scores as high.

    The sum of the looks' chances, times the share of it that is left when a row that does so at several looks counts
    once; that share is simulated, plus three of its standard errors.
    """
    from scipy import special

    alone = special.ndtr(-score[..., None] * _shape(np.arange(first, last + 1))).sum(axis=-1)
    p = (1 + two_sided) * alone * np.interp(score, *_shares(first, last, two_sided))
    return np.where(np.isneginf(score), 1.0, np.minimum(p, 1.0))


@lru_cache
def _shares(first: int, last: int, two_sided: bool) -> tuple[Floats, Floats]:
    """Scores, and at each the mean of 1 / (looks that score as high) over rows drawn as `_rows_with_one` does.

    Beyond the last score simulated it rises to 1, which is always enough.

    Source: Owen, Maximov and Chertkov (2019), Importance sampling the union of rare events, equation 3.
    """
    from scipy import special

    _check(first, last)
    n = np.arange(first, last + 1)
    shares = []
    for score in SCORES:
        level = special.ndtr(-score * _shape(n))
        t = _rows_with_one(level, n, np.random.default_rng(0))
        high = (np.abs(t) if two_sided else t) >= -special.stdtrit(n - 1, level)
        share = 1 / np.maximum(high.sum(axis=-1), 1)
        shares.append(min(share.mean() + 3 * share.std() / DRAWS**0.5, 1.0))
    return np.append(SCORES, SCORES[-1] + 2), np.append(shares, 1.0)


def _rows_with_one(level: Floats, n: NDArray[np.int_], rng: np.random.Generator) -> Floats:
    """(DRAWS, looks) t statistics of rows without a margin that, at one look, are in the upper tail.

    The look is drawn in proportion to the tails, `level`, and t there from its tail. Of the values up to that look, t
    fixes the angle to the mean; their length and what remains of their direction are independent of it.
    """
    from scipy import special

    values = rng.standard_normal((DRAWS, n[-1]))
    look = rng.choice(len(n), DRAWS, p=level / level.sum())
    t_there = -special.stdtrit(n[look] - 1, level[look] * (1 - rng.random(DRAWS)))[:, None]
    seeds = n[look, None]
    before = np.arange(n[-1]) < seeds
    length = np.sqrt(np.sum(values**2, axis=-1, keepdims=True, where=before))
    off = np.where(before, values - np.mean(values, axis=-1, keepdims=True, where=before), 0)
    off /= np.sqrt(np.sum(off**2, axis=-1, keepdims=True))
    along = t_there / np.sqrt(seeds - 1)
    turned = length * (along / np.sqrt(seeds) + off) / np.sqrt(along**2 + 1)
    values = np.where(before, turned, values)
    total, squares = np.cumsum(values, axis=-1)[:, n - 1], np.cumsum(values**2, axis=-1)[:, n - 1]
    spread = np.maximum(squares - total**2 / n, np.finfo(float).tiny)
    return total / np.sqrt(n * spread / (n - 1))


def _check(first: int, last: int) -> None:
    if not 2 <= first <= last:
        raise ValueError(f"first={first}, last={last}: allowed: 2 <= first <= last")
