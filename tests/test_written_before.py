"""A study, its MLflow database and its run directories as commit ecac807 wrote them: everything still reads."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ARCHIVE = Path(__file__).parent / "written_before" / "ecac807.tar.xz"
WRITTEN_AT = "/tmp/oldfix/before"
"""Where the study was run: MLflow's database names artifacts by absolute paths."""

LINE = (
    *("-m", "norm=bn,srelu", "bits=1,32", "dataset=synthetic", "dataset.train_items=60", "dataset.test_items=40"),
    *("depth=8", "width=1", "recipe.epochs=2", "seeds=2", "study=before"),
)
TRIAL = "tac82972e386f2246"
"""norm=bn bits=1 seed=0: the one trial whose weights the archive holds."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "before"


@pytest.fixture
def before(unpacked: Path, folder: Path) -> Path:
    """The working directory, with the study in it."""
    shutil.copytree(unpacked, folder, dirs_exist_ok=True)
    database = sqlite3.connect(folder / "mlflow.db")
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (WRITTEN_AT, str(folder)))
    database.commit()
    database.close()
    return folder


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and truth value of a JSON document, with its path; sentences may be reworded."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from numbers(inner, f"{path}/{position}")
    elif not isinstance(value, str):
        yield path, value


def test_the_same_line_trains_nothing(before, say):
    status, out, err = say("ablate.run", *LINE)
    assert (status, err) == (0, "")
    assert "Nothing to train: every trial had its outcome already." in out


def test_more_seeds_train_only_what_is_new(before, say):
    assert "4 to do" in say("ablate.run", *LINE, "seeds=3", "mode=plan")[1]


DECISIONS = {
    *("low_pp", "high_pp", "bca_low_pp", "bca_high_pp", "test_set_se_pp", "p_difference", "p_equivalence", "by_less"),
    *("p_difference_holm", "p_equivalence_holm", "more_seeds", "alpha", "confidence"),
}
"""Numbers of margins that follow from statistical rules, which have changed since: see docs/log.md."""


def test_the_report_gives_the_same_measurements(before, say):
    """Every accuracy, margin, spread, count and cost. Accuracies were in float32 then, and no run was collapsed."""
    status, _, err = say("analysis.report", "study=before", "collapsed_below=0.001")
    assert status == 0, err
    now, then = (
        {part: json.loads(path.read_text())[part] for part in ("margins", "gaps", "accuracies", "costs", "outcomes")}
        for path in (before / "reports/before+collapsed_below=0.001/report.json", before / "report.json")
    )
    measured = {path: value for path, value in numbers(then) if path.rpartition("/")[2] not in DECISIONS}
    assert len(measured) > 150
    numbers_now = dict(numbers(now))
    for path, value in measured.items():
        assert numbers_now[path] == pytest.approx(value, abs=1e-5), path


def test_a_trial_is_evaluated_and_exported(before, say):
    status, out, err = say("ablate.evaluate", f"trial={TRIAL}")
    assert status == 0, err
    assert "wide ResNet 8-1, 1 bit per weight, norm bn" in out
    assert "synthetic: test accuracy 30.00% (12 of 40), loss 2.0214" in out
    assert say("ablate.export", f"trial={TRIAL}")[0] == 0
    status, out, err = say("ablate.evaluate", f"weights=exports/{TRIAL}/network.safetensors")
    assert "test accuracy 30.00% (12 of 40)" in out, err


def test_the_study_is_listed_and_its_trials_are_delivered_to_another_mlflow(before, say):
    assert "8" in say("ablate.studies")[1]
    status, out, err = say("ablate.track", "study=before", "track.uri=sqlite:///other.db")
    assert status == 0, err
    assert "8 of 8 finished trials delivered" in out
