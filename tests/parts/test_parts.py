from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import parts
from ablate.core.errors import UsageError
from ablate.core.identity import trial_id
from ablate.networks import description
from ablate.parts import checks, multiply_adds, sizes
from tests.networks.test_description import config

WIDE = {"describe": "ablate.networks.resnet_description.wide_resnet", "residual": True, "padding": "torch"}
IMAGENET = WIDE | {"describe": "ablate.networks.resnet_description.imagenet_resnet"}

OWN_ARM = """
from torch import nn
from ablate.parts.norm import Arm, Temperature

def leaky(*, slope: float, temperature: float) -> Arm:
    return Arm(before_conv=lambda channels: nn.LeakyReLU(slope), head=lambda classes: Temperature(temperature))
"""


@pytest.mark.parametrize(("name", "now"), parts.NOW.items(), ids=parts.NOW)
def test_an_earlier_path_is_the_very_module_of_today(name, now):
    module = importlib.import_module(f"ablate.parts.{name}")
    assert module is importlib.import_module(now)
    assert module is sys.modules[f"ablate.parts.{name}"] is getattr(parts, name)
    assert (module.__name__, module.__spec__.name) == (now, now)


def test_what_a_user_imports_by_an_earlier_path_is_what_the_code_checks_for():
    import ablate.parts.quantize

    from ablate.data.splits import Dataset
    from ablate.networks.quantize import Conv2d
    from ablate.parts import splits

    assert splits.Dataset is Dataset
    assert ablate.parts.quantize.Conv2d is Conv2d
    assert pickle.loads(pickle.dumps(splits.Dataset)) is Dataset


def test_a_module_that_is_not_known_is_missing_as_usual():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'ablate\.parts\.nothing'"):
        importlib.import_module("ablate.parts.nothing")


@pytest.mark.parametrize(
    "line",
    [
        "import ablate.parts",
        "import ablate.parts.checks, ablate.parts.multiply_adds, ablate.parts.sizes",
        "import importlib.util; import ablate.parts; assert importlib.util.find_spec('ablate.parts.norm')",
        "import ablate.parts.files, ablate.parts.labels",
    ],
)
def test_nothing_slow_is_imported_before_it_is_used(line):
    slow = f"{line}\nimport sys\nprint([name for name in ('torch', 'pandas', 'ray', 'mlflow') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", slow], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_arm_of_ones_own_that_imports_by_the_earlier_path_trains(folder, say, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    Path("earlier_arms.py").write_text(OWN_ARM)
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/leaky.yaml").write_text("_target_: earlier_arms.leaky\nslope: 0.1\ntemperature: 10\n")
    line = (
        "--config-dir=mine -m dataset=synthetic norm=leaky depth=8 width=1 bits=32 recipe.epochs=1 seeds=1 cost=false"
    )
    status, out, err = say("ablate.run", *line.split(), "dispatch=in_process", "track=off")
    assert (status, err) == (0, "")
    assert "1/1" in out


def test_a_yaml_of_ones_own_with_an_earlier_path_is_the_same_trial(planned):
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/mine.yaml").write_text(
        "_target_: ablate.parts.norm.gn\ncheck: ablate.parts.checks.group_norm\n"
        "groups: 8\neps: 1e-5\ntemperature: ${dataset.hints.temperature}\n"
    )
    own = planned("--config-dir=mine", "norm=mine", "seeds=1").study.trials[0]
    ours = planned("norm=gn", "seeds=1").study.trials[0]
    assert own.trial_id == ours.trial_id == trial_id(own.config)


@pytest.mark.parametrize(
    ("check", "group", "changes", "message"),
    [
        (checks.wide_resnet, {}, {"depth": 9}, "depth=9"),
        (checks.layer_norm, {"eps": 0, "temperature": 10}, {}, r"norm\.eps=0"),
        (checks.group_norm, {"groups": 5, "eps": 1e-5, "temperature": 10}, {}, r"norm\.groups=5: allowed: a divisor"),
        (checks.group_norm, {"groups": 0, "eps": 1e-5, "temperature": 10}, {}, r"norm\.groups=0"),
    ],
)
def test_an_earlier_check_still_refuses(check, group, changes, message):
    with pytest.raises(UsageError, match=message):
        check(config(WIDE, group or None, **changes))


@pytest.mark.parametrize(
    ("model", "name", "depth"), [(WIDE, "wide_resnet", 8), (IMAGENET, "imagenet_resnet", 10)], ids=["wrn", "imagenet"]
)
def test_an_earlier_count_is_the_count_of_today(model, name, depth):
    cell = config(model, depth=depth)
    assert getattr(multiply_adds, name)(cell) == description.multiply_adds(cell) > 0
    assert getattr(sizes, f"{name}_parameters")(cell) == description.parameters(cell) > 0
    assert getattr(sizes, f"{name}_kept_maps")(cell) == description.kept_maps(cell) > 0
    assert getattr(sizes, f"{name}_parameters")(cell | {"dataset": {}}) is None
