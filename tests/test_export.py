from __future__ import annotations

import functools
import importlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ablate.core.events import Failed
from ablate.core.identity import trial_id
from ablate.core.study import Cell, Study, Trial
from ablate.data import datasets
from ablate.deploy import onnx_file
from ablate.store import manifest, run_directory
from ablate.store.folder import FolderStore
from ablate.tasks import image_classification
from ablate.tracking.tracker import Tracker
from ablate.training import build
from tests.data.test_files import write_all
from tests.deploy.test_c_source import DIGITS
from tests.tasks.test_image_classification import BN, RECIPE, SRELU
from tests.tasks.test_image_classification import config as trial_config


def finish(runs, *, seeds=(0,), epochs=2, dataset=DIGITS, **changes):
    """Train trials to their end, as the study "mine"; return them."""
    made = []
    for seed in seeds:
        recipe = {**RECIPE, "epochs": epochs, "lr": 0.03, "augment": "none"}
        config = trial_config(seed=seed, dataset=dataset, recipe=recipe, **changes)
        trial = Trial(Cell((("seed", seed),)), seed, config, {}, trial_id(config))
        *_, _ = run_directory.attempt(functools.partial(image_classification.run, threads=1, device="cpu"), trial, runs)
        made.append(trial)
    manifest.save(Study("mine", {}, made), runs, None)
    return made


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("packed", ["network.safetensors"]),
        ("onnx", ["network.onnx"]),
        ("c", ["network.c", "network.h", "network_test.c"]),
    ],
)
@pytest.mark.parametrize("norm", [BN, SRELU], ids=["bn", "srelu"])
def test_every_form_is_written_and_scores_as_the_trial_did(folder, say, norm, form, files):
    (trial,) = finish(folder / "runs", norm=norm, bits=1)
    status, out, err = say("ablate.export", f"trial={trial.trial_id}", f"format={form}")
    assert (status, err) == (0, "")
    there = folder / "exports" / trial.trial_id
    assert sorted(path.name for path in there.iterdir()) == files
    end = run_directory.outcome(trial, folder / "runs")
    first, *_, last = out.splitlines()
    assert first.endswith(f"trained on digits, test accuracy {100 * end.metrics['test_acc']:.2f}%")
    status, out, err = say(*last.removeprefix("Next: python -m ").split())
    assert (status, err) == (0, "")
    right = round(360 * end.metrics["test_acc"])
    assert f"digits: test accuracy {100 * end.metrics['test_acc']:.2f}% ({right} of 360), loss " in out


@pytest.mark.parametrize(("form", "ending"), [("onnx", "onnx"), ("c", "c")])
def test_images_of_another_size_are_refused_where_the_form_takes_one(folder, say, form, ending):
    (trial,) = finish(folder / "runs", epochs=1)
    assert say("ablate.export", f"trial={trial.trial_id}", f"format={form}")[0] == 0
    file = f"exports/{trial.trial_id}/network.{ending}"
    write_all("mnist", folder / "mnist")
    status, _, err = say("ablate.evaluate", f"weights={file}", "dataset=mnist", "dataset.root=mnist")
    assert (status, err) == (2, f"weights={file}: for images of 1x8x8 numbers; dataset=mnist has 1x32x32\n")


def test_the_best_of_a_study_is_the_best_by_validation(folder, say):
    trials = finish(folder / "runs", seeds=range(3), epochs=1)
    ends = {trial.trial_id: run_directory.outcome(trial, folder / "runs") for trial in trials}
    best = max(ends, key=lambda trial: ends[trial].metrics["valid_acc"])
    status, out, _ = say("ablate.export", "trial=best", "study=mine", "to=out")
    assert status == 0
    assert out.startswith(best)
    assert [path.name for path in (folder / "out").iterdir()] == [best]


def test_names_are_those_typed_in_c_too(folder, say):
    (trial,) = finish(folder / "runs", epochs=1)
    assert say("ablate.export", f"trial={trial.trial_id}", "format=c", "name=digits_8")[0] == 0
    header = (folder / "exports" / trial.trial_id / "digits_8.h").read_text()
    assert "int digits_8_predict(const uint8_t image[64]);" in header
    assert "DIGITS_8_CLASSES 10" in header


def test_printed_lines_can_be_typed_whatever_the_folder_is_called(folder, say):
    (trial,) = finish(folder / "runs", epochs=1)
    lines = say("ablate.export", f"trial={trial.trial_id}", "format=c", "to=my exports")[1].splitlines()
    compile_line, evaluate_line = (line.removeprefix("Next: ") for line in lines[-2:])
    assert shlex.split(evaluate_line)[-1] == f"weights=my exports/{trial.trial_id}/network.c"
    if shutil.which("cc"):
        assert subprocess.run(compile_line, shell=True, capture_output=True, check=False).returncode == 0


def test_an_arm_of_ones_own_that_is_not_there_is_named(folder, say, monkeypatch):
    (folder / "my_arms.py").write_text(
        "from ablate.networks.norm import none\n\n\n"
        "def mine(*, temperature):\n    return none(temperature=temperature)\n"
    )
    monkeypatch.syspath_prepend(folder)
    (trial,) = finish(folder / "runs", epochs=1, norm={"_target_": "my_arms.mine", "temperature": 10})
    status, out, _ = say("ablate.export", f"trial={trial.trial_id}", "trust=my_arms")
    file = f"exports/{trial.trial_id}/network.safetensors"
    assert (status, out.endswith(f"Next: python -m ablate.evaluate weights={file} trust=my_arms\n")) == (0, True)
    monkeypatch.delitem(sys.modules, "my_arms")
    (folder / "my_arms.py").unlink()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    sys.path.remove(str(folder))
    importlib.invalidate_caches()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    message = "norm._target_=my_arms.mine: no such module; allowed: package.module.Name, on the Python path\n"
    assert say("ablate.evaluate", f"weights=../{file}", "trust=my_arms") == (2, "", message)
    assert say("ablate.export", f"trial={trial.trial_id}", "runs=../runs", "trust=my_arms") == (2, "", message)


def test_an_export_that_scores_otherwise_than_its_trial_says_so(folder, say):
    (trial,) = finish(folder / "runs", epochs=1)
    say("ablate.export", f"trial={trial.trial_id}", "format=onnx")
    path = folder / "exports" / trial.trial_id / "network.onnx"
    assert "its trial had" not in say("ablate.evaluate", f"weights={path}")[1]
    model = onnx.load(path)
    for weights in model.graph.initializer:
        if len(weights.dims) == 4:
            weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), weights.name))
    kept = [entry for entry in model.metadata_props if entry.key != onnx_file.DIGEST]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
    message = f"weights={path}: damaged: its card or its graph is not what was written (or an earlier version"
    assert say("ablate.evaluate", f"weights={path}")[2].startswith(message)
    model.metadata_props.add(key=onnx_file.DIGEST, value=onnx_file._digest(model))
    onnx.save(model, path)
    acc = run_directory.outcome(trial, folder / "runs").metrics["test_acc"]
    assert say("ablate.evaluate", f"weights={path}")[1].endswith(f"\nits trial had {100 * acc:.2f}%\n")


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A runs folder, and the ids of a trial that is done, one that failed and one without weights."""
    runs = tmp_path_factory.mktemp("troubled") / "runs"
    whole = finish(runs, epochs=1, dataset={**DIGITS, "valid_fraction": 0})
    done, failed, bare, lost = finish(runs, seeds=range(4), epochs=1)
    log = runs / lost.trial_id / run_directory.LOG
    log.write_text(
        "".join(f"{line}\n" for line in log.read_text().splitlines() if '"Done"' not in line)
    )  # killed with its weights written
    manifest.save(Study("whole", {}, whole), runs, None)
    manifest.delete("mine", runs)
    manifest.save(Study("mine", {}, [done, failed, bare]), runs, None)
    for trial in (failed, bare):
        (runs / trial.trial_id / run_directory.WEIGHTS).unlink()
    run_directory.mark(failed, runs, Failed(kind="diverged", reason="nan"))
    ids = {"DONE": done, "FAILED": failed, "BARE": bare, "LOST": lost}
    return runs, {word: trial.trial_id for word, trial in ids.items()}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "trial=: allowed: the id of a finished trial, or best with study=NAME"),
        ("trial=t0", "trial=t0: not in runs/; "),
        ("trial=FAILED", "trial=FAILED: it failed (diverged), so there are no weights; to try again: python -m ablate"),
        ("trial=BARE", "trial=BARE: its weights were not kept (checkpoint.keep=none); to train it again: rm -r "),
        ("trial=DONE format=tflite", "format=tflite: allowed: packed, onnx, c"),
        ("trial=DONE name=Net", "name=Net: allowed: up to 40 lower-case letters, digits and _, a letter first"),
        ("trial=DONE study=mine", "trial=DONE study=mine: allowed: study= with trial=best alone"),
        ("trial=best", "trial=best: of which study? allowed: study=mine, whole"),
        ("trial=best study=other", "study=other: not in runs/; allowed: mine, whole"),
        ("trial=best study=whole", "trial=best study=whole: its trials set no images aside to choose by"),
        ("trial=DONE to=file", "to=file: "),
        ("trial=DONE register=x track.uri=ftp://x", "track.uri=ftp://x: allowed: "),
        ("trial=DONE register=bad/name", "register=bad/name: allowed: a name without / and :"),
        ("trial=LOST", "trial=LOST: it has not finished; say its line again, then this one"),
        ("trial=DONE +x=1", "x=1: no such key; allowed: trial, study, format, name, to, runs, register, trust, track"),
        ("trial=DONE runs=none", "runs=none: there is no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(folder, say, line, message, troubled):
    runs, ids = troubled
    shutil.copytree(runs, folder / "runs")
    (folder / "file").write_text("")
    for word, name in ids.items():
        line, message = line.replace(word, name), message.replace(word, name)
    status, out, err = say("ablate.export", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not (folder / "exports").exists() or not list((folder / "exports").rglob("*.*"))


def test_a_trial_that_mlflow_does_not_have_cannot_be_registered(mlflow_db, folder, say):
    (trial,) = finish(folder / "runs", epochs=1)
    status, _, err = say("ablate.export", f"trial={trial.trial_id}", "register=digits")
    assert status == 2
    assert err.startswith("register: MLflow at sqlite:///")
    assert f"has no run of {trial.trial_id}; python -m ablate.track study=NAME delivers it" in err


@pytest.mark.slow
def test_a_registered_model_is_served_and_answers_with_the_right_classes(mlflow_db, folder, say):
    (trial,) = finish(folder / "runs", epochs=3)
    uri = f"sqlite:///{mlflow_db}"
    study = manifest.load("mine", folder / "runs").study
    assert Tracker(uri, study, store=FolderStore(folder / "runs"), completed=[trial]).close() is None
    line = ("ablate.export", f"trial={trial.trial_id}", "format=onnx", "register=digits")
    status, out, err = say(*line)
    assert (status, err) == (0, "")
    assert f"registered as digits, version 1. To serve it:\nMLFLOW_TRACKING_URI={uri} mlflow models serve " in out
    assert "registered as digits, version 2." in say(*line)[1]
    status, out, _ = say("ablate.track", "study=mine")
    assert (status, out) == (
        0,
        "study mine: 0 of 1 finished trials delivered to sqlite:///mlflow.db; it had the others\n",
    )
    test = datasets.digits(valid_fraction=0.1).test
    network, _, _ = build.trained_network(trial.config, folder / "runs" / trial.trial_id)
    with torch.no_grad():
        expected = network(torch.from_numpy(test.images[:20]).float()).numpy()
    answer = served(uri, "models:/digits/1", {"inputs": test.images[:20].astype(float).tolist()}, folder)
    logits = np.array(answer["predictions"]["logits"])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert (logits.argmax(1) == test.labels[:20]).mean() > 0.5


def served(uri, model, body, folder):
    """What `mlflow models serve` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "-m",
        model,
        "-p",
        str(port),
    ]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = (folder / "serve.log").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as server:
        try:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            for _ in range(120):
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:
                        return json.load(answer)
                except OSError:
                    assert server.poll() is None, (folder / "serve.log").read_text()
                    time.sleep(0.5)
            raise AssertionError((folder / "serve.log").read_text())
        finally:
            os.killpg(server.pid, signal.SIGTERM)
