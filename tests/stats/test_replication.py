from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.replication import further_run_half_width, further_run_p, level_of_each

STUDIES = 6_000


def drawn(noise, n, studies=STUDIES, numbers=12):
    rng = np.random.default_rng(n)
    shape = studies, numbers, n + 1
    return rng.standard_normal(shape) if noise == "normal" else rng.standard_t(3, shape)


@pytest.mark.parametrize("noise", ["normal", "t(3)"])
@pytest.mark.parametrize("n", [2, 3, 7, 20])
def test_exact_replications_in_tables_of_12_numbers_are_rejected_in_6_percent_at_most(noise, n):
    """Student's prediction interval alone rejects t(3) in 8 to 24% from 3 seeds, the interval of the mean in 80%."""
    runs = drawn(noise, n)
    rejected = (holms(further_run_p(runs[..., 1:], runs[..., 0])) < ALPHA).any(-1)
    assert rejected.mean() <= 0.06


@pytest.mark.parametrize("n", [2, 3, 7, 20])
def test_the_tail_of_t3_noise_is_exact_where_it_is_the_wider(n):
    runs = drawn("t(3)", n)
    assert np.mean(further_run_p(runs[..., 1:], runs[..., 0]) < 0.01) == pytest.approx(0.01, abs=0.0012)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_p_value_is_never_below_students(n):
    runs = drawn("normal", n, 50)
    sample, number = runs[..., 1:], runs[..., 0]
    t = np.abs(number - sample.mean(-1)) / (sample.std(-1, ddof=1) * np.sqrt(1 + 1 / n))
    students = 2 * stats.t.sf(t, n - 1)
    p_values = further_run_p(sample, number)
    assert (p_values >= students * (1 - 1e-9)).all()
    near = t < 1
    assert p_values[near] == pytest.approx(students[near], rel=0.25)


def test_a_number_at_the_end_of_the_interval_has_the_level_as_its_p_value():
    values = np.array([1.0, 2.0, 4.0, 4.5])
    for level in (0.2, ALPHA, ALPHA / 12):
        half = float(further_run_half_width(values, level))
        assert further_run_p(values, values.mean() + half) == pytest.approx(level, rel=1e-6)
        assert further_run_p(values, values.mean() - half) == pytest.approx(level, rel=1e-6)


def test_with_many_seeds_and_runs_it_is_the_normal_interval_of_a_difference_of_means():
    values = np.random.default_rng(0).standard_normal(400)
    half = further_run_half_width(values, 0.2, runs=400)
    assert half == pytest.approx(stats.norm.isf(0.1) * values.std() * np.sqrt(2 / 400), rel=0.02)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0, 1.0]])
def test_without_a_spread_there_is_neither_a_p_value_nor_an_interval(values):
    assert np.isnan(further_run_p(values, 2.0))
    assert np.isnan(further_run_half_width(values))


@pytest.mark.parametrize("seed", range(20))
def test_one_level_for_all_decides_as_holm_does(seed):
    p_values = np.random.default_rng(seed).random(8) ** 4
    assert ((p_values < level_of_each(p_values)) == (holms(p_values) < ALPHA)).all()
    assert level_of_each(np.zeros(3)) == ALPHA
