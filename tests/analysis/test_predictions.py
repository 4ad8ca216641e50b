from __future__ import annotations

import json

import numpy as np
import pandas as pd

from ablate.tracking.artifacts import PREDICTIONS_FILE
from analysis.sources import predictions


def frame(*artifacts, outcome="done"):
    return pd.DataFrame(
        {"run_id": [f"r{index}" for index in range(len(artifacts))], "outcome": outcome, "artifacts": artifacts}
    )


def keep(folder, predicted, labels):
    folder.mkdir(parents=True)
    (folder / PREDICTIONS_FILE).write_text(json.dumps({"predicted": predicted, "labels": labels}))
    return folder.as_uri()


class Server:
    """Has files of the runs that it was given, and no others."""

    def __init__(self, files):
        self.files = files

    def download_artifacts(self, run_id, name, folder):
        from mlflow.exceptions import MlflowException

        if run_id not in self.files:
            raise MlflowException("not there")
        with open(f"{folder}/{name}", "w") as file:
            json.dump(self.files[run_id], file)
        return f"{folder}/{name}"


def test_what_each_run_got_right_is_read_from_its_files(tmp_path):
    known = predictions.read(None, frame(keep(tmp_path / "a b", [1, 2, 0], [1, 0, 0])))
    np.testing.assert_array_equal(known["r0"].right, [True, False, True])


def test_runs_that_kept_none_or_something_else_are_not_among_them(tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / PREDICTIONS_FILE).write_text("{")
    addresses = [
        (tmp_path / "none").as_uri(),
        damaged.as_uri(),
        keep(tmp_path / "c", [1], [1, 2]),
        keep(tmp_path / "d", [], []),
    ]
    assert predictions.read(None, frame(*addresses)) == {}


def test_runs_that_are_not_done_are_not_read(tmp_path):
    assert predictions.read(None, frame(keep(tmp_path / "a", [1], [1]), outcome="diverged")) == {}


def test_a_servers_are_fetched():
    server = Server({"r1": {"predicted": [3], "labels": [3]}})
    known = predictions.read(server, frame("mlflow-artifacts:/1/r0/artifacts", "mlflow-artifacts:/1/r1/artifacts"))
    assert {run_id: of_run.right.tolist() for run_id, of_run in known.items()} == {"r1": [True]}
