from __future__ import annotations

import pkgutil

import pytest

from ablate.core import identity
from ablate.core.identity import trial_id
from ablate.core.study import Cell, Study
from tests.support.fakes import make_trial

CONFIG = {
    "model": {"_target_": "ablate.networks.wrn.WideResNet", "_partial_": True},
    "norm": {"_target_": "ablate.networks.norm.srelu", "floor": -1, "temperature": 10},
    "dataset": {"_target_": "ablate.data.datasets.digits", "valid_fraction": 0.1},
    "recipe": {"epochs": 30, "batch_size": 125, "lr": 0.1, "schedule": "warm_restarts"},
    "bits": 1,
    "depth": 8,
    "width": 1,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({}, "te6a9e80e2e9537b6"),
        ({"seed": 1}, "tdfc27a5165f79143"),
        ({"bits": 32}, "t5c0db99bbd67be49"),
    ],
)
def test_ids_of_known_configs_change_with_numerics_alone(changes, golden):
    assert trial_id(CONFIG | changes) == golden


def test_an_id_ignores_key_order_and_whole_floats():
    reordered = dict(reversed(CONFIG.items()))
    as_float = CONFIG | {"norm": {"temperature": 10.0, "floor": -1.0, "_target_": "ablate.networks.norm.srelu"}}
    assert trial_id(reordered) == trial_id(as_float) == trial_id(CONFIG)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "mine"},
        {"runs": "/elsewhere"},
        {"dispatch": {"executor": "ray"}},
        {"track": {"uri": "http://x"}},
        {"dataset": {**CONFIG["dataset"], "root": "/data"}},
    ],
)
def test_an_id_says_nothing_of_where_or_how_a_trial_runs(changes):
    assert trial_id(CONFIG | changes) == trial_id(CONFIG)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"depth": 14}, {"recipe": {**CONFIG["recipe"], "lr": 0.2}}])
def test_an_id_changes_with_anything_that_changes_the_result(changes):
    assert trial_id(CONFIG | changes) != trial_id(CONFIG)


def test_an_id_changes_with_the_numerics_version():
    assert trial_id(CONFIG, numerics=identity.NUMERICS + 1) != trial_id(CONFIG)


def test_a_key_added_later_leaves_ids_alone_at_its_earlier_value(monkeypatch):
    monkeypatch.setattr(identity, "ADDED_LATER", {"recipe.ema": None})
    at_earlier_value = CONFIG | {"recipe": {**CONFIG["recipe"], "ema": None}}
    at_another = CONFIG | {"recipe": {**CONFIG["recipe"], "ema": 0.99}}
    assert trial_id(at_earlier_value) == trial_id(CONFIG) != trial_id(at_another)


AT_FIRST = CONFIG | {
    "model": {"_target_": "ablate.parts.wrn.WideResNet", "_partial_": True},
    "norm": {"_target_": "ablate.parts.norm.srelu", "floor": -1, "temperature": 10},
    "dataset": {"_target_": "ablate.parts.data.digits", "valid_fraction": 0.1},
}
"""The same trial as it was written before its parts moved."""


def test_a_part_that_moved_keeps_its_trials():
    assert trial_id(AT_FIRST) == trial_id(CONFIG) == "te6a9e80e2e9537b6"


def test_a_stored_config_names_each_part_where_it_is_now():
    assert identity.at_current_paths(AT_FIRST) == CONFIG


@pytest.mark.parametrize("now", identity.MOVED)
def test_a_moved_part_is_where_the_list_says(now):
    module, _, name = now.rpartition(".")
    assert callable(pkgutil.resolve_name(f"{module}:{name}"))


def test_a_true_is_not_a_one():
    assert trial_id({"x": True}) != trial_id({"x": 1})


def test_a_study_groups_its_trials_by_cell():
    trials = [make_trial(seed, bits=bits) for bits in (1, 32) for seed in (0, 1)]
    study = Study("s", {"bits": [1, 32]}, trials)
    assert {cell: [t.seed for t in trials] for cell, trials in study.cells.items()} == {
        Cell((("bits", 1),)): [0, 1],
        Cell((("bits", 32),)): [0, 1],
    }
