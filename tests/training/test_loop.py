"""Speed never changes which network is trained: our loop beside one that is written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from ablate.core.errors import Diverged
from ablate.data import augment
from ablate.data.loader import InMemory
from ablate.networks import norm
from ablate.networks.wrn import WideResNet
from ablate.training import evaluation, loop
from ablate.training.compute import Compute
from ablate.training.generators import Generators
from tests.networks.test_networks import ARMS

ITEMS, BATCH = 110, 50
STEPS = 20
LR, MOMENTUM, DECAY = 0.02, 0.9, 5e-4


def images():
    generator = torch.Generator().manual_seed(1)
    made = torch.randint(0, 256, (ITEMS, 3, 12, 12), dtype=torch.uint8, generator=generator)
    return InMemory(made, torch.randint(0, 10, (ITEMS,), generator=generator))


def network(arm, bits=1, dtype=torch.float64):
    shape = {"depth": 8, "width": 1, "bits": bits, "channels": 3, "classes": 10}
    return WideResNet(arm=ARMS[arm], **shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def factor(step):
    return 1.0 if step % 7 < 4 else 0.1


def training(made, precision="fp32", **changes):
    compute = Compute("cpu", precision)
    values = {"epochs": 7, "batch_size": BATCH, "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    recipe = loop.TrainingRecipe(**{**values, "lr_factor": factor, "augment": augment.light, **changes})
    generators = Generators(order=torch.Generator().manual_seed(2), draws=torch.Generator().manual_seed(3))
    return loop.Training(compute.placed(made), images(), recipe, generators=generators, compute=compute)


def losses(made, steps=STEPS, **changes):
    """Of the first steps of our loop."""
    fitting = training(made, **changes)
    sums = [0.0]
    batch_losses = []

    def between():
        if fitting.batch == 1:
            sums[-1] = 0.0
        sums.append(fitting.loss_sum.item())
        batch_losses.append((sums[-1] - sums[-2]) / (BATCH if fitting.batch < 3 else ITEMS % BATCH))

    for _ in fitting.epochs(between):
        pass
    return batch_losses[:steps]


def plain_losses(made, steps=STEPS, parts=lambda n: [slice(None)]):
    """The same from a loop as one would write it: no special layer, format, optimiser or accumulation of ours."""
    plain = copy.deepcopy(made).to(memory_format=torch.contiguous_format)
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if isinstance(child, norm.ShiftedReLU):
                setattr(module, name, nn.Hardtanh(child.floor, float("inf")))
    data, order, draws = images(), torch.Generator().manual_seed(2), torch.Generator().manual_seed(3)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in plain.named_parameters()}
    dtype, batch_losses = plain.stem.weight.dtype, []
    while len(batch_losses) < steps:
        for items in torch.randperm(ITEMS, generator=order).split(BATCH):
            batch, labels = augment.light(data.images[items], draws), data.labels[items]
            rate = LR * factor(len(batch_losses))
            plain.zero_grad()
            loss = sum(
                functional.cross_entropy(plain(batch[part].to(dtype)), labels[part], reduction="sum") / len(items)
                for part in parts(len(items))
            )
            loss.backward()
            with torch.no_grad():
                for name, parameter in plain.named_parameters():
                    decay = DECAY * parameter if parameter.dim() > 1 else 0
                    velocity[name] = MOMENTUM * velocity[name] - rate * (parameter.grad + decay)
                    parameter += velocity[name]
            batch_losses.append(loss.item())
    return batch_losses[:steps]


@pytest.mark.parametrize("arm", ["bn", "srelu", "gn"])
@pytest.mark.parametrize("bits", [1, 32])
def test_twenty_steps_have_the_losses_of_a_plain_loop_in_double_precision(arm, bits):
    made = network(arm, bits)
    expected = plain_losses(made)
    assert losses(made) == pytest.approx(expected, rel=0, abs=1e-9)
    assert max(expected) - min(expected) > 0.02


@pytest.mark.parametrize("arm", ["bn", "srelu"])
@pytest.mark.parametrize("bits", [1, 32])
def test_the_first_step_has_its_loss_in_single_precision(arm, bits):
    made = network(arm, bits, torch.float32)
    (expected,) = plain_losses(made, steps=1)
    assert losses(made, steps=1) == pytest.approx([expected], rel=0, abs=1e-5)


def test_summed_gradients_of_parts_are_the_batchs_where_no_norm_sees_the_batch():
    """The input's batch norm does: its part is kept out by holding it still."""

    def with_a_still_input_norm():
        made = network("srelu")
        made.input_norm = nn.Identity()
        with torch.no_grad():
            made.stem.weight /= 255
        return made

    assert losses(with_a_still_input_norm(), micro_batch=17) == pytest.approx(
        losses(with_a_still_input_norm()), rel=0, abs=1e-9
    )


def test_a_batch_norm_takes_the_statistics_of_each_part():
    def parts(n):
        return [slice(0, n // 2), slice(n // 2, n)] if n > 25 else [slice(None)]

    in_parts = losses(network("bn"), micro_batch=25)
    assert in_parts[0] != pytest.approx(losses(network("bn"))[0], rel=0, abs=1e-6)
    assert in_parts == pytest.approx(plain_losses(network("bn"), parts=parts), rel=0, abs=1e-9)


@pytest.mark.parametrize(
    ("most", "size"), [(None, 125), (1000, 125), (125, 125), (100, 63), (50, 42), (25, 25), (1, 1)]
)
def test_parts_are_of_equal_size(most, size):
    values = {"epochs": 1, "batch_size": 125, "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    recipe = loop.TrainingRecipe(**values, lr_factor=factor, augment=augment.none, micro_batch=most)
    assert loop.part_size(recipe) == size


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("precision", "close"), [("bf16", 0.03), ("fp16", 0.005)])
def test_at_16_bits_every_arm_has_nearly_its_logits_and_they_do_not_tie(arm, precision, close):
    made, some = network(arm, dtype=torch.float32), images().images
    full = Compute("cpu").logits(made, some)
    half = Compute("cpu", precision).logits(made, some)
    assert 0 < (half - full).abs().max() < close * full.abs().max()
    assert not torch.equal(half, half.bfloat16().float())
    half.sum().backward()
    assert all(weight.grad.dtype == torch.float32 and torch.isfinite(weight.grad).all() for weight in made.parameters())


@pytest.mark.parametrize("arm", ["bn", "srelu"])
def test_at_bf16_weights_stay_32_bits_and_the_network_learns_alike(arm):
    made = network(arm, dtype=torch.float32)
    expected = plain_losses(made, steps=3)
    batch_losses = losses(made, steps=3, precision="bf16")
    assert {weight.dtype for weight in made.parameters()} == {torch.float32}
    assert batch_losses != expected
    assert batch_losses == pytest.approx(expected, rel=0.05)


def test_at_fp16_a_step_whose_gradients_overflow_is_left_out_and_the_rate_is_not_scaled_away(monkeypatch):
    torch.use_deterministic_algorithms(True, warn_only=True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)  # with NaN
    made = network("srelu", bits=32, dtype=torch.float32)
    expected = plain_losses(made, steps=3)
    fitting = training(made, precision="fp16")
    fitting.scaler.load_state_dict({**fitting.scaler.state_dict(), "scale": 2.0**40})
    weights = [made.stem.weight.clone()]
    next(fitting.epochs(lambda: weights.append(made.stem.weight.clone())))
    assert torch.equal(weights[1], weights[0])
    velocities = [state["momentum_buffer"] for state in fitting.optimizer.state.values()]
    assert all(velocity.abs().max() < 100 for velocity in velocities)  # none was left as the memory that it was given
    assert fitting.scaler.get_scale() < 2.0**40
    made = network("srelu", bits=32, dtype=torch.float32)
    assert losses(made, steps=3, precision="fp16") == pytest.approx(expected, rel=0.05)


def test_at_fp16_gradients_that_never_fit_are_a_divergence():
    torch.use_deterministic_algorithms(True, warn_only=True)
    made = network("srelu", bits=32, dtype=torch.float32)
    made.stem.weight.register_hook(lambda gradient: gradient * float("inf"))
    reported = []
    with pytest.raises(Diverged, match=r"the gradients are larger than fp16 holds in epoch 6"):
        reported.extend(training(made, precision="fp16").epochs())
    assert len(reported) == 5  # its scale is halved at each of three batches, from 2**16


def test_a_batch_larger_than_the_data_is_a_whole_batch():
    plain, made = Small(), Small()
    expected = losses(plain, steps=2, batch_size=10 * ITEMS)
    assert losses(made, steps=2, batch_size=10 * ITEMS, compiled=True) == pytest.approx(expected, abs=1e-5)
    assert set(plain.calls) == {ITEMS}
    assert made.calls == []


def test_scores_do_not_depend_on_how_many_images_are_scored_at_once(monkeypatch):
    made = network("bn")
    whole = evaluation.evaluate(made, images(), Compute("cpu"))
    compute = Compute("cpu")
    monkeypatch.setattr(compute, "evaluation_batch", lambda *_: 7)
    looks: list[int] = []
    parts = evaluation.evaluate(made, images(), compute, lambda: looks.append(1))
    assert len(looks) == -(-ITEMS // 7)
    assert parts.loss == pytest.approx(whole.loss, abs=1e-12)
    assert torch.equal(parts.predicted, whole.predicted)


def test_as_many_images_are_scored_at_once_as_the_largest_layer_leaves_room_for():
    made, compute = network("srelu", dtype=torch.float32), Compute("cpu")
    image = images().images[:1]
    largest = 4 * 3 * 16 * 12 * 12  # bytes that the widest maps take, read, written and beside
    assert compute.evaluation_batch(made.eval(), image) == 32 * 2**20 // largest


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
        self.floor = norm.ShiftedReLU(-1)
        self.calls: list[int] = []

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.calls.append(len(x))
        return self.floor(functional.conv2d(x / 255, self.weight)).mean((2, 3))


def test_whole_batches_are_compiled_with_the_same_losses_and_the_next_network_finds_it_done():
    counts = torch._dynamo.utils.counters
    plain, first, second = Small(), Small(), Small()
    expected = losses(plain, steps=6)
    assert plain.calls[:3] == [50, 50, 10]
    assert losses(first, steps=6, compiled=True, micro_batch=25) == pytest.approx(expected, abs=1e-5)
    assert set(first.calls) == {10}  # the epoch's last batch is not worth another compilation
    before = counts["inductor"]["fxgraph_cache_hit"]
    assert losses(second, steps=6, compiled=True, micro_batch=25) == pytest.approx(expected, abs=1e-5)
    assert counts["inductor"]["fxgraph_cache_hit"] > before
    assert set(second.calls) == {10}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_is_not_waited_for_between_two_batches(precision):
    compute, data = Compute("cuda", precision), images()
    on_gpu = InMemory(data.images.cuda(), data.labels.cuda())
    values = {"epochs": 1, "batch_size": 5, "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    recipe = loop.TrainingRecipe(**values, lr_factor=factor, augment=augment.light)
    generators = Generators(order=torch.Generator(), draws=torch.Generator("cuda"))
    made = compute.placed(network("bn", dtype=torch.float32))
    fitting = loop.Training(made, on_gpu, recipe, generators=generators, compute=compute)

    def between():
        torch.cuda.set_sync_debug_mode("default" if fitting.batch == ITEMS // 5 else "error")

    try:
        assert len(list(fitting.epochs(between))) == 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
