from __future__ import annotations

import json
import shlex

import pytest

from ablate.core.errors import UsageError
from ablate.core.identity import trial_id
from ablate.core.trust import TRUSTS_OURS, Trust
from ablate.driver import trained
from ablate.planning import command_line
from ablate.store import run_directory
from tests.support.fakes import diverges_on_seed_two, make_trial, well
from tests.support.image_files import write_own


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "bits=1 norm=srelu dataset=fashion_mnist",
        "norm=bn_fixed depth=8 width=4 model.padding=tf",
        "norm=bn norm.affine=false",
        "norm=srelu norm.temperature=3 norm.floor=-0.5 bits=2 model.residual=false recipe.lr=0.01",
        "dataset=cifar10 recipe.epochs=30 recipe.augment=cutout dataset.valid_fraction=0",
        "model=resnet_imagenet depth=18 width=2.5 dataset=imagenet dataset.multi_crop=true norm=gn",
        "recipe=scaled_lr recipe.batch_size=4 recipe.schedule=cosine",
        "dataset=image_folder dataset.size=32",
    ],
)
def test_the_line_of_a_config_makes_a_trial_of_the_same_identity(planned, typed, own):
    root = [f"dataset.root={own}"] * ("image_folder" in typed)
    (trial,) = planned(*typed.split(), *root, "seeds=1").study.trials
    words = [word for word in shlex.split(command_line.line(trial.config)) if word != "seed=0"]
    (again,) = planned(*words, "seeds=1").study.trials
    assert again.trial_id == trial.trial_id == trial_id(trial.config)


ARMS = """
from torch import nn
from ablate.networks.norm import Arm, Temperature

def leaky(*, slope, sizes, name, more=None):
    return Arm(before_conv=lambda channels: nn.LeakyReLU(slope), head=lambda classes: Temperature(10))
"""


@pytest.fixture
def own_part(folder, monkeypatch):
    """A norm of one's own, in my folder, whose code is a module there."""
    (folder / "my folder" / "norm").mkdir(parents=True)
    (folder / "my folder" / "norm" / "leaky.yaml").write_text(
        "_target_: arms_of_mine.leaky\nslope: 0.1\nsizes: [1, 2]\nname: '1e3'\n"
    )
    (folder / "arms_of_mine.py").write_text(ARMS)
    monkeypatch.syspath_prepend(str(folder))


def test_the_line_of_a_part_of_ones_own_names_the_folder_of_its_yaml(own_part, planned):
    (trial,) = planned(
        "--config-dir=my folder", "norm=leaky", "norm.slope=0.2", "norm.name='null'", "seeds=1"
    ).study.trials
    line = command_line.line(trial.config)
    assert line.startswith("'--config-dir=my folder' model=wrn norm=leaky ")
    words = [word for word in shlex.split(line) if word != "seed=0"]
    assert planned(words[0], *words[1:], "seeds=1").study.trials[0].trial_id == trial.trial_id


def test_the_line_takes_out_what_its_option_has_got_since(own_part, planned, folder):
    (trial,) = planned("--config-dir=my folder", "norm=leaky", "seeds=1").study.trials
    with (folder / "my folder" / "norm" / "leaky.yaml").open("a") as file:
        file.write("more: 3\n")
    words = [word for word in shlex.split(command_line.line(trial.config)) if word != "seed=0"]
    assert "~norm.more" in words
    assert planned(words[0], *words[1:], "seeds=1").study.trials[0].trial_id == trial.trial_id


ADAPTIVE = (
    "resplit=true bootstrap=train",
    "nuisance.recipe.weight_decay=0.0001,0.0005 nuisance.recipe.momentum=interval(0.8,0.9)",
    "tune=random tune.trials=2 tune.space.recipe.lr=interval(0.01,0.1)",
)


@pytest.mark.parametrize("typed", ADAPTIVE)
def test_the_line_of_a_trial_whose_values_were_drawn_or_chosen_makes_the_same_trial(planned, typed):
    plan = planned(*typed.split(), "seeds=2")
    trial = (
        *plan.study.trials,
        *(plan.factory.tuning_trial(c.cell, {"recipe.lr": 0.0123}, 10_000) for c in plan.tuned),
    )[-1]
    words = [word for word in shlex.split(command_line.line(trial.config)) if not word.startswith("seed=")]
    again = planned(*words, "seeds=2").factory
    (cell,) = again.cells
    assert again.trial(cell, trial.seed).trial_id == trial.trial_id


def test_what_differs_from_the_defaults_is_what_one_would_type(planned):
    (trial,) = planned("norm=srelu", "bits=1", "recipe.lr=0.01", "seeds=1").study.trials
    assert command_line.differences(trial.config) == ["norm=srelu", "bits=1", "recipe.lr=0.01"]


def test_the_line_says_no_more_than_the_options_and_what_differs_from_them(planned):
    (trial,) = planned("norm=srelu", "bits=1", "recipe.lr=0.01", "seeds=1").study.trials
    assert command_line.line(trial.config) == (
        "model=wrn norm=srelu dataset=digits bits=1 depth=14 width=2 seed=0 recipe.lr=0.01"
    )


def test_a_folder_of_many_words_is_quoted_for_the_shell_and_for_hydra(planned, folder):
    write_own(folder / "my images, all")
    (trial,) = planned("dataset=image_folder", "dataset.root='my images, all'", "seeds=1").study.trials
    words = shlex.split(command_line.line(trial.config))
    assert words[-1] == "dataset.root='my images, all'"


def test_a_config_from_before_a_key_was_added_has_the_value_that_was_in_effect(planned):
    (trial,) = planned("seeds=1").study.trials
    older = {**trial.config, "model": {"_target_": trial.config["model"]["_target_"], "_partial_": True}}
    assert command_line.line(older) == command_line.line(trial.config)


def keep(trial, runs, run=well, weights=False):
    list(run_directory.attempt(run, trial, runs))
    if weights:
        (runs / trial.trial_id / "weights.pt").touch()
    return trial.trial_id


def test_a_trial_with_weights_is_found_by_its_id(planned, tmp_path):
    (trial,) = planned("seeds=1").study.trials
    keep(trial, tmp_path, weights=True)
    config, directory = trained.find_trained(trial.trial_id, tmp_path, TRUSTS_OURS)
    assert (trial_id(config), directory) == (trial.trial_id, tmp_path / trial.trial_id)


@pytest.mark.parametrize("content", ["", "[]", "{}", "1", "[" * 100_000, '{"model": {"_target_": 1}}', "\xff"])
def test_a_config_that_is_something_else_is_named(tmp_path, content):
    path = tmp_path / keep(make_trial(0), tmp_path, weights=True) / "config.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=rf"{path}: not the config of a trial \("):
        trained.find_trained(path.parent.name, tmp_path, TRUSTS_OURS)


def test_a_config_that_names_other_code_is_refused_unless_that_is_trusted(planned, tmp_path):
    (trial,) = planned("seeds=1").study.trials
    path = tmp_path / keep(trial, tmp_path, weights=True) / "config.json"
    path.write_text(json.dumps({**trial.config, "norm": {"_target_": "mine.leaky"}}))
    with pytest.raises(UsageError, match=rf"^trial={trial.trial_id}: {path}: its norm._target_ names mine.leaky, code"):
        trained.find_trained(trial.trial_id, tmp_path, TRUSTS_OURS)
    trained.find_trained(trial.trial_id, tmp_path, Trust(modules=frozenset({"mine"})))


def test_a_trial_without_weights_is_a_mistake_that_says_how_to_have_them(planned, folder):
    (trial,) = planned("bits=1", "seeds=1").study.trials
    line = "python -m ablate.run model=wrn norm=bn dataset=digits bits=1 depth=14 width=2 seed=0"
    runs = folder / "runs"
    for run, message in (
        (lambda config, directory: iter(()), f"it failed (error), so there are no weights; to try again: {line} runs="),
        (
            well,
            "its weights were not kept (checkpoint.keep=none); "
            f"to train it again: rm -r {runs}/{trial.trial_id}; {line} runs=",
        ),
    ):
        keep(trial, runs, run)
        with pytest.raises(UsageError) as error:
            trained.find_trained(trial.trial_id, runs, TRUSTS_OURS)
        assert str(error.value).startswith(f"trial={trial.trial_id}: {message}{runs}")
    (runs / trial.trial_id / "events.jsonl").unlink()
    with pytest.raises(
        UsageError, match="it has not finished, so there are no weights; to finish it: python -m ablate"
    ):
        trained.find_trained(trial.trial_id, runs, TRUSTS_OURS)


def test_a_part_of_ones_own_is_named_where_no_line_can_be_said(planned, tmp_path):
    (trial,) = planned("seeds=1").study.trials
    keep(trial, tmp_path)
    config = {**trial.config, "norm": {"_target_": "mine.leaky"}}
    (tmp_path / trial.trial_id / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"the line that made it \(its norm, mine.leaky, is none of conf/'s\)"):
        trained.find_trained(trial.trial_id, tmp_path, TRUSTS_OURS)


def test_an_unknown_id_is_a_mistake_that_names_close_ones_or_how_many_there_are(tmp_path):
    ids = [keep(make_trial(0), tmp_path), keep(make_trial(2), tmp_path, diverges_on_seed_two)]
    with pytest.raises(UsageError, match=f"trial={ids[0][:-1]}x: not in .*; did you mean {ids[0]}"):
        trained.find_trained(f"{ids[0][:-1]}x", tmp_path, TRUSTS_OURS)
    with pytest.raises(UsageError, match=f"trial={ids[1][:4]}: not in .*; did you mean {ids[1]}"):
        trained.find_trained(ids[1][:4], tmp_path, TRUSTS_OURS)
    for unknown in ("zzz", "..", "."):
        with pytest.raises(UsageError, match=r"not in .*; its 2 trials are named by their ids"):
            trained.find_trained(unknown, tmp_path, TRUSTS_OURS)
    with pytest.raises(UsageError, match=r"runs=.*nowhere: there is no such folder; allowed: the folder of the run"):
        trained.find_trained(ids[0], tmp_path / "nowhere", TRUSTS_OURS)
