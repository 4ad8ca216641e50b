"""What a person sees of a study in MLflow: groups of metrics, counts, margins, descriptions and views."""

from __future__ import annotations

import json

import pytest

from ablate.core.events import Failed
from ablate.core.study import Study
from ablate.store.folder import FolderStore
from ablate.tracking import metric_names, notes, pages, study_metrics
from ablate.tracking.client import connect
from ablate.tracking.study_metrics import Margin
from ablate.tracking.tracker import Tracker
from analysis.sources import kept_margins, studies
from analysis.sources.history import history
from tests.support.fakes import done, epoch, make_trial, started

URI = "sqlite:///mlflow.db"
PAGE = pages.StudyPage("7", "p1")


REQUEST = {"command": "run -m norm=bn,srelu", "dates": ["2026-01-01T09:00:00+00:00"]}


@pytest.fixture
def study():
    trials = [make_trial(seed, norm=norm, dataset="digits") for norm in ("bn", "srelu") for seed in (0, 1)]
    return Study("mine", {"norm": ["bn", "srelu"]}, trials, metadata={"requests": [REQUEST]})


def track(study, runs, ends):
    tracker = Tracker(URI, study, store=FolderStore(runs))
    for trial, end in zip(study.trials, ends, strict=False):
        for event in (started(), epoch(1), end):
            tracker.record(trial, event)
    assert tracker.close() is None
    return tracker


def runs_of(client, kind):
    (experiment,) = [each for each in client.search_experiments() if each.name == "mine"]
    return experiment, client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


def test_accuracies_are_the_first_of_mlflows_sections_and_test_accuracy_the_first_chart():
    names = sorted(metric_names.in_mlflow(name) for name in metric_names._GROUP_OF)
    assert names[0] == "accuracy/test_acc"
    assert [metric_names.of_event(name) for name in names] == [name.partition("/")[2] for name in names]


def test_a_study_has_counts_descriptions_and_views(study, mlflow_db, folder):
    tracker = track(study, folder / "runs", [done(0.9), done(0.8), Failed(kind="diverged", reason="loss *is* nan")])
    client = connect(f"sqlite:///{mlflow_db}")
    experiment, (parent,) = runs_of(client, "study")
    assert parent.data.metrics == {"trials/done": 2, "trials/failed": 1, "trials/running": 0, "trials/to do": 1}
    text = experiment.tags[notes.NOTE]
    assert text == parent.data.tags[notes.NOTE]
    assert text.startswith("How much does norm (bn against srelu) change the test accuracy on digits?\n")
    assert "2 cells, 4 trials: 2 done, 1 failed, 1 to do" in text
    assert "```\nrun -m norm=bn,srelu\n```" in text
    assert "python -m analysis.report study=mine" in text
    assert f"/{parent.info.run_id}/artifacts/report/index.html" in text
    view = json.loads(experiment.tags["mlflow.sharedViewState.ablate-trials"])
    columns = ["metrics.`accuracy/test_acc`", "params.`norm`", "params.`seed`", "tags.`trial_id`", "tags.`outcome`"]
    assert json.loads(view["state"])["selectedColumns"] == columns
    assert tracker.page == f"http://127.0.0.1:5000/{pages.StudyPage(experiment.experiment_id, '').trials}"
    of_trial = {run.data.tags["trial_id"]: run.data.tags[notes.NOTE] for run in runs_of(client, "trial")[1]}
    first, _, failed, _ = study.trials
    assert of_trial[first.trial_id].startswith("**90.00% test accuracy**")
    assert f"python -m ablate.evaluate trial={first.trial_id}" in of_trial[first.trial_id]
    assert of_trial[failed.trial_id].startswith(r"**diverged**: loss \*is\* nan")


def test_a_description_that_a_user_wrote_stays(study, mlflow_db, folder):
    track(study, folder / "runs", [])
    client = connect(f"sqlite:///{mlflow_db}")
    experiment, _ = runs_of(client, "study")
    client.set_experiment_tag(experiment.experiment_id, notes.NOTE, "my own words")
    track(study, folder / "runs", [done()])
    assert runs_of(client, "study")[0].tags[notes.NOTE] == "my own words"


def test_margins_are_left_in_ones_own_study_alone_and_those_that_stay_are_not_written_again(
    study, mlflow_db, folder, monkeypatch
):
    track(study, folder / "runs", [done()])
    client = connect(f"sqlite:///{mlflow_db}")
    (parent,) = runs_of(client, "study")[1]
    margins = [
        Margin("norm", "bn", "srelu", {"bits": 1}, 2.0, -1.0, 5.0),
        Margin("norm", "bn", "gn", {}, 1.0, None, None),
    ]
    with monkeypatch.context() as other:
        other.setenv("ABLATE_USER", "somebody else")
        assert kept_margins.keep(client, parent.info.run_id, margins) is None
    before = client.get_run(parent.info.run_id).data.metrics
    for _ in range(2):
        assert "has the margins" in kept_margins.keep(client, parent.info.run_id, margins)
    now = client.get_run(parent.info.run_id).data.metrics
    assert {name: value for name, value in now.items() if name not in before} == {
        "margin/norm bn minus srelu at bits 1": 2.0,
        "margin_low/norm bn minus srelu at bits 1": -1.0,
        "margin_high/norm bn minus srelu at bits 1": 5.0,
        "margin/norm bn minus gn": 1.0,
    }
    assert len(client.get_metric_history(parent.info.run_id, "margin/norm bn minus gn")) == 1


def test_margins_whose_levels_differ_in_characters_that_mlflow_refuses_are_told_apart():
    margins = [Margin("x", "a", "b", {"y": level}, value, None, None) for level, value in (("c/d", 1.0), ("c:d", 2.0))]
    assert study_metrics.of_margins(margins) == {
        "margin/x a minus b at y c d": 1.0,
        "margin/x a minus b at y c d no. 2": 2.0,
    }


def test_a_run_that_an_earlier_release_began_goes_on_in_its_names(study, mlflow_db, folder):
    trial, first = study.trials[0], started()
    tracker = Tracker(URI, study, store=FolderStore(folder / "runs"))
    for event in (first, epoch(1)):
        tracker.record(trial, event)
    assert tracker.close() is None
    client = connect(f"sqlite:///{mlflow_db}")
    (run,) = runs_of(client, "trial")[1]
    client.set_tag(run.info.run_id, "record_version", "1")
    tracker = Tracker(URI, study, store=FolderStore(folder / "runs"))
    for event in (first, epoch(1), epoch(2), done(0.75)):
        tracker.record(trial, event)
    assert tracker.close() is None
    (point,) = client.get_metric_history(run.info.run_id, "test_acc")
    assert (point.step, point.value) == (3, 0.75)
    frame = studies.read(client, "mine", "accuracy/test_acc").frame
    assert frame["acc"].tolist() == [0.75]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "valid_acc")] == [1, 2]
    assert history(client, frame, "test_acc")["value"].tolist() == [0.75]


@pytest.mark.parametrize(
    ("factors", "contrast", "sentence"),
    [
        ({"norm": ["bn"]}, None, "What is the test accuracy?"),
        ({"bits": [1, 32]}, None, "How much do bits (1, 32) change the test accuracy?"),
        (
            {"norm": ["bn", "gn", "srelu"], "bits": list(range(10))},
            ("norm", ["gn", "srelu"]),
            "How much does norm (gn against srelu) change the test accuracy, and how does that depend on "
            "bits (0, 1, 2, 3, 4, 5, 6, 7, ... 10 in all)?",
        ),
    ],
)
def test_a_study_is_put_as_a_question(factors, contrast, sentence):
    assert notes.question(Study("s", factors, [], contrast=contrast)) == sentence


def test_of_many_lines_the_last_are_shown_and_the_text_fits_a_tag():
    lines = [{"command": f"run seeds={number} " + "x" * 2000} for number in range(9)]
    text = notes.of_study(Study("s", {"norm": ["bn", "srelu"]}, []), {"requests": lines}, PAGE)
    assert "run seeds=8 " in text
    assert "run seeds=3 " not in text
    assert len(text) <= 5000
