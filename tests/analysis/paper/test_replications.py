from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablate.stats.replication import further_run_half_width
from analysis.paper.replications import Seeds, in_words, replications


def around(mean, half_width, n=3):
    """n values with this mean, and this half-width of their 95% interval."""
    sd = half_width * np.sqrt(n) / stats.t.ppf(0.975, n - 1)
    shape = np.linspace(-1, 1, n)
    return (mean + shape * sd / np.std(shape, ddof=1)).tolist()


def statuses(*numbers):
    return [replication.status for replication in replications(numbers)]


@pytest.mark.parametrize(
    ("printed", "values", "expected"),
    [
        (5.0, around(5.0, 0.4), "reproduced"),
        (5.0, around(5.099, 0.4), "reproduced"),  # almost touches 5.5 from inside
        (5.0, around(5.101, 0.4), "inconclusive (n = 3, ±0.93)"),
        (5.0, around(5.41, 0.4), "inconclusive (n = 3, ±0.93)"),  # outside the mean's interval, as a run may well be
        (5.0, around(5.92, 0.4), "inconclusive (n = 3, ±0.93)"),
        (5.0, around(5.94, 0.4), "not reproduced"),
        (5.0, around(4.06, 0.4), "not reproduced"),
        (5.0, around(5.3, 0.1), "reproduced"),  # within 0.5 points comes first, though it is outside both intervals
        (5.0, around(6.0, 0.1), "not reproduced"),
        (5.0, [5.0], "inconclusive (n = 1)"),
        (5.0, [9.0], "inconclusive (n = 1)"),
        (5.0, [5.1, 5.1, 5.1], "inconclusive (n = 3, all the same)"),
        (5.0, [], "inconclusive (n = 0)"),
    ],
)
def test_the_status_follows_the_two_intervals(printed, values, expected):
    assert statuses(Seeds(values, printed)) == [expected]


def test_an_interval_that_is_shown_is_the_one_that_decides():
    """Of three numbers Holm leaves 5% / 3 to the least, then 5% / 2; an interval at 5% / 2 says the same of each."""
    values = around(5.0, 0.4)
    half = float(further_run_half_width(values, 0.05 / 2))
    least = float(further_run_half_width(values, 0.05 / 3))
    far, inside = Seeds(values, 5.0 - 1.01 * least), Seeds(values, 5.0 - 0.99 * half)
    judged = replications([far, inside, inside])
    assert [result.status for result in judged] == ["not reproduced", *[f"inconclusive (n = 3, ±{half:.2f})"] * 2]
    assert judged[0].run_pct == pytest.approx((5.0 - half, 5.0 + half))
    assert in_words(judged[0]) == f"{5 - half:.2f} to {5 + half:.2f}"


def test_what_is_reproduced_alone_may_not_be_among_others():
    number = Seeds(around(5.0, 0.4), 5.0)
    assert statuses(number) == ["reproduced"]
    assert statuses(*[number] * 12) == ["inconclusive (n = 3, ±3.72)"] * 12


def test_numbers_without_a_spread_do_not_count_among_those_that_are_adjusted():
    number, without = Seeds(around(5.0, 0.4), 5.0), Seeds([5.0], 5.0)
    assert statuses(number, *[without] * 11)[0] == "reproduced"
    assert in_words(replications([without])[0]) == "–"
