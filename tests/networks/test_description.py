from __future__ import annotations

import subprocess
import sys

import pytest

from ablate.core.errors import UsageError
from ablate.core.identity import flatten, science, trial_id
from ablate.networks import description, norm_description
from ablate.networks.description import Convolution, Images, Network, Norm
from ablate.planning import estimates, parts

SHAPE = {"items": 100, "channels": 3, "size": 9, "classes": 7}
OWN = {
    "check": "tests.networks.test_description.refuse_depth_9",
    "multiply_adds": "tests.networks.test_description.five",
    "parameters": "tests.networks.test_description.five",
    "kept_maps": "tests.networks.test_description.five",
}


def config(model=None, norm=None, **changes):
    return {
        "model": model or {"describe": "ablate.networks.resnet_description.wide_resnet"},
        "norm": norm or {"describe": "ablate.networks.norm_description.batch_norm", "affine": True, "eps": 1e-5},
        "dataset": {"shape": SHAPE},
        "depth": 8,
        "width": 1,
        "recipe": {"epochs": 2, "batch_size": 10},
        **changes,
    }


def five(config):
    return 5


def refuse_depth_9(config):
    if config["depth"] == 9:
        raise UsageError("depth=9: allowed: 8")


def two_convolutions(config):
    kernel = config["model"]["kernel"]
    return Network([Convolution("image", 4, kernel), Convolution(4, "classes", 1, reduction=2)])


def not_a_network(config):
    return 5


def test_counts_follow_from_the_convolutions_by_hand():
    images = Images(channels=3, size=9, classes=7)
    network = Network([Convolution("image", 4, 5, stride=2), Convolution(4, "classes", 1, reduction=2)])
    assert network.multiply_adds(images) == 5 * 5 * 3 * 4 * 5 * 5 + 4 * 7 * 5 * 5
    plain, normed = Norm(keeps_input=False, learns=False), Norm(keeps_input=True, learns=True)
    assert network.parameters(images, plain) == 5 * 5 * 3 * 4 + 4 * 7 + 2 * 3
    assert network.parameters(images, normed) == 5 * 5 * 3 * 4 + 4 * 7 + 2 * 3 + 2 * 4
    assert network.kept_maps(images, plain) == 3 * 9 * 9 + 4 * 5 * 5
    assert network.kept_maps(images, normed) == 2 * (3 * 9 * 9 + 4 * 5 * 5)


def test_a_network_of_ones_own_is_counted_from_its_description():
    own = config({"describe": "tests.networks.test_description.two_convolutions", "kernel": 3})
    assert description.multiply_adds(own) == 3 * 3 * 3 * 4 * 81 + 4 * 7 * 25
    assert estimates.training_multiply_adds(own) == 3 * description.multiply_adds(own) * 100 * 2
    assert estimates.parameters(own) == 3 * 3 * 3 * 4 + 4 * 7 + 2 * 3 + 2 * 4


def test_a_network_that_names_four_functions_instead_is_checked_and_counted_by_them():
    own = config(OWN)
    assert estimates.training_multiply_adds(own) == 3 * 5 * 100 * 2
    assert estimates.parameters(own) == 5
    assert estimates.training_bytes(own) == estimates.PROCESS_BYTES + 4 * 5 * 10 + 4 * 4 * 5
    with pytest.raises(UsageError, match="depth=9: allowed: 8"):
        [hook(own | {"depth": 9}) for hook in parts.hooks(own, "check")]


def test_a_network_without_a_description_or_functions_has_no_counts():
    own = config({"_target_": "mine.Tiny"})
    description.check(own)
    assert estimates.training_multiply_adds(own) is estimates.parameters(own) is estimates.training_bytes(own) is None


def test_images_without_a_shape_are_not_counted_but_the_network_is_checked():
    own = config(dataset={})
    assert estimates.training_multiply_adds(own) is None
    with pytest.raises(UsageError, match="depth=9: a wide ResNet has"):
        description.check(own | {"depth": 9})


def test_what_describes_a_part_must_return_its_description():
    describe = {"describe": "tests.networks.test_description.not_a_network"}
    for own, key in ((config(model=describe), "model"), (config(norm=describe), "norm")):
        with pytest.raises(UsageError, match=rf"^{key}.describe: it returned 5; allowed: an ablate.networks"):
            description.check(own)


def test_a_norm_of_ones_own_without_a_description_normalizes_if_it_has_an_eps():
    assert description.norm_of({"norm": {"slope": 0.1}}) == Norm(keeps_input=False, learns=False)
    assert description.norm_of({"norm": {"eps": 0.1}}) == Norm(keeps_input=True, learns=True)
    assert description.norm_of({"norm": {"eps": 0.1, "affine": False}}) == Norm(keeps_input=True, learns=False)


def test_a_trial_from_before_the_options_existed_is_still_described():
    assert description.multiply_adds(config()) == description.multiply_adds(
        config({**config()["model"], "residual": False, "padding": "tf"})
    )


@pytest.mark.parametrize(("key", "value"), [("residual", "maybe"), ("padding", "same")])
def test_a_wrong_option_of_a_residual_network_is_refused_by_name(key, value):
    with pytest.raises(UsageError, match=rf"^model.{key}={value}: allowed: t"):
        description.check(config({**config()["model"], key: value}))


@pytest.mark.parametrize("value", [0, -1, None, True, "hot"])
def test_a_temperature_that_is_no_positive_number_is_refused(value):
    with pytest.raises(UsageError, match=r"norm.temperature="):
        norm_description.shifted_relu({"norm": {"floor": -1, "temperature": value}})


@pytest.mark.parametrize("value", [0, -8, 2.0, True, None])
def test_groups_that_are_no_positive_whole_number_are_refused(value):
    with pytest.raises(UsageError, match=r"^norm.groups=.*: allowed: a whole number from 1 up"):
        norm_description.group_norm({"norm": {"groups": value, "eps": 1e-5, "temperature": 10}})


def test_the_functions_for_the_plan_are_no_part_of_a_trial():
    bare = config({"residual": True}, {"affine": True})
    named = config({"residual": True, "describe": "mine.describe", **OWN}, {"affine": True, "describe": "mine.norm"})
    assert not {key.rpartition(".")[2] for key in flatten(science(named))} & {"describe", *OWN}
    assert trial_id(science(named)) == trial_id(science(bare))


def test_descriptions_import_no_torch():
    modules = "ablate.networks.resnet_description, ablate.networks.norm_description"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
