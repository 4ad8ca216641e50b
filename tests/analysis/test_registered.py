"""Bounds that a study registers before its first trial, and what becomes of a later word."""

from __future__ import annotations

from tests.analysis.test_report import make_study
from tests.support.fakes import well
from tests.support.reports import numbers_of


def registered(equivalence_pp=0.5, collapsed_below=None):
    return {"registered": {"equivalence_pp": equivalence_pp, "collapsed_below": collapsed_below}}


def report(name="mine"):
    return numbers_of(name)


def test_the_report_uses_what_the_study_registered_and_says_nothing_of_it(folder, say):
    make_study(well, folder, metadata=registered(0.3))
    status, _, err = say("analysis.report")
    assert (status, err) == (0, "")
    assert report()["equivalence_pp"] == 0.3
    assert not any("registered" in line for line in report()["warnings"])


def test_a_bound_typed_for_the_report_is_used_and_told(folder, say):
    make_study(well, folder, metadata=registered(0.3))
    say("analysis.report", "equivalence=1", "collapsed_below=0.2")
    assert report()["equivalence_pp"] == 1
    stated = [line for line in report()["warnings"] if "registered" in line]
    assert stated == [
        "Stated for this report, after the trials: equivalence_pp=1; the study registered 0.3.",
        "Stated for this report, after the trials: collapsed_below=0.2; the study registered near chance.",
    ]


def test_a_later_request_changes_no_bound_and_is_told(folder, say):
    make_study(well, folder, metadata=registered(0.3))
    make_study(well, folder, metadata=registered(2.0))
    say("analysis.report")
    assert report()["equivalence_pp"] == 0.3
    assert (
        "A later request said equivalence_pp=2.0; verdicts use what the study registered first, 0.3."
        in report()["warnings"]
    )
    make_study(well, folder, metadata=registered(0.3))
    say("analysis.report")
    assert not any("later request" in line for line in report()["warnings"])


def test_a_registered_limit_makes_runs_below_it_fail(folder, say):
    make_study(well, folder, metadata=registered(collapsed_below=0.915))
    say("analysis.report")
    assert report()["outcomes"]["collapsed"] > 0


def test_a_line_registers_its_bounds(planned):
    assert planned("bits=1,32").study.metadata["registered"] == registered()["registered"]
    made = planned("bits=1,32", "equivalence_pp=0.2", "collapsed_below=0.3")
    assert made.study.metadata["registered"] == registered(0.2, 0.3)["registered"]


def test_they_are_no_part_of_a_trial(planned):
    ids = [
        {trial.trial_id for trial in planned("bits=1,32", *more).study.trials}
        for more in ((), ("collapsed_below=0.3",))
    ]
    assert ids[0] == ids[1]
