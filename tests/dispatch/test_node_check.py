from __future__ import annotations

import functools

import pytest

from ablate.core.errors import UsageError
from ablate.dispatch import node_check
from ablate.dispatch.capacity import Machine, Machines
from ablate.dispatch.slot import Slot
from tests.tasks.test_image_classification import RECIPE

RECIPES = [{**RECIPE, "precision": "fp32", "compile": False}]


def question(runs=None, mark="mark", reads=(), recipes=RECIPES):
    return node_check.Question(runs, mark, recipes, reads, on_gpu=False)


def refuses(message):
    raise UsageError(message)


def test_a_node_like_this_one_is_accepted(tmp_path):
    (tmp_path / "mark").touch()
    node_check.refuse({"10.0.0.1": node_check.answer(question(tmp_path))})


def test_a_node_with_another_version_is_named_with_both():
    answer = node_check.answer(question())
    other = node_check.Answer(answer.host, {**answer.versions, "torch": "1.0"}, (), None, ())
    with pytest.raises(UsageError, match=r"torch 1.0 on node 10.0.0.2, .* here; allowed: the same on every machine"):
        node_check.refuse({"10.0.0.1": answer, "10.0.0.2": other})


def test_a_node_that_does_not_see_the_runs_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="not the folder of that name on the driver"):
        node_check.refuse({"10.0.0.1": node_check.answer(question(tmp_path))})


def test_a_node_that_cannot_read_the_data_or_lacks_a_precision_is_named():
    unread = node_check.answer(question(reads=[functools.partial(refuses, "dataset.root=x: not there")]))
    with pytest.raises(UsageError, match=r"on node a: dataset.root=x: not there"):
        node_check.refuse({"a": unread})
    unable = node_check.answer(question(recipes=[{**RECIPES[0], "precision": "tf32"}]))
    with pytest.raises(UsageError, match=r"on node a: recipe.precision=tf32"):
        node_check.refuse({"a": unable})


SMALL, LARGE = Machine(2, 0, 8e9, None), Machine(16, 4, 64e9, 40e9)


def test_slots_are_counted_on_each_machine_by_itself():
    assert Machines([SMALL, LARGE]).slots(Slot(3, 0)) == 5
    assert Machines([SMALL, LARGE]).slots(Slot(1, 0.5)) == 8
    assert Machines([SMALL, SMALL]).slots(Slot(2, 0)) == 2


def test_a_gpu_is_given_where_any_machine_has_one():
    assert Machines([SMALL, LARGE]).resolve(Slot(1, None)) == Slot(1, 1)
    assert Machines([SMALL]).resolve(Slot(1, None)) == Slot(1, 0)


def test_a_slot_larger_than_every_machine_is_refused_and_one_larger_than_some_is_not():
    assert Machines([SMALL, LARGE]).resolve(Slot(16, 0)) == Slot(16, 0)
    with pytest.raises(
        UsageError, match=r"dispatch.cpus_per_trial=17: allowed: up to 16, what the largest machine has"
    ):
        Machines([SMALL, LARGE]).resolve(Slot(17, 0))
    with pytest.raises(UsageError, match=r"cpus_per_trial=8 dispatch.gpus_per_trial=1: no machine has both"):
        Machines([Machine(8, 0, 8e9, None), Machine(2, 1, 8e9, None)]).resolve(Slot(8, 1))


def test_a_cluster_without_nodes_yet_is_requested_a_slot():
    assert Machines([]).resolve(Slot(64, 8)) == Slot(64, 8)
    assert Machines([]).slots(Slot(64, 8)) == 1
    assert Machines([]).share(Slot(64, 8), 10) == Machines([]).whole(Slot(64, 8)) == {"num_cpus": 64, "num_gpus": 8}


def test_a_trial_alone_has_the_largest_machine_on_which_it_fits():
    assert Machines([SMALL, LARGE]).whole(Slot(1, 0)) == {"num_cpus": 16, "num_gpus": 1}
    assert Machines([SMALL, SMALL]).whole(Slot(1, 0)) == {"num_cpus": 2, "num_gpus": 0}
