from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ablate import CONF
from ablate.core.errors import Diverged
from ablate.core.events import Done, Epoch, Started
from ablate.data import augment, datasets
from ablate.data.loader import InMemory, on_device
from ablate.tasks import image_classification
from ablate.training import build, cost, evaluation, loop
from ablate.training.compute import Compute
from ablate.training.generators import Generators
from tests.support.fakes import TIMES

SYNTHETIC = {
    "_target_": "ablate.data.datasets.synthetic",
    "valid_fraction": 0.1,
    "train_items": 200,
    "test_items": 50,
    "channels": 1,
    "size": 8,
    "classes": 4,
    "noise": 0.5,
    "data_seed": 0,
}
RECIPE = {
    "epochs": 2,
    "batch_size": 60,
    "lr": 0.1,
    "lr_floor": 1e-4,
    "schedule": "warm_restarts",
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "augment": "light",
    "moments": "reestimated",
    "precision": "fp32",
    "compile": False,
    "micro_batch": None,
    "shards": 1,
}
BN = {"_target_": "ablate.networks.norm.bn", "affine": True, "eps": 1e-5}
SRELU = {"_target_": "ablate.networks.norm.srelu", "floor": -1, "temperature": 10}


def config(**changes):
    return {
        "model": {"_target_": "ablate.networks.wrn.WideResNet", "_partial_": True},
        "norm": BN,
        "dataset": SYNTHETIC,
        "recipe": RECIPE,
        "bits": 32,
        "depth": 8,
        "width": 1,
        "seed": 0,
    } | changes


def numbers(events):
    """All that a trial computed, without its times."""
    kept = []
    for event in events:
        if isinstance(event, Epoch | Done):
            kept.append({key: value for key, value in event.metrics.items() if key not in TIMES})
        if isinstance(event, Done):
            kept.append(event.predicted)
    return kept


@pytest.fixture(autouse=True)
def run_directory(folder):
    """The working directory is the run directory."""


def run(**changes):
    return list(image_classification.run(config(**changes), Path(), threads=1, device="cpu"))


@pytest.mark.parametrize("norm", [BN, SRELU])
@pytest.mark.parametrize("bits", [1, 32])
def test_the_same_trial_twice_gives_the_same_numbers_to_the_last_bit(norm, bits):
    assert numbers(run(norm=norm, bits=bits)) == numbers(run(norm=norm, bits=bits))


def test_another_seed_gives_other_numbers():
    assert numbers(run(seed=0)) != numbers(run(seed=1))


def test_a_trial_says_started_then_each_epoch_then_done():
    events = run()
    assert [type(event) for event in events] == [Started, Epoch, Epoch, Done]
    assert (events[0].threads, events[0].device, events[0].epochs) == (1, "cpu", 2)
    assert [event.epoch for event in events[1:3]] == [1, 2]
    reported = {"train_loss", "train_acc", "valid_loss", "valid_acc", "lr", "restart_test_acc", "wall_s", "train_s"}
    assert set(events[2].metrics) == reported
    assert {"test_loss", "test_acc"} <= set(events[3].metrics)


def test_done_carries_the_predicted_class_of_every_test_item():
    end = run()[-1]
    assert len(end.predicted) == len(end.labels) == 50
    right = sum(p == label for p, label in zip(end.predicted, end.labels, strict=True))
    assert right / 50 == pytest.approx(end.metrics["test_acc"])


def test_test_accuracy_is_reported_once_at_the_end():
    assert all("test_acc" not in event.metrics for event in run() if isinstance(event, Epoch))


@pytest.mark.parametrize("norm", [BN, SRELU])
def test_each_cycle_of_warm_restarts_ends_with_a_test_accuracy_and_the_last_one_is_dones(norm):
    *epochs, end = run(recipe={**RECIPE, "epochs": 7}, norm=norm)[1:]
    at_restarts = {
        event.epoch: event.metrics["restart_test_acc"] for event in epochs if "restart_test_acc" in event.metrics
    }
    assert list(at_restarts) == [2, 6, 7]
    assert at_restarts[7] == end.metrics["test_acc"]
    assert "restart_test_acc" not in end.metrics


def test_looking_at_the_test_images_at_a_restart_changes_nothing(monkeypatch):
    def numbers_but_those_shown():
        events = run(recipe={**RECIPE, "epochs": 7})
        return [{k: v for k, v in kept.items() if k != "restart_test_acc"} for kept in numbers(events)[:-1]]

    shown = numbers_but_those_shown()
    monkeypatch.setattr(build, "restarts", lambda recipe: [])
    assert numbers_but_those_shown() == shown


def test_other_schedules_report_no_accuracy_at_restarts():
    assert all("restart_test_acc" not in event.metrics for event in run(recipe={**RECIPE, "schedule": "cosine"})[1:])


def test_the_trained_weights_are_kept_before_a_trial_says_done(folder):
    running = image_classification.run(config(), folder, threads=1, device="cpu")
    for event in running:
        assert (folder / "weights.pt").exists() == isinstance(event, Done)
    made = datasets.synthetic(**{k: v for k, v in SYNTHETIC.items() if k != "_target_"})
    compute = Compute("cpu")
    network = compute.placed(build.make_network(config(), made.channels, made.classes))
    network.load_state_dict(torch.load(folder / "weights.pt"))
    scores = evaluation.evaluate(network, on_device(made.test, "cpu"), compute)
    assert (scores.acc, scores.loss) == (event.metrics["test_acc"], event.metrics["test_loss"])
    assert scores.predicted.tolist() == event.predicted
    assert [path.name for path in folder.iterdir()] == ["weights.pt"]


def test_without_a_validation_split_there_is_no_validation_metric():
    events = run(dataset={**SYNTHETIC, "valid_fraction": 0})
    assert all("valid_acc" not in event.metrics for event in events[1:])


@pytest.mark.parametrize("moments", ["reestimated", "running"])
def test_batch_norm_statistics_are_the_mean_of_the_batches_or_running_averages(monkeypatch, moments):
    kept = []
    evaluate = evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", lambda network, *a: kept.append(network) or evaluate(network, *a))
    plain = {**RECIPE, "moments": moments, "augment": "none", "batch_size": 90}
    run(recipe=plain, dataset={**SYNTHETIC, "valid_fraction": 0.1})
    images = datasets.synthetic(**{k: v for k, v in SYNTHETIC.items() if k != "_target_"}).train.images
    whole = torch.from_numpy(images).float()  # 180 images in 2 batches of 90: their means average to the whole's
    mean = kept[-1].input_norm.running_mean.item()
    assert (mean == pytest.approx(whole.mean().item(), rel=1e-5)) == (moments == "reestimated")


@pytest.mark.parametrize("norm", [BN, SRELU])
def test_at_bf16_a_network_learns_as_well(norm):
    recipe = {**RECIPE, "epochs": 14, "augment": "none", "precision": "bf16", "micro_batch": 30}
    assert run(norm=norm, recipe=recipe)[-1].metrics["test_acc"] > 0.9


def test_a_network_learns():
    end = run(recipe={**RECIPE, "epochs": 14, "augment": "none"})[-1]
    assert end.metrics["test_acc"] > 0.9


def test_a_trial_diverges_at_once_when_its_loss_is_not_finite():
    running = image_classification.run(
        config(norm=SRELU, recipe={**RECIPE, "lr": 1e6}), Path(), threads=1, device="cpu"
    )
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) in epoch 1"):
        list(running)


def test_an_image_tensor_of_nan_is_caught_before_the_weights_are_touched():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        network[1].bias[0] = float("nan")
    before = network[1].weight.clone()
    images = InMemory(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    fitting = training(network, images, recipe(batch_size=2)).epochs()
    with pytest.raises(Diverged):
        next(fitting)
    assert torch.equal(network[1].weight, before)


def training(network, images, planned, seed=0):
    generators = Generators(order=torch.Generator().manual_seed(seed), draws=torch.Generator())
    return loop.Training(network, images, planned, compute=Compute("cpu"), generators=generators)


def recipe(**changes):
    values = {"epochs": 1, "batch_size": 3, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    constant = {"lr_factor": lambda step: 1.0, "augment": augment.none}
    return loop.TrainingRecipe(**(values | constant | changes))


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_the_loop_is_sgd_whose_velocity_holds_the_rate_over_every_item(momentum):
    """A plain loop, written out, is the independent statement; the last batch is partial, the rate leaps."""
    factors = [1e-4, 1.0, 0.5]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 1, 2, 2), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    ours, theirs = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())

    class InDouble(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x.double() / 255)

    planned = recipe(momentum=momentum, weight_decay=0.01, lr_factor=factors.__getitem__)
    list(training(InDouble(ours), InMemory(images, labels), planned, seed=4).epochs())
    order = torch.randperm(7, generator=torch.Generator().manual_seed(4))
    weight, bias = theirs.parameters()
    velocities = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for items, factor in zip((order[:3], order[3:6], order[6:]), factors, strict=True):
        loss = torch.nn.functional.cross_entropy(theirs(images[items].double() / 255), labels[items])
        gradients = torch.autograd.grad(loss, [weight, bias])
        with torch.no_grad():
            for parameter, gradient, velocity in zip((weight, bias), gradients, velocities, strict=True):
                decay = 0.01 * parameter if parameter is weight else 0  # a bias does not decay
                velocity.mul_(momentum).sub_(0.1 * factor * (gradient + decay))
                parameter.add_(velocity)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_p, theirs_p, rtol=0, atol=1e-12)


def test_weights_decay_and_the_scales_and_offsets_of_norms_do_not():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.BatchNorm2d(2))
    decayed, others = loop.sgd(network, recipe()).param_groups
    assert [p.dim() for p in decayed["params"]] == [4]
    assert [p.dim() for p in others["params"]] == [1, 1]


def test_the_rate_follows_the_schedule_batch_by_batch():
    seen = []
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    planned = recipe(epochs=2, lr_factor=lambda step: seen.append(step) or 1 / (step + 1))
    images, labels = torch.zeros(7, 1, 2, 2, dtype=torch.uint8), torch.zeros(7, dtype=torch.int64)
    passes = list(training(network, InMemory(images, labels), planned).epochs())
    assert seen == list(range(6))
    assert [epoch["lr"] for epoch in passes] == pytest.approx([0.1 / 3, 0.1 / 6])


def test_every_arm_sees_the_same_images_in_the_same_order(monkeypatch):
    def batches(**changes):
        seen = []
        real = augment.light
        monkeypatch.setattr(augment, "light", lambda images, draws: seen.append(real(images, draws)) or seen[-1])
        run(**changes)
        monkeypatch.setattr(augment, "light", real)
        return seen

    arms = [batches(norm=norm, bits=bits) for norm, bits in itertools.product((BN, SRELU), (1, 32))]
    for other in arms[1:]:
        assert all(map(torch.equal, arms[0], other))


def test_a_data_set_is_loaded_once_for_the_trials_of_a_worker(monkeypatch):
    build._dataset.cache_clear()
    loaded = []
    real = datasets.synthetic
    monkeypatch.setattr(datasets, "synthetic", lambda **kwargs: loaded.append(1) or real(**kwargs))
    run()
    run(seed=1)
    assert loaded == [1]
    build._dataset.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "changes", [{}, {"precision": "tf32"}, {"precision": "bf16"}, {"precision": "fp16"}, {"compile": True}]
)
@pytest.mark.parametrize("norm", [BN, SRELU])
def test_a_trial_runs_on_a_gpu(norm, changes):
    events = list(
        image_classification.run(config(norm=norm, recipe={**RECIPE, **changes}), Path(), threads=1, device="cuda")
    )
    assert isinstance(events[-1], Done)


def test_what_a_network_costs_is_reported_with_its_outcome_and_changes_no_number():
    Path("cost").mkdir()
    plain, with_cost = run(), list(image_classification.run(config(), Path("cost"), threads=1, device="cpu", cost=True))
    assert numbers(plain)[:-2] == numbers(with_cost)[:-2]
    assert plain[-1].predicted == with_cost[-1].predicted
    added = with_cost[-1].metrics.keys() - plain[-1].metrics.keys()
    assert added >= {"parameters", "weight_bytes", "multiply_adds", "saved_bytes", "latency_ms", "train_images_per_s"}
    assert plain[-1].metrics["test_acc"] == with_cost[-1].metrics["test_acc"]


def test_a_cost_that_cannot_be_measured_is_a_notice_and_the_trial_goes_on(monkeypatch):
    def fails(*_):
        raise RuntimeError("no such thing\nat all")

    monkeypatch.setattr(cost, "of_inference", fails)
    *_, notice, done = image_classification.run(config(), Path(), threads=1, device="cpu", cost=True)
    assert notice.text == "its cost was not measured: RuntimeError: no such thing"
    assert isinstance(done, Done)


IN_A_NEW_PROCESS = """
import json, pathlib, sys
from ablate.tasks import image_classification
config = json.loads(sys.argv[1])
*_, done = image_classification.run(config, pathlib.Path(sys.argv[2]), threads=1, device="cpu")
print(json.dumps([done.metrics["test_loss"], [name for name in ("torch._dynamo", "sympy") if name in sys.modules]]))
"""


def test_a_trial_that_compiles_nothing_imports_no_compiler(tmp_path):
    """It would take each worker two seconds and 150 MB; without it the numbers are the same."""
    (tmp_path / "elsewhere").mkdir()
    words = [sys.executable, "-c", IN_A_NEW_PROCESS, json.dumps(config()), str(tmp_path / "elsewhere")]
    env = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    printed = subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout
    import torch._dynamo  # noqa: F401

    *_, done = image_classification.run(config(), tmp_path, threads=1, device="cpu")
    assert json.loads(printed) == [done.metrics["test_loss"], []]
