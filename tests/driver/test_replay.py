from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from ablate.store import run_directory
from tests.support.fakes import make_trial, well
from tests.support.image_files import write_own

TINY = "dataset=synthetic dataset.train_items=60 dataset.test_items=20 dataset.classes=2 depth=8 width=1 track=off"
BRIEF = f"{TINY} recipe.epochs=2 cost=false"

ARMS = """
from torch import nn
from ablate.networks.norm import Arm, Temperature

def leaky():
    return Arm(before_conv=lambda channels: nn.LeakyReLU(0.1), head=lambda classes: Temperature(10))
"""


def trained(say, *words):
    """Train one trial; return its run directory."""
    status, _, err = say("ablate.run", *words)
    assert (status, err) == (0, "")
    (directory,) = Path("runs").glob("t*")
    return directory


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_trial_again_is_equal_to_the_last_bit_and_nothing_of_it_is_touched(folder, say):
    directory = trained(say, *BRIEF.split())
    before = content_of(folder)
    status, out, err = say("ablate.run", f"trial={directory.name[:8]}")
    assert (status, err) == (0, "")
    assert "equal to the last bit: the curve of 2 epochs, test accuracy " in out
    assert ", 20 predictions\n" in out
    replay = folder / "runs" / "replays" / f"{directory.name}-1"
    assert (replay / "events.jsonl").is_file()
    assert {path: content for path, content in content_of(folder).items() if replay not in path.parents} == before
    assert say("ablate.run", f"trial={directory.name}", "to=elsewhere")[0] == 0
    assert Path("elsewhere", "config.json").is_file()


def test_a_number_that_differs_is_named_and_the_status_is_1(folder, say):
    directory = trained(say, *BRIEF.split())
    log = directory / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["machine"]["torch"] = "1.0"
    lines[2]["metrics"]["train_loss"] = math.nextafter(lines[2]["metrics"]["train_loss"], 9)
    lines[2]["metrics"]["valid_loss"] += 1
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    status, out, _ = say("ablate.run", f"trial={directory.name}")
    assert status == 1
    assert f"not equal: epoch 2, train_loss: {lines[2]['metrics']['train_loss']} before, " in out
    assert "and 1 more number of the curve" in out
    assert "differs: torch: 1.0 before, " in out
    assert "differs: host" not in out


def test_edited_code_of_ones_own_is_named(folder, say, monkeypatch):
    Path("mine", "norm").mkdir(parents=True)
    Path("mine", "norm", "leaky.yaml").write_text("_target_: arms_to_replay.leaky\n")
    Path("arms_to_replay.py").write_text(ARMS)
    monkeypatch.syspath_prepend(str(folder))
    directory = trained(say, "--config-dir=mine", "norm=leaky", *BRIEF.split())
    refused = say("ablate.run", f"trial={directory.name}")
    assert (refused[0], "its norm._target_ names arms_to_replay.leaky, code that would be run" in refused[2]) == (
        2,
        True,
    )
    again = [line for line in say("ablate.studies", f"trial={directory.name}")[1].splitlines() if "again" in line]
    assert again[0].endswith(f"ablate.run trial={directory.name} trust=arms_to_replay")
    assert say("ablate.run", f"trial={directory.name}", "--config-dir=mine")[0] == 0
    Path("arms_to_replay.py").write_text(ARMS.replace("0.1", "0.3"))
    monkeypatch.delitem(sys.modules, "arms_to_replay")
    status, out, err = say("ablate.run", f"trial={directory.name}", "trust=arms_to_replay")
    assert status == 1
    assert "trained with earlier code of arms_to_replay.py" in err
    assert "differs: code of arms_to_replay.py: k" in out


def test_data_that_have_changed_are_refused(folder, say):
    own = write_own(folder / "own")
    words = f"dataset=image_folder dataset.root={own} depth=8 width=1 recipe.epochs=1 recipe.batch_size=4 track=off"
    directory = trained(say, *words.split(), "cost=false")
    (folder / "own").rename(folder / "moved")
    assert say("ablate.run", f"trial={directory.name}")[0] == 2
    assert say("ablate.run", f"trial={directory.name}", "dataset.root=moved")[0] == 0
    image = next(path for path in sorted((folder / "moved" / "train").rglob("*")) if path.is_file())
    other = next(path for path in sorted((folder / "moved" / "test").rglob("*")) if path.is_file())
    image.write_bytes(other.read_bytes())
    status, _, err = say("ablate.run", f"trial={directory.name}", "dataset.root=moved")
    assert (status, err.count("\n")) == (2, 1)
    assert f"trial={directory.name}: its data have changed: " in err


def test_a_trial_that_diverged_diverges_again(folder, say):
    assert say("ablate.run", *BRIEF.split(), "recipe.lr=1e30")[0] == 1
    (directory,) = Path("runs").glob("t*")
    status, out, _ = say("ablate.run", f"trial={directory.name}")
    assert (status, "equal to the last bit: the curve of 1 epoch, its end, diverged" in out) == (0, True)


@pytest.fixture
def trial_of_a_fake(folder):
    """The id of a trial that a fake did."""
    part = {"_target_": "ablate.data.datasets.digits"}
    trial = make_trial(0, model=part, norm=part, dataset=part, bits=32, depth=8, width=1)
    list(run_directory.attempt(well, trial, folder / "runs"))
    return trial.trial_id


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trial=t000000", "trial=t000000: not in "),
        ("trial=ID bits=1", "bits"),
        ("-m trial=ID", "-m: this command takes no sweeps"),
        ("trial=ID threads=0", "threads=0: allowed: 1 or more"),
        ("trial=ID dataset.root=data", "dataset.root=data: its data set is in no folder"),
        ("trial=ID to=runs", "to=runs: there is such a file or folder"),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(say, words, message, trial_of_a_fake):
    status, _, err = say("ablate.run", *words.replace("ID", trial_of_a_fake).split())
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert not Path("runs", "replays").exists()
