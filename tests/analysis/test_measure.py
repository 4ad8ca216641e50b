from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablate.core.errors import UsageError
from analysis.sources.measure import Unit, measured


def of(name, values, **options):
    measure, acc, note = measured(name, pd.Series(values, dtype=float), **options)
    return measure, [round(value, 6) for value in acc.tolist()], note


@pytest.mark.parametrize(
    ("name", "values", "unit", "acc"),
    [
        ("accuracy", [0.98, 0.91], "%", [0.98, 0.91]),
        ("val_acc", [98.0, 0.91], "%", [0.98, 0.0091]),
        ("top1", [98.0, 91], "%", [0.98, 0.91]),
        ("loss", [0.98, 0.91], "", [0.0098, 0.0091]),
        ("mse", [0.98, 0.91], "", [0.0098, 0.0091]),
        ("test_error", [3.5, 2.0], "", [0.035, 0.02]),
        ("reward", [-1.0, 250], "", [-0.01, 2.5]),
    ],
)
def test_a_unit_is_told_by_name_and_values_where_that_cannot_be_wrong(name, values, unit, acc):
    measure, shares, note = of(name, values)
    assert (measure.unit, shares) == (unit, acc)
    assert "unit=" in note


def test_an_error_rate_below_1_may_be_in_percent_and_is_asked_about():
    with pytest.raises(UsageError, match=r"metric=err: its values lie between 0\.2 and 0\.9; are they percent\?"):
        of("err", [0.2, 0.9], lower_is_better=True)
    assert of("err", [0.2, 0.9], unit=Unit.percent)[1:] == ([0.002, 0.009], "")
    assert of("err", [0.2, 0.9], unit=Unit.fraction)[1:] == ([0.2, 0.9], "")
    assert of("err", [0.2, 0.9], unit=Unit.plain)[0].points == ""


@pytest.mark.parametrize(("unit", "most"), [(Unit.fraction, 1), (Unit.percent, 100)])
def test_values_that_do_not_fit_the_unit_are_named(unit, most):
    with pytest.raises(UsageError, match=f"unit={unit.name}: x is 250 in a run; allowed: values from 0 to {most}"):
        of("x", [0.5, 250], unit=unit)


def test_a_run_without_the_metric_changes_nothing():
    assert of("acc", [0.98, np.nan])[0].unit == "%"
    assert of("loss", [np.nan])[0].decimals == 2


@pytest.mark.parametrize(
    ("values", "decimals", "figure", "margin"),
    [
        ([0.00213, 0.00223, 0.00241], 5, "0.00213", "+0.00010"),
        ([0.21, 0.25, 0.29], 3, "0.210", "+0.040"),
        ([1520.0, 1710.0], 2, "1520.00", "+190.00"),
    ],
)
def test_a_plain_number_has_the_digits_that_tell_runs_apart(values, decimals, figure, margin):
    measure, acc, _ = of("loss", values)
    assert measure.decimals == decimals
    assert measure.figure(acc[0] if decimals < 5 else values[0] / 100) == figure
    assert measure.margin(values[1] - values[0]) == margin
