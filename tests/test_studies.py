from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from ablate.core.events import Failed
from ablate.core.study import Cell, Study
from ablate.driver import session
from ablate.store import manifest, run_directory, study_lock
from ablate.store.folder import FolderStore
from ablate.tracking.tracker import Tracker
from tests.support.fakes import make_trial, raises_on_seed_1, well
from tests.support.plain_user import plain_user

URI = "sqlite:///mlflow.db"


@pytest.fixture
def studies(folder, mlflow_db, monkeypatch):
    """Study `first`: bits 1 and 32, seeds 0 to 2; `second` shares its bits=1 trials. Of `first` bits=1 has been run."""
    monkeypatch.setenv("COLUMNS", "120")
    runs = folder / "runs"
    trials = [make_trial(seed, bits=bits) for bits in (1, 32) for seed in range(3)]
    first, second = Study("first", {"bits": [1, 32]}, trials), Study("second", {"bits": [1]}, trials[:3])
    for study in (first, second):
        manifest.save(study, runs, f"sqlite:///{mlflow_db}")
    for trial in trials[:3]:
        list(run_directory.attempt(raises_on_seed_1, trial, runs))
    return first, second


def rows(out):
    return [
        re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if re.match(r"\s*(first|second|1|32)\s", line)
    ]


def experiments():
    from mlflow.tracking import MlflowClient

    return [
        experiment.name for experiment in MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}").search_experiments()
    ]


def test_every_study_is_listed_with_its_trials_by_state(studies, folder, say):
    running = studies[0].trials[3]
    (folder / "runs" / running.trial_id).mkdir()
    run_directory.mark(studies[0].trials[4], folder / "runs", Failed(kind="lost", reason="its worker died"))
    with FileLock(folder / "runs" / running.trial_id / "claim"):
        status, out, err = say("ablate.studies")
    assert (status, err) == (0, "")
    assert [row[:6] for row in rows(out)] == [["first", "2", "2", "1", "1", "2"], ["second", "1", "2", "1", "0", "0"]]
    assert all(re.fullmatch(r"\d+\.\d kB", row[6]) and re.fullmatch(r"[\d-]+ [\d:]+", row[7]) for row in rows(out))


def test_without_studies_it_says_how_to_make_one(folder, say):
    Path("runs").mkdir()
    _, out, _ = say("ablate.studies")
    assert "python -m ablate.run -m" in out


def test_one_study_is_shown_cell_by_cell_with_the_reasons_of_failures(studies, say):
    status, out, _ = say("ablate.studies", "study=first")
    assert status == 0
    assert "study first: 2 cells, 6 trials" in out
    assert rows(out) == [["1", "2", "1", "0", "0"], ["32", "0", "0", "0", "3"]]
    failed = studies[0].trials[1]
    assert f"failed  {failed.trial_id}  bits=1 seed=1: error: RuntimeError: no such thing" in out


def test_one_study_is_removed_but_what_another_uses_stays(studies, folder, say):
    trial = studies[0].trials[3]
    list(run_directory.attempt(well, trial, folder / "runs"))
    for study in studies:
        tracker = Tracker(URI, study, store=FolderStore(folder / "runs"), completed=study.trials)
        assert tracker.close() is None
    status, out, err = say("ablate.studies", "remove=first", "yes=true")
    assert (status, err) == (0, "")
    assert "Removed study first: 3 trials" in out
    assert "(3 trials that another study uses stay)" in out
    assert manifest.names(folder / "runs") == ["second"]
    assert {path.parent.name for path in folder.glob("runs/t*/events.jsonl")} == {
        removed.trial_id for removed in studies[1].trials
    }
    assert sorted(experiments()) == ["Default", "second"]
    again = Tracker(URI, studies[0], store=FolderStore(folder / "runs"), completed=[])
    assert again.close() is None
    assert sorted(experiments()) == ["Default", "first", "second"]


REFUSED = [
    ("remove=first", "there is no terminal to ask at; allowed: with yes=true"),
    ("remove=third", "study=third: not in "),
    ("study=first remove=first", "study=first remove=first: allowed: one of them"),
    ("runs=elsewhere", "runs=elsewhere: there is no such folder"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_a_mistake_is_one_line_and_removes_nothing(studies, folder, say, words, message):
    before = sorted(folder.rglob("*.json*"))
    status, _, err = say("ablate.studies", *words.split())
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert sorted(folder.rglob("*.json*")) == before


def test_a_study_that_runs_is_not_removed(studies, folder, say):
    with FileLock(folder / "runs" / studies[0].trials[0].trial_id / "claim"):
        status, _, err = say("ablate.studies", "remove=first", "yes=true")
    assert status == 2
    assert "1 trial of it run now" in err


def test_a_study_whose_line_has_begun_is_not_removed_or_renamed(studies, folder, say):
    with study_lock.shared("first", folder / "runs"):
        for words in (["remove=first", "yes=true"], ["study=first", "rename=new"]):
            status, _, err = say("ablate.studies", *words)
            assert (status, err.endswith("a line of study first runs now; stop it first\n")) == (2, True)
    assert manifest.names(folder / "runs") == ["first", "second"]


def own(studies, folder):
    """The id of a trial of the first study alone, with a run directory."""
    trial = studies[0].trials[3]
    list(run_directory.attempt(well, trial, folder / "runs"))
    return trial.trial_id


def test_what_another_study_took_while_the_question_stood_stays(studies, folder, say, monkeypatch):
    trial = own(studies, folder)

    def answer(*_, **__):
        manifest.save(dataclasses.replace(studies[0], name="other"), folder / "runs", URI)
        return "first"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.console.Console.input", answer)
    status, _, err = say("ablate.studies", "remove=first")
    assert (status, err) == (2, "remove=first: another study took trials of it meanwhile; say the line again\n")
    assert (folder / "runs" / trial).is_dir()
    assert "first" in manifest.names(folder / "runs")


def test_what_cannot_be_removed_is_said_and_the_study_stays(studies, folder, say, monkeypatch):
    trial = own(studies, folder)
    (folder / "runs" / trial / "theirs").mkdir()
    (folder / "runs" / trial / "theirs" / "file").touch()
    (folder / "runs" / trial / "theirs").chmod(0o555)
    for path in (folder, *folder.rglob("*")):
        if path.name != "theirs":
            path.chmod(0o777)
    with plain_user():
        status, _, err = say("ablate.studies", "remove=first", "yes=true")
    assert (status, err.count("\n")) == (2, 1)
    assert (
        f"could not be removed, such as {folder}/runs/{trial}/theirs/file (Permission denied); the study stays" in err
    )
    assert "first" in manifest.names(folder / "runs")
    (folder / "runs" / trial / "theirs").chmod(0o755)
    assert say("ablate.studies", "remove=first", "yes=true")[0] == 0
    assert "first" not in manifest.names(folder / "runs")


def test_of_a_run_directory_that_is_a_link_the_link_is_removed(studies, folder, say):
    directory = folder / "runs" / own(studies, folder)
    directory.rename(folder / "elsewhere")
    directory.symlink_to(folder / "elsewhere")
    before = sorted((folder / "elsewhere").iterdir())
    assert say("ablate.studies", "remove=first", "yes=true")[0] == 0
    assert not directory.is_symlink()
    assert sorted((folder / "elsewhere").iterdir()) == before


def test_an_experiment_of_that_name_that_is_somebody_elses_stays(studies, folder, say):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("first")
    client.create_run(experiment)
    status, out, _ = say("ablate.studies", "study=first", "rename=mine")
    assert (status, "and its experiment" in out) == (0, False)
    status, out, _ = say("ablate.studies", "remove=mine", "yes=true")
    assert (status, "and its experiment" in out) == (0, False)
    assert sorted(experiments()) == ["Default", "first"]


def test_a_study_whose_experiment_was_deleted_is_renamed_with_it(studies, folder, say):
    assert say("ablate.track", "study=first")[0] == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    client.delete_experiment(client.get_experiment_by_name("first").experiment_id)
    assert say("ablate.studies", "study=first", "rename=mine")[0] == 0
    assert "mine" in experiments()


def test_a_damaged_study_is_named_and_the_others_are_listed(studies, folder, say):
    (folder / "runs" / "studies" / "first.json").write_text("[]")
    status, out, err = say("ablate.studies")
    assert status == 0
    assert "second" in out
    assert "first.json: damaged (" in out + err


def test_the_name_is_asked_for_at_a_terminal(studies, say, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: "no")
    status, out, _ = say("ablate.studies", "remove=first")
    assert (status, "Nothing is removed." in out) == (0, True)


def test_track_delivers_what_mlflow_lacks_and_says_how_much(studies, folder, say):
    assert say("ablate.track", "study=first")[:2] == (
        0,
        f"study first: 3 of 3 finished trials delivered to sqlite:///{folder}/mlflow.db\n",
    )
    assert "0 of 3 finished trials delivered" in say("ablate.track", "study=first")[1]
    assert "3 of 3 finished trials delivered" in say("ablate.track", "study=first", "track.uri=sqlite:///b.db")[1]


def test_track_names_the_studies_there_are(studies, say):
    for words in ([], ["study=third"]):
        status, _, err = say("ablate.track", *words)
        assert status == 2
        assert "allowed: first, second" in err


def test_what_one_line_varied_and_another_held_fixed_is_one_table(studies, folder, say):
    fixed = [make_trial(seed, bits=8) for seed in range(2)]
    cell = Cell((("recipe.epochs", 3),))
    again = Study("first", {"recipe.epochs": [3]}, [dataclasses.replace(trial, cell=cell) for trial in fixed])
    manifest.save(again, folder / "runs", URI)
    _, out, _ = say("ablate.studies", "study=first")
    rows = [line.split() for line in out.splitlines() if re.match(r" (1|32|8) ", line)]
    assert [row[:2] for row in rows] == [["1", "3"], ["32", "3"], ["8", "3"]]


def test_a_study_of_somebody_else_is_shown_and_not_removed(studies, folder, say):
    runs = folder / "runs"
    everything = sorted(runs.rglob("*"))
    for theirs in (runs, runs / "studies", runs / studies[0].trials[3].trial_id):
        theirs.mkdir(exist_ok=True)
        theirs.chmod(0o555)
        with plain_user():
            assert say("ablate.studies", "study=first")[::2] == (0, "")
            status, _, err = say("ablate.studies", "remove=first", "yes=true")
        theirs.chmod(0o755)
        assert (status, err) == (2, f"remove=first: Permission denied: {theirs}; allowed: by whoever may write there\n")
    assert sorted({*runs.rglob("*")} - {theirs}) == everything


def test_a_study_gets_another_name_here_and_in_mlflow_and_trains_nothing_again(folder, say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)
    line = ("-m", "norm=bn,srelu", "depth=8", "width=1", "seeds=2", "dispatch=in_process", f"track.uri={URI}")
    assert say("ablate.run", *line)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("t*/*")}
    status, out, err = say("ablate.studies", "study=digits-norm", "rename=mine")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"Study digits-norm is mine now, and its experiment in {URI}: 4 trials.".replace(URI, manifest_uri(folder)),
        "Its line goes on with study=mine, and trains nothing that is done.",
    ]
    assert manifest.names(folder / "runs") == ["mine"]
    assert sorted(experiments()) == ["Default", "mine"]
    assert "Nothing to train" in say("ablate.run", *line, "study=mine")[1]
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("t*/*")} == before
    assert sorted(experiments()) == ["Default", "mine"]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(manifest_uri(folder))
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert sorted(run.info.run_name for run in runs)[0] == "mine"
    assert len(runs) == 5
    assert say("ablate.studies", "study=digits-norm")[0] == 2


def manifest_uri(folder):
    return f"sqlite:///{folder / 'mlflow.db'}"


def test_a_tuned_study_keeps_what_it_tried_under_another_name(folder, say, monkeypatch):
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)
    line = ("-m", "norm=bn,srelu", "depth=8", "width=1", "seeds=1", "dispatch=in_process", "track=off")
    line += ("tune=random", "tune.trials=2", "tune.space.recipe.lr=interval(0.1,0.2)")
    assert say("ablate.run", *line, "study=first")[0] == 0
    trials = set(manifest.known("first", folder / "runs"))
    assert say("ablate.studies", "study=first", "rename=other")[0] == 0
    assert sorted(path.name for path in (folder / "runs" / "studies").glob("first*")) == []
    status, out, _ = say("ablate.run", *line, "study=other")
    assert (status, "Nothing to train" in out) == (0, True)
    assert set(manifest.known("other", folder / "runs")) == trials


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study=nowhere", "rename=mine"], "study=nowhere: not in "),
        (
            ["study=first", "rename=second"],
            "study=first rename=second: there is a study of that name; allowed: another",
        ),
        (["study=first", "rename=first"], "study=first rename=first: there is a study of that name; allowed: "),
        (["study=first", "rename=a/b"], "rename=a/b: allowed: up to 100 letters, digits, and _ . + - "),
        (["study=first", f"rename='{90 * '名'}'"], f"rename={90 * '名'}: 270 bytes in UTF-8; allowed: up to "),
        (["study=first", "rename=''"], "rename=: allowed: up to 100 letters"),
        (["rename=mine"], "rename=mine: allowed: study=NAME rename=NEW"),
        (["remove=first", "rename=mine"], "remove=first rename=mine: allowed: study=NAME rename=NEW"),
    ],
)
def test_a_mistake_is_one_line_and_renames_nothing(studies, folder, say, words, message):
    status, out, err = say("ablate.studies", *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(message)
    assert manifest.names(folder / "runs") == ["first", "second"]


def test_a_study_that_runs_is_not_renamed(studies, folder, say):
    running = studies[0].trials[3].trial_id
    (folder / "runs" / running).mkdir()
    with FileLock(folder / "runs" / running / "claim"):
        status, _, err = say("ablate.studies", "study=first", "rename=mine")
    assert (status, err) == (2, f"study=first: 1 trial of it run now, such as {running}; stop it first\n")


def test_a_name_that_mlflow_has_is_not_taken_by_a_renaming(studies, folder, say):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert say("ablate.track", "study=first")[0] == 0
    for name in ("theirs", "gone"):
        client.create_experiment(name)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    for name, state in (("theirs", ""), ("gone", ", which was deleted")):
        status, _, err = say("ablate.studies", "study=first", f"rename={name}")
        assert status == 2
        assert err.endswith(f"has an experiment of that name{state}; allowed: another name\n")
    assert manifest.names(folder / "runs") == ["first", "second"]
    assert "first" in experiments()


def trial_rows(out):
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if re.match(r" t[0-9a-f]{16} ", line)}


def test_one_study_lists_its_trials_by_id_with_what_became_of_them(studies, folder, say, monkeypatch):
    monkeypatch.setattr("rich.console.Console.width", 80, raising=False)
    trials = studies[0].trials
    run_directory.mark(trials[4], folder / "runs", Failed(kind="lost", reason="its worker\x1b[2J died"))
    _, out, _ = say("ablate.studies", "study=first")
    rows = trial_rows(out)
    assert list(rows) == [trial.trial_id for trial in trials]
    assert rows[trials[0].trial_id] == ["bits=1", "0", "done", "90.00%", "0.1"]
    assert rows[trials[1].trial_id] == ["bits=1", "1", "error"]
    assert rows[trials[3].trial_id] == ["bits=32", "0", "to", "do"]
    assert rows[trials[4].trial_id] == ["bits=32", "1", "lost"]
    assert f"failed  {trials[4].trial_id}  bits=32 seed=1: lost: its worker died" in out
    assert f"python -m ablate.studies trial={trials[0].trial_id}" in out


def test_of_many_trials_some_are_listed_with_the_words_that_list_all(studies, folder, say):
    many = Study("many", {"bits": [1]}, [make_trial(seed, bits=1) for seed in range(50)])
    manifest.save(many, folder / "runs", URI)
    _, out, _ = say("ablate.studies", "study=many")
    assert len(trial_rows(out)) == 30
    assert "... and 20 more trials: python -m ablate.studies study=many trials=all" in out
    assert len(trial_rows(say("ablate.studies", "study=many", "trials=all")[1])) == 50


@pytest.mark.parametrize("typed", ["t", "tffffffffffff", "../runs"])
def test_an_unknown_trial_is_one_line(studies, say, typed):
    status, _, err = say("ablate.studies", f"trial={typed}")
    assert (status, err.count("\n")) == (2, 1)
    assert f"trial={typed}: not in " in err
