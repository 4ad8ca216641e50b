from __future__ import annotations

import pytest

from ablate.planning.detectable import notes, pooled
from ablate.planning.estimates import Expectations
from ablate.stats.power import detectable_pp
from tests.planning.test_estimates import finish

LINE = ("norm=bn,srelu", "bits=1,32")
HERE = "in 6 finished trials on such data here, a margin of about"


def finish_some(planned, runs, *words, spread=0.01):
    for trial in planned("bits=1,8", *words).study.trials:
        finish(runs, trial, 1, test_acc=0.9 + spread * (-1) ** trial.seed)


def lines_of(planned, folder, *words):
    return notes(planned(*LINE, *words), Expectations(folder / "runs"))


def test_the_margin_that_a_plan_can_show_comes_from_the_spread_of_finished_trials(planned, folder):
    finish_some(planned, folder / "runs")
    sd_pp = pooled({"a": [91, 89, 91]}).sd_pp
    alone, among = (detectable_pp(sd_pp * 2**0.5, 10, tests) for tests in (1, 2))
    assert lines_of(planned, folder, "seeds=10") == [
        f"With 10 seeds, and a spread between seeds of {sd_pp:.2f} points as {HERE} {alone:.1f} points would be found "
        f"in 80% if it were alone, of about {among:.1f} as one of 2."
    ]
    assert lines_of(planned, folder, "seeds=auto")[0].startswith("With up to 20 seeds, and a spread")
    assert lines_of(planned, folder, "seeds=1") == ["With one seed no margin is tested; allowed: seeds=3, say."]


def test_without_a_spread_it_says_nothing(planned, folder):
    assert lines_of(planned, folder) == []
    finish_some(planned, folder / "runs", "seeds=1")
    assert lines_of(planned, folder) == []


def test_a_spread_on_other_data_says_nothing(planned, folder):
    finish_some(planned, folder / "runs", "dataset=synthetic")
    assert lines_of(planned, folder) == []


def test_mode_plan_shows_it(planned, folder, say, monkeypatch):
    finish_some(planned, folder / "runs")
    monkeypatch.undo()  # what `planned` put in place of the command
    monkeypatch.chdir(folder)
    status, out, err = say("ablate.run", "-m", *LINE, "mode=plan")
    assert (status, err) == (0, "")
    assert HERE in out


@pytest.mark.parametrize(("n", "tests"), [(3, 1), (3, 12), (10, 4)])
def test_it_is_found_in_80_percent(n, tests):
    import numpy as np
    from scipy import stats

    margins = np.random.default_rng(0).normal(detectable_pp(1.0, n, tests), 1.0, (20_000, n))
    share = (stats.ttest_1samp(margins, 0, axis=1).pvalue < 0.05 / tests).mean()
    assert share == pytest.approx(0.8, abs=3 * (0.8 * 0.2 / 20_000) ** 0.5)
