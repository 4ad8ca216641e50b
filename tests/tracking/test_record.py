"""The MLflow format: records survive a round trip, and runs of earlier versions read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ablate.core.errors import UsageError
from ablate.core.levels import same
from ablate.core.study import Study
from ablate.tracking import encoding, trial_metadata
from ablate.tracking.record import RECORD_VERSION, StudyRecord, TrialRecord
from tests.support.fakes import make_trial

WRITTEN_BEFORE = json.loads((Path(__file__).parent / "written_before.json").read_text())
"""Tags and params that the release before `record_version` wrote: a study's, and those of three of its trials."""

LEVELS = [
    "bn",
    "a, b",
    ", ",
    "",
    'say "x"',
    "it's",
    "[1, 2]",
    '["a", "b"]',
    "back\\slash",
    "漢 é 🙂",
    "line\nbreak",
    None,
    "null",
    True,
    False,
    "true",
    0.1,
    1e-05,
    1,
    1.0,
    "1",
    -3,
]


OF_TRIALS = ("tune", "nuisance", "chosen.0", "tried.0.0", "tried.0.100", "drawn.0")


def study_record(**changes):
    whole = StudyRecord(
        {"norm": ("bn", "srelu"), "bits": (1, 32)},
        1700000000.5,
        derived=("norm.temperature",),
        contrast=("norm", ("bn", "srelu")),
        metadata={"design": {"kind": "full"}, "seeds": {"most": 10, "within_pp": 0.5}},
        user="mia",
        code_version="1.2.3+abc",
    )
    return dataclasses.replace(whole, **changes)


def trial_record(**changes):
    whole = TrialRecord(
        "t1",
        "norm=bn bits=1",
        host="node1",
        device="cuda",
        threads=4,
        outcome="diverged",
        reason="the training loss is nan",
        user="mia",
        code_version="1.2.3+abc",
        params={"norm": "bn", "recipe.lr": 0.1, "seed": 0},
    )
    return dataclasses.replace(whole, **changes)


def exactly(value):
    """Tell True from 1 and 1 from 1.0, which compare equal."""
    return json.dumps(value)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_of_any_kind_survives_the_round_trip(level):
    written = study_record(
        factors={"x": (level, "other"), "only": (level,)},
        contrast=("x", (level, "other")),
        metadata={"chosen.0": {"cell": {"x": level}, "values": {}, "edges": {}}},
    )
    read = StudyRecord.from_tags(written.to_tags())
    assert read == written
    assert exactly(read.factors) == exactly(written.factors)
    assert exactly(read.contrast) == exactly(written.contrast)
    assert exactly(read.metadata) == exactly(written.metadata)


@pytest.mark.parametrize("level", LEVELS)
def test_a_param_reads_back_as_the_level_that_a_user_would_type(level):
    written = trial_record(params={"x": level})
    read = TrialRecord.from_tags(written.to_tags(), written.to_params())
    if level in ("null", "true", "1") and isinstance(level, str):
        assert read.params["x"] == json.loads(level)  # the text alone does not tell the two apart
    else:
        assert same(read.params["x"], level)


@pytest.mark.parametrize(
    "written",
    [
        trial_record(),
        trial_record(tuning=True, outcome="pruned", reason="median pruner", epochs=2),
        trial_record(outcome="done", reason=""),
        trial_record(host=None, device=None, threads=None, outcome="lost", reason="its worker process died 4 times"),
        trial_record(outcome=None, reason=""),
        trial_record(user=None, code_version=None),
    ],
)
def test_a_trials_record_survives_the_round_trip(written):
    assert TrialRecord.from_tags(written.to_tags(), written.to_params()) == written


@pytest.mark.parametrize("written", [study_record(), study_record(derived=(), contrast=None, metadata={}, user=None)])
def test_a_studys_record_survives_the_round_trip(written):
    assert StudyRecord.from_tags(written.to_tags()) == written


def test_values_too_long_for_a_tag_survive_the_round_trip():
    levels = tuple(f"level {number}, of many" for number in range(2000))
    written = study_record(factors={"x": levels}, metadata={"tune": {"space": {"x": "1" * 20000}}})
    tags = written.to_tags()
    assert max(map(len, tags.values())) <= encoding.MOST_CHARACTERS
    assert {"factor.x", "continued.1.factor.x", "continued.2.terms.tune"} <= tags.keys()
    assert StudyRecord.from_tags(tags) == written


def test_texts_and_names_of_tags_are_those_that_people_search_for():
    tags = study_record().to_tags()
    written_apart = {"mlflow.note.content", *(f"terms.{name}" for name in OF_TRIALS)}
    assert WRITTEN_BEFORE["study"].keys() - tags.keys() <= written_apart
    assert (tags["kind"], tags["last_said"], tags["mlflow.user"]) == ("study", "1700000000.500", "mia")
    assert (tags["factor.norm"], tags["derived.norm.temperature"]) == ('["bn", "srelu"]', "")
    tags = trial_record().to_tags()
    assert (tags["kind"], tags["trial_id"], tags["cell"]) == ("trial", "t1", "norm=bn bits=1")
    assert (tags["outcome"], tags["reason"]) == ("diverged", "the training loss is nan")


def test_a_study_written_before_the_version_reads():
    read = StudyRecord.from_tags(WRITTEN_BEFORE["study"])
    assert read.factors == {"norm": ("bn", "srelu"), "bits": (1, 32)}
    assert (read.requested_at, read.user, read.code_version) == (1700000000.5, "mia", "1.2.3+abc")
    assert (read.derived, read.contrast) == (("norm.temperature",), ("norm", ("bn", "srelu")))
    assert read.chosen == [
        {"cell": {"norm": "bn", "bits": 1}, "values": {"recipe.lr": 0.1}, "edges": {"recipe.lr": "lowest"}}
    ]
    assert read.tried == ["t1", "t2", "t3"]
    assert read.drawn == {0: {"recipe.lr": 0.15}, 1: {"recipe.lr": 0.18}}
    assert read.request.keys() == {"design", "tune", "nuisance"}


def test_trials_written_before_the_version_read():
    done, diverged, tried = (TrialRecord.from_tags(run["tags"], run["params"]) for run in WRITTEN_BEFORE["trials"])
    assert (done.outcome, done.reason, done.epochs, done.tuning) == ("done", "", None, False)
    assert (done.host, done.device, done.threads, done.code_version) == ("node1", "cuda", 4, "1.2.3+abc")
    assert exactly(done.params) == exactly(
        {
            "recipe.epochs": 3,
            "recipe.lr": 0.1,
            "model.residual": True,
            "note": None,
            "seed": 0,
            "norm": "bn",
            "bits": 1,
        }
    )
    assert (diverged.outcome, diverged.reason) == ("diverged", "the training loss is nan")
    assert (tried.tuning, tried.outcome, tried.epochs) == (True, "pruned", 2)


def test_a_factor_that_an_earlier_release_left_in_a_study_of_now_reads():
    tags = study_record().to_tags() | {"factor.depth": "8, 20"}
    assert StudyRecord.from_tags(tags).factors["depth"] == (8, 20)


def test_a_run_of_a_later_release_is_refused_in_one_line():
    later = {"record_version": str(RECORD_VERSION + 1)}
    for read in (
        lambda: StudyRecord.from_tags(study_record().to_tags() | later),
        lambda: TrialRecord.from_tags(trial_record().to_tags() | later, {}),
    ):
        with pytest.raises(UsageError, match=r"record_version=3: a later release .* allowed: up to 2"):
            read()


def test_what_trials_bring_is_listed_in_entries_that_fit_a_tag():
    chosen = {
        position: {"cell": {"x": position}, "values": {"lr": 0.1}, "edges": {"lr": "lowest"}} for position in (0, 2, 10)
    }
    tried = {0: [f"t{number}" for number in range(150)], 1: ["u"]}
    drawn = [(seed, {"lr": seed / 10}) for seed in range(130)]
    metadata = trial_metadata.collect(chosen, tried, drawn)
    assert {"chosen.10", "tried.0.100", "tried.1.0", "drawn.100"} <= metadata.keys()
    read = StudyRecord.from_tags(study_record(metadata={**metadata, "tune": {}}).to_tags())
    assert read.chosen == list(chosen.values())
    assert (read.tried, read.drawn) == ([*tried[0], "u"], dict(drawn))
    assert read.request == {"tune": {}}


def test_a_record_is_made_of_a_study_and_of_its_trials():
    trial = make_trial(0, norm="bn")
    study = Study("mine", {"norm": ["bn"]}, [trial], contrast=("norm", ["bn", "gn"]))
    record = StudyRecord.of(study, 1.0, user="mia", code_version=None)
    assert (record.factors, record.contrast) == ({"norm": ("bn",)}, ("norm", ("bn", "gn")))
    of_trial = TrialRecord.of(trial, user="mia")
    assert (of_trial.trial_id, of_trial.cell, of_trial.params) == (trial.trial_id, "norm=bn", trial.params)


def test_requests_are_apart_from_what_the_study_asks():
    requests = [{"command": "python -m ablate.run" + " seeds=1" * 2000, "dates": ["2026-01-01T09:00:00+00:00"]}]
    record = study_record(metadata={"design": {"kind": "full"}, "requests": requests})
    read = StudyRecord.from_tags(record.to_tags())
    assert read.requests == requests
    assert read.request == {"design": {"kind": "full"}}
    assert study_record(metadata={}).requests == []


def test_a_trials_machine_survives_a_round_trip():
    machine = {"cpu": "AMD EPYC", "python": "3.12.1"}
    record = TrialRecord("t1", host="here", machine=machine)
    assert TrialRecord.from_tags(record.to_tags(), {}).machine == machine


def test_a_trials_levels_are_the_first_of_its_params():
    trial = make_trial(3, norm="bn", bits=1)
    assert [*trial.params] == ["recipe.epochs", "seed", "norm", "bits"]
    assert [*TrialRecord.of(trial).to_params()] == ["norm", "bits", "seed", "recipe.epochs"]
