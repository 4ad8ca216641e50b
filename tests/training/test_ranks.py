"""Several processes train the network that one does: in double precision, against one process and a plain loop."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from ablate.data import augment
from ablate.data.loader import InMemory
from ablate.networks import norm
from ablate.networks.norm import bn, srelu
from ablate.networks.wrn import WideResNet
from ablate.training import evaluation, loop, shards
from ablate.training.compute import Compute
from ablate.training.generators import Generators
from ablate.training.ranks import Ranks
from ablate.training.shards import BatchPartition
from tests.support.processes import on_ranks

BATCH, STEPS = 50, 20
LR, MOMENTUM, DECAY = 0.02, 0.9, 5e-4
ARMS = {
    "srelu": srelu(floor=-1, temperature=10),
    "bn": bn(affine=True, eps=1e-5),
    "bn_fixed": bn(affine=False, eps=1e-5),
    "bn sync": bn(affine=True, eps=1e-5, sync=True),
    "bn_fixed sync": bn(affine=False, eps=1e-5, sync=True),
}
AUGMENTS = {"light": augment.light, "none": augment.none}
CASES = [  # arm, ranks, images: the last batch of an epoch leaves rank 1 without any, or is split in 4, 3 and 3
    ("srelu", 2, 101),
    ("bn", 2, 101),
    ("bn", 3, 110),
    ("bn_fixed", 3, 110),
    ("bn sync", 2, 101),
    ("bn sync", 3, 110),
    ("bn_fixed sync", 2, 101),
]


@pytest.fixture(autouse=True)
def single_thread():
    """As each rank has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(items):
    generator = torch.Generator().manual_seed(1)
    made = torch.randint(0, 256, (items, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return InMemory(made, torch.randint(0, 10, (items,), generator=generator))


def network(arm):
    shape = {"depth": 8, "width": 1, "bits": 32, "channels": 3, "classes": 10}
    return WideResNet(arm=ARMS[arm], **shape, generator=torch.Generator().manual_seed(0)).double()


def factor(step):
    return 1.0 if step % 7 < 4 else 0.1


def trained(ranks, *, arm, items, count, how="light"):
    """All that can be seen of a training over 20 steps or more, and of its evaluation."""
    partition, compute, data = BatchPartition(count, ranks), Compute("cpu"), images(items)
    made = compute.placed(shards.sharded(network(arm), partition))
    values = {"epochs": 7, "batch_size": BATCH, "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    recipe = loop.TrainingRecipe(**values, lr_factor=factor, augment=AUGMENTS[how])
    generators = Generators(order=torch.Generator().manual_seed(2), draws=torch.Generator().manual_seed(3))
    fitting = loop.Training(made, data, recipe, generators=generators, compute=compute, partition=partition)
    losses, sums, gradients = [], [0.0], []

    def between():
        if fitting.batch == 1:
            sums.append(0.0)
        sums.append(fitting.loss_sum.item())
        losses.append((sums[-1] - sums[-2]) / min(BATCH, items - (fitting.batch - 1) * BATCH))
        if len(losses) == 1:
            gradients.extend(parameter.grad.clone() for parameter in made.parameters())

    epochs = []
    for metrics in fitting.epochs(between):
        # The head's norm makes the mean of one image's pixels 0: what is largest is then down to rounding.
        acc = metrics["train_acc"] if items == 110 else None
        epochs.append({"loss": metrics["train_loss"], "acc": acc, **statistics(made)})
    looks = []
    how_again = {"batch_size": BATCH, "augment": AUGMENTS[how], "generators": generators, "partition": partition}
    evaluation.reestimate_batch_norms(made, data, compute, **how_again, between=lambda: looks.append(1))
    compute.evaluation_batch = lambda *_: 5  # several looks on each rank, and on one rank one more
    scores = evaluation.evaluate(made, data, compute, lambda: looks.append(1), ranks)
    return {
        "losses": losses[:STEPS],
        "gradients": gradients,
        "epochs": epochs,
        "weights": {name: tensor.clone() for name, tensor in made.state_dict().items()},
        "reestimated": statistics(made),
        "scores": (scores.loss, scores.acc),
        "predicted": scores.predicted,
        "draws": generators.draws.get_state(),
        "looks": len(looks),
    }


def statistics(made):
    return {name: tensor.clone() for name, tensor in made.named_buffers()}


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("arm", "count", "items"), CASES)
def test_ranks_train_as_one_process_does(tmp_path, arm, count, items):
    several = on_ranks(trained, count, tmp_path / "ranks", arm=arm, items=items, count=count)
    alone = trained(Ranks(), arm=arm, items=items, count=count)
    assert len({result["looks"] for result in several}) == 1  # else a request to stop would find some of them elsewhere
    assert len(alone["losses"]) == STEPS
    assert max(alone["losses"]) - min(alone["losses"]) > 0.02
    for result in [*several, alone]:
        del result["looks"]
    for result in several:
        assert_same(result, alone)
    for result in several[1:]:
        assert all(torch.equal(result["weights"][name], weight) for name, weight in several[0]["weights"].items())


def test_images_that_are_only_read_in_part_train_the_same(tmp_path):
    (first, _) = on_ranks(trained, 2, tmp_path / "ranks", arm="bn", items=101, count=2, how="none")
    alone = trained(Ranks(), arm="bn", items=101, count=2, how="none")
    assert_same(first["losses"], alone["losses"])
    assert_same(first["reestimated"], alone["reestimated"])


def test_a_synchronised_norm_takes_the_statistics_of_the_whole_batch_and_another_those_of_its_shards():
    whole, sync, apart = (trained(Ranks(), arm=arm, items=110, count=n) for arm, n in BN_ARMS)
    assert_same(sync["losses"], whole["losses"])
    assert apart["losses"][0] != pytest.approx(whole["losses"][0], abs=1e-4)


BN_ARMS = [("bn", 1), ("bn sync", 3), ("bn", 3)]


class ByHand(nn.Module):
    """A batch norm as the formula has it, of each of three shards, or of one."""

    def __init__(self, layer, parts):
        super().__init__()
        self.weight, self.bias, self.eps, self.parts = layer.weight, layer.bias, layer.eps, parts
        self.mean, self.variance = torch.zeros_like(layer.running_mean), torch.ones_like(layer.running_var)

    def forward(self, x):
        made, means, variances = [], [], []
        for part in torch.chunk(x, 1) if self.parts == 1 else split_by_hand(x, self.parts):
            rows = part.permute(1, 0, 2, 3).flatten(1)
            mean = rows.sum(1) / rows.shape[1]
            squares = ((rows - mean[:, None]) ** 2).sum(1)
            normal = (part - mean[:, None, None]) / torch.sqrt(squares / rows.shape[1] + self.eps)[:, None, None]
            if self.weight is not None:
                normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
            made.append(normal)
            means.append(mean.detach())
            variances.append(squares.detach() / (rows.shape[1] - 1))
        self.mean = 0.9 * self.mean + 0.1 * sum(means) / len(means)
        self.variance = 0.9 * self.variance + 0.1 * sum(variances) / len(variances)
        return torch.cat(made)


def split_by_hand(x, parts):
    """50 images as 17, 17 and 16; 10 as 4, 3 and 3; 2 as 1 and 1."""
    begin, shards_by_hand = 0, []
    for part in range(parts):
        size = len(x) // parts + (part < len(x) % parts)
        shards_by_hand += [x[begin : begin + size]] if size else []
        begin += size
    return shards_by_hand


@pytest.mark.parametrize(("arm", "items"), [("bn", 110), ("bn_fixed", 102)])
def test_one_process_with_shards_is_a_plain_loop_that_normalises_each_by_hand(arm, items):
    plain, data = network(arm).to(memory_format=torch.contiguous_format), images(items)
    by_hand = {}
    for parent_name, parent in list(plain.named_modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                made = ByHand(layer, parts=1 if layer is plain.input_norm else 3)
                setattr(parent, name, made)
                by_hand[f"{parent_name}.{name}".lstrip(".")] = made
    order, draws = torch.Generator().manual_seed(2), torch.Generator().manual_seed(3)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in plain.named_parameters()}
    losses = []
    for _ in range(7):
        for batch in torch.randperm(items, generator=order).split(BATCH):
            rate = LR * factor(len(losses))
            logits = plain(augment.light(data.images[batch], draws).double())
            loss = functional.cross_entropy(logits, data.labels[batch])
            plain.zero_grad()
            loss.backward()
            with torch.no_grad():
                for name, parameter in plain.named_parameters():
                    decay = DECAY * parameter if parameter.dim() > 1 else 0
                    velocity[name] = MOMENTUM * velocity[name] - rate * (parameter.grad + decay)
                    parameter += velocity[name]
            losses.append(loss.item())
    result = trained(Ranks(), arm=arm, items=items, count=3)
    assert_same(result["losses"], losses[:STEPS])
    for name, layer in by_hand.items():
        assert_same(result["epochs"][-1][f"{name}.running_mean"], layer.mean)
        assert_same(result["epochs"][-1][f"{name}.running_var"], layer.variance)


SHARES = [[4, 3], [5, 0], [0, 1], [2, 2, 0], [1, 7, 3]]


def normalised(ranks, *, sizes, affine):
    """One rank's part of a batch through a synchronised norm, forth and back."""
    layer, x, upstream = norm_case(sizes, affine)
    layer = shards.sharded(nn.Sequential(layer), BatchPartition(len(sizes), ranks))
    x = x.split(sizes)[ranks.rank].clone().requires_grad_()
    made = layer(x)
    (made * upstream.split(sizes)[ranks.rank]).sum().backward()
    return made.detach(), x.grad, [parameter.grad for parameter in layer.parameters()], statistics(layer)


def norm_case(sizes, affine):
    generator = torch.Generator().manual_seed(4)
    layer = norm.BatchNorm2d(6, eps=1e-5, affine=affine, sync=True).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(6, generator=generator))
    x, upstream = torch.randn(2, sum(sizes), 6, 5, 4, dtype=torch.float64, generator=generator)
    return layer, 3 * x + 1000, upstream  # far from 0, where sums of squares cancel


@pytest.mark.parametrize("sizes", SHARES, ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_a_synchronised_norm_is_the_whole_batchs(tmp_path, sizes, affine):
    result = on_ranks(normalised, len(sizes), tmp_path / "ranks", sizes=sizes, affine=affine)
    made, x_grads, grads, running = zip(*result, strict=True)
    layer, x, upstream = norm_case(sizes, affine)
    layer = nn.Sequential(layer)
    x.requires_grad_()
    whole = layer(x)
    (whole * upstream).sum().backward()
    close = {"rtol": 0, "atol": 1e-12}
    # The statistics' rounding at 1000 is 1e-13 of a pixel, which both sides have.
    torch.testing.assert_close(torch.cat(made), whole.detach(), rtol=0, atol=1e-11)
    torch.testing.assert_close(torch.cat(x_grads), x.grad, **close)
    for expected, *parts in zip([parameter.grad for parameter in layer.parameters()], *grads, strict=True):
        torch.testing.assert_close(sum(parts), expected, rtol=1e-12, atol=1e-11)
    for of_rank in running:
        torch.testing.assert_close(of_rank, statistics(layer), rtol=1e-12, atol=1e-12)


def test_sharding_changes_no_name_and_no_parameter():
    made = network("bn")
    names, parameters = list(made.state_dict()), list(made.parameters())
    sharded = shards.sharded(made, BatchPartition(4))
    assert list(sharded.state_dict()) == names
    assert all(after is before for after, before in zip(sharded.parameters(), parameters, strict=True))
    kinds = [type(layer) for layer in sharded.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert kinds.count(norm.BatchNorm2d) == 1  # the input's
    assert copy.deepcopy(sharded).eval()(images(2).images.double()).shape == (2, 10)
