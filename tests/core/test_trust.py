from __future__ import annotations

import pytest
import yaml

from ablate import CONF
from ablate.core.errors import UsageError
from ablate.core.identity import FOR_THE_PLAN_ONLY
from ablate.core.trust import HOOKS, OURS, TRUSTS_OURS, Trust, paths_in


def test_all_that_our_yaml_names_is_ours_and_nothing_else():
    files = [file for group in ("model", "norm", "dataset") for file in (CONF / group).glob("*.yaml")]
    named = {path for file in files for path in paths_in(yaml.safe_load(file.read_text()))}
    assert named == OURS
    assert {*HOOKS} == {*FOR_THE_PLAN_ONLY} - {"hints", "shape"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("ablate.networks.norm.bn", True),
        ("ablate.networks.norm.nn.Linear", False),  # what a module of ours imports
        ("ablate.deploy.c_source.subprocess.run", False),
        ("ablate.networks.norm", False),
        ("mlflow.utils.process._exec_cmd", False),
        ("my_arms.leaky", True),
        ("my_arms.os.system", False),
        ("my_arms_too.leaky", False),
        ("elsewhere.Network", True),
        ("elsewhere.Other", False),
        ("", False),
    ],
)
def test_a_file_may_name_ours_what_a_folder_names_and_what_stands_in_a_trusted_module(path, allowed):
    assert Trust(frozenset({"my_arms"}), frozenset({"elsewhere.Network"})).allows(path) is allowed


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"norm": {"_target_": "os.system"}}, "norm._target_"),
        (
            {"norm": {"_target_": "ablate.networks.norm.bn", "affine": {"_target_": "os.system"}}},
            "norm.affine._target_",
        ),
        ({"model": {"blocks": [1, [{"_target_": "os.system"}]]}}, "model.blocks._target_"),
        ({"dataset": {"check": "os.system"}}, "dataset.check"),
        ({"dataset": {"prepare": "os.system"}}, "dataset.prepare"),
        ({"model": {"describe": "os.system"}}, "model.describe"),
        ({"model": {"multiply_adds": "os.system"}}, "model.multiply_adds"),
    ],
)
def test_other_code_is_named_wherever_it_stands(config, key):
    line = (
        f"^x.onnx: its {key} names os.system, code that would be run; allowed, if you know who wrote it: trust=os, or"
    )
    with pytest.raises(UsageError, match=line):
        TRUSTS_OURS.check(config, "x.onnx")


@pytest.mark.parametrize(
    "config", [{"dataset": {"root": "${oc.env:HOME}"}}, {"${oc.env:HOME}": 1}, {"labels": [["a", "b${x}"]]}]
)
def test_no_value_is_read_from_elsewhere(config):
    with pytest.raises(UsageError, match=r"^x.onnx: its .* is .*\$\{"):
        TRUSTS_OURS.check(config, "x.onnx")


def test_a_config_of_ours_passes_with_values_that_look_like_paths():
    TRUSTS_OURS.check(
        {"norm": {"_target_": "ablate.networks.norm.bn", "name": "os.system"}, "dataset": {"root": "/x"}}, "x"
    )
