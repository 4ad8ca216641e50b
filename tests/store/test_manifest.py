from __future__ import annotations

import cProfile
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from ablate.core.errors import UsageError
from ablate.core.identity import flatten, trial_id
from ablate.core.study import Cell, Study, Trial
from ablate.store import manifest, run_directory
from tests.support.fakes import make_trial

URI = "sqlite:////somewhere/mlflow.db"


def study(*bits, seeds=(0, 1), name="mine", **fixed):
    trials = [make_trial(seed, bits=level, **fixed) for level in bits for seed in seeds]
    return Study(name, {"bits": list(bits)}, trials, derived=["norm.temperature"], contrast=("bits", [32, 1]))


def test_a_study_is_recalled_as_it_was_asked_for(tmp_path):
    requested = study(1, 32)
    manifest.save(requested, tmp_path, URI, {"code_version": "1.2.3"})
    loaded = manifest.load("mine", tmp_path)
    assert loaded.study.trials == requested.trials
    assert (loaded.study.factors, loaded.study.derived, loaded.study.contrast) == (
        {"bits": [1, 32]},
        ["norm.temperature"],
        ("bits", [32, 1]),
    )
    assert (loaded.uri, loaded.tags) == (URI, {"code_version": "1.2.3"})


def test_values_keep_their_types_and_params_what_the_config_lacks(tmp_path):
    trials = []
    for number, level in enumerate((1, 1.0, True, None, "1", [1, 2])):
        config = {"seed": 3, "deep": {"same": 10.0, "level": level}, "runs_in": {}, "dataset": {"root": "/here"}}
        params = {"norm": "bn", "numerics": 2, "deep.same": 10, "deep.level": flatten(config)["deep.level"], "seed": 3}
        trials.append(Trial(Cell((("deep.level", str(level)),)), 3, config, params, f"t{number:016x}"))
    manifest.save(Study("mine", {}, trials), tmp_path, URI)
    loaded = manifest.load("mine", tmp_path).study.trials
    assert [repr(trial.config["deep"]["level"]) for trial in loaded] == ["1", "1.0", "True", "None", "'1'", "[1, 2]"]
    assert [dict(trial.config) == dict(sent.config) for trial, sent in zip(loaded, trials, strict=True)] == [True] * 6
    assert [trial.params == sent.params for trial, sent in zip(loaded, trials, strict=True)] == [True] * 6


def test_a_second_line_adds_its_trials_and_gives_its_factors(tmp_path):
    manifest.save(study(1), tmp_path, URI)
    manifest.save(study(1, 32, seeds=(0, 1, 2)), tmp_path, "http://elsewhere")
    manifest.save(study(1, seeds=(0,), width=4), tmp_path, "http://elsewhere")
    loaded = manifest.load("mine", tmp_path)
    assert len(loaded.study.trials) == 7
    assert loaded.study.factors == {"bits": [1]}
    assert loaded.uri == "http://elsewhere"
    for trial in loaded.study.trials:
        assert trial.trial_id == trial_id(trial.config)


def test_an_unknown_name_is_a_mistake_that_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"study=mine: not in .*; allowed: none yet"):
        manifest.load("mine", tmp_path)
    manifest.save(study(1, name="first"), tmp_path, URI)
    manifest.save(study(1, name="second.json"), tmp_path, URI)
    with pytest.raises(UsageError, match=r"study=mine: not in .*; allowed: first, second\.json$"):
        manifest.load("mine", tmp_path)


def test_what_other_studies_use_is_known(tmp_path):
    manifest.save(study(1, 32), tmp_path, URI)
    manifest.save(study(1, name="other"), tmp_path, URI)
    assert manifest.shared("mine", tmp_path) == {trial.trial_id for trial in study(1).trials}
    manifest.delete("other", tmp_path)
    assert manifest.shared("mine", tmp_path) == set()
    assert manifest.names(tmp_path) == ["mine"]


def test_a_claim_is_seen_only_while_it_is_held(tmp_path):
    assert not run_directory.is_leased("t0", tmp_path)
    (tmp_path / "t0").mkdir()
    with FileLock(tmp_path / "t0" / "claim"):
        assert run_directory.is_leased("t0", tmp_path)
    assert not run_directory.is_leased("t0", tmp_path)


def _ask(bits, runs):
    manifest.save(study(bits), runs, URI)


def test_lines_said_at_once_lose_no_trial(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_ask, args=(bits, tmp_path)) for bits in (1, 2, 4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {trial.config["bits"] for trial in manifest.load("mine", tmp_path).study.trials} == {1, 2, 4}


def large(cells):
    """A study of so many cells with 5 seeds each."""
    fixed = {f"key{n}": {"some": n, "value": f"v{n}"} for n in range(20)}
    trials = []
    for cell in range(cells):
        for seed in range(5):
            config = {"recipe": {"epochs": 3, "lr": cell / 7}, "seed": seed, **fixed}
            trials.append(
                Trial(Cell((("recipe.lr", cell / 7),)), seed, config, flatten(config), f"t{5 * cell + seed:016x}")
            )
    return Study("big", {"recipe.lr": [cell / 7 for cell in range(cells)]}, trials)


def test_ten_thousand_trials_are_small(tmp_path):
    big = large(2000)
    manifest.save(big, tmp_path, URI)
    manifest.save(big, tmp_path, URI)
    written = (tmp_path / "studies" / "big.json").read_text()
    assert len(written) < 1_000_000
    assert len(json.loads(written)["cells"]) == 2000
    assert manifest.load("big", tmp_path).study.trials == big.trials


def test_remembering_four_times_the_trials_again_takes_about_four_times_the_work(tmp_path):
    """Work is counted in function calls: seconds are for benchmarks/plan_scale.py."""

    def calls(cells):
        big, counted = large(cells), cProfile.Profile()
        manifest.save(big, tmp_path / str(cells), URI)
        counted.runcall(manifest.save, big, tmp_path / str(cells), URI)
        return sum(entry.callcount for entry in counted.getstats())

    assert calls(400) < 4.2 * calls(100)


def test_a_damaged_manifest_is_named(tmp_path):
    manifest.save(study(1), tmp_path, URI)
    path = manifest.folder(tmp_path) / "mine.json"
    path.write_text("{bad")
    with pytest.raises(UsageError, match=r"mine.json: damaged \(.*\); remove it, and say the study's lines again"):
        manifest.load("mine", tmp_path)


@pytest.mark.parametrize("moves", [Path.rename, shutil.copytree])
def test_a_moved_project_has_its_mlflow_where_it_was_moved_to(tmp_path, moves):
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "runs").mkdir(parents=True)
    (before / "mlflow.db").touch()
    (tmp_path / "shared.db").touch()
    trials = [make_trial(0)]
    manifest.save(Study("mine", {}, trials), before / "runs", f"sqlite:///{before}/mlflow.db")
    manifest.save(Study("shared", {}, trials), before / "runs", f"sqlite:///{tmp_path}/shared.db")
    manifest.save(Study("server", {}, trials), before / "runs", "http://h:5000")
    assert manifest.load("mine", before / "runs").uri == f"sqlite:///{before}/mlflow.db"
    moves(before, after)
    assert manifest.load("mine", after / "runs").uri == f"sqlite:///{after}/mlflow.db"
    assert manifest.load("shared", after / "runs").uri == f"sqlite:///{tmp_path}/shared.db"
    assert manifest.load("server", after / "runs").uri == "http://h:5000"


def test_a_manifest_that_does_not_know_where_it_was_finds_mlflow_beside_the_runs(tmp_path):
    (tmp_path / "runs").mkdir()
    manifest.save(Study("mine", {}, [make_trial(0)]), tmp_path / "runs", "sqlite:////gone/mlflow.db")
    path = tmp_path / "runs" / "studies" / "mine.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "folder"}))
    assert manifest.load("mine", tmp_path / "runs").uri == "sqlite:////gone/mlflow.db"
    (tmp_path / "mlflow.db").touch()
    assert manifest.load("mine", tmp_path / "runs").uri == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    "trial_id", ["../../elsewhere", "", "/", "t1", "t0123456789abcde/", None, ["t"], "T0123456789ABCDEF"]
)
def test_a_trial_without_an_id_is_no_trial_since_ids_name_directories(tmp_path, trial_id):
    manifest.save(study(1), tmp_path, URI)
    path = tmp_path / "studies" / "mine.json"
    stored = json.loads(path.read_text())
    stored["cells"][0]["seeds"]["0"] = trial_id
    path.write_text(json.dumps(stored))
    with pytest.raises(
        UsageError, match=r"mine.json: damaged \(it names a trial .*, which is no id\); remove it, and say"
    ):
        manifest.load("mine", tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../elsewhere"},
        {"name": None},
        {"cells": 1},
        {"cells": [{}]},
        {"cells": None},
        {"config": []},
        {"contrast": [1]},
        {"tags": 3},
        {"asked_at": "now"},
        {"version": "1"},
        {"uri": 7},
        {"factors": None},
    ],
)
def test_a_manifest_of_any_other_form_is_one_line(tmp_path, change):
    manifest.save(study(1), tmp_path, URI)
    path = tmp_path / "studies" / "mine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=r"mine.json: damaged \("):
        manifest.load("mine", tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"[" * 100_000, b"\xff", b"\0" * 100, b'{"version": 1}'])
def test_a_file_that_is_no_manifest_is_one_line(tmp_path, content):
    manifest.save(study(1), tmp_path, URI)
    (tmp_path / "studies" / "mine.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"mine.json: damaged \("):
        manifest.load("mine", tmp_path)


@pytest.mark.parametrize("name", ["../mine", "studies/../mine", "/mine", "", ".", ".."])
def test_a_name_reaches_no_other_folder(tmp_path, name):
    manifest.save(study(1), tmp_path / "runs", URI)
    (tmp_path / "runs" / "mine.json").write_text("{}")
    with pytest.raises(UsageError, match=r"not in .*; allowed: mine$"):
        manifest.load(name, tmp_path / "runs")
