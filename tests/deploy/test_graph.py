from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.core.errors import UsageError
from ablate.deploy import buffers
from ablate.deploy.fold import folded
from ablate.deploy.graph import Graph, Map, Op, graph_of
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.wrn import WideResNet
from tests.networks.test_networks import ARMS
from tests.support.networks import SHAPES, images, trained


def computed(graph, image):
    """What the graph's operations make of one image: an interpreter that knows nothing of the network."""
    value_of = {graph.image.number: image}
    for op in graph.ops:
        value_of[op.writes.number] = result(op, [value_of[source.number] for source in op.reads])
        assert tuple(value_of[op.writes.number].shape[1:]) == op.writes.shape
    return value_of[graph.logits.number]


def result(op, maps):
    x, values = maps[0], op.values
    match op.kind:
        case "conv":
            return functional.conv2d(x, values["weight"], None, values["stride"], values["padding"])
        case "scale":
            return x * values["factor"].float()
        case "offset":
            return x + values["offset"].float()
        case "floor":
            return torch.where(x > values["least"], x, values["least"])
        case "add":
            return x + maps[1]
        case "average_pool":
            return functional.avg_pool2d(
                x, values["kernel"], values["stride"], values["padding"], count_include_pad=False
            )
        case "max_pool":
            return functional.max_pool2d(x, values["kernel"], values["stride"], values["padding"])
        case "pad":
            return functional.pad(x, values["sides"], value=values["value"])
        case "group_norm":
            return functional.group_norm(x, values["groups"], values["weight"], values["bias"], values["eps"])
        case "channel_norm":
            last = x.permute(0, 2, 3, 1)
            normed = functional.layer_norm(last, last.shape[-1:], values["weight"], values["bias"], values["eps"])
            return normed.permute(0, 3, 1, 2)
        case "mean":
            return x.mean((2, 3))
    raise AssertionError(op.kind)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("kind", [WideResNet, ImageNetResNet])
@pytest.mark.parametrize("options", [{}, {"padding": "tf"}, {"residual": False}])
def test_the_graph_is_all_that_the_network_computes(arm, kind, options):
    network = folded(trained(arm, 1, kind, **options))
    some = images(SHAPES[kind]).float()
    graph = graph_of(network, SHAPES[kind])
    torch.testing.assert_close(computed(graph, some), network(some), rtol=1e-5, atol=1e-5)
    assert graph.image.shape == SHAPES[kind]
    assert graph.logits.shape == (10,)


class Own(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3, bias=False), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (nn.Sigmoid(), "the network computes sigmoid, which an export has no form for"),
        (nn.Conv2d(4, 4, 1), "a convolution with a bias, groups or dilation"),
        (nn.Conv2d(4, 4, 1, groups=2, bias=False), "a convolution with a bias, groups or dilation"),
        (nn.AvgPool2d(3, padding=1), "an average pool that counts its padding"),
        (nn.LayerNorm([4, 6, 6]), "a layer norm over more than channels"),
        (nn.ReflectionPad2d(1), "pads with more than a constant"),
    ],
)
def test_what_has_no_form_is_named(last, message):
    with pytest.raises(UsageError, match=message):
        graph_of(Own(last).eval(), (1, 8, 8))


class Twice(nn.Module):
    """Reads a map again after an activation that may have written over it."""

    def __init__(self, inplace):
        super().__init__()
        self.conv, self.activation = nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        return (self.activation(maps) + maps).mean((2, 3))


@pytest.mark.parametrize("inplace", [True, False])
def test_a_map_that_was_written_over_is_read_as_it_then_is(inplace):
    network = Twice(inplace).eval()
    some = images((1, 8, 8)).float() - 128
    torch.testing.assert_close(computed(graph_of(network, (1, 8, 8)), some), network(some))


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda maps: torch.add(maps, maps, alpha=2), "computes add with alpha=2"),
        (lambda maps: torch.div(maps, 2, rounding_mode="floor"), "computes div with rounding_mode=floor"),
        (lambda maps: maps * maps, "multiplies or divides by its maps"),
        (lambda maps: 1 / maps, "computes reciprocal"),
        (lambda maps: maps + maps.mean((2, 3), keepdim=True), "averages over more than pixels"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(compute, message):
    class Last(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return compute(maps)

    with pytest.raises(UsageError, match=message):
        graph_of(Own(Last()).eval(), (1, 8, 8))


def test_a_network_that_branches_on_its_maps_is_named():
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UsageError, match=r"torch.export cannot follow the network \(GuardOnDataDependent"):
        graph_of(Branching(), (1, 8, 8))


@pytest.mark.parametrize("last", [nn.ReLU(), nn.Identity(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.ZeroPad2d(1)])
def test_a_network_of_ones_own_has_a_graph_too(last):
    network = Own(last).eval()
    some = images((1, 8, 8)).float()
    torch.testing.assert_close(computed(graph_of(network, (1, 8, 8)), some), network(some))


def chain(*kinds, size=4):
    """A graph of maps of one size, each read by the next operation."""
    maps = [Map(number, (size, 1, 1)) for number in range(len(kinds) + 1)]
    ops = [Op(kind, (source,), target) for kind, source, target in zip(kinds, maps[:-1], maps[1:], strict=True)]
    return Graph(maps[0], ops, maps[-1])


def test_what_works_in_place_takes_no_memory_of_its_own():
    graph = chain("conv", "scale", "offset", "floor", "conv", "floor", "mean")
    graph_buffers = buffers.buffers(graph)
    assert [list(buffer.maps) for buffer in graph_buffers] == [[1, 2, 3, 4], [5, 6]]
    assert buffers.most_at_once(graph_buffers) == 8
    assert buffers.offsets(graph_buffers) == ([0, 4], 8)


def test_a_map_that_is_read_again_later_is_not_written_over():
    x = [Map(number, (4, 1, 1)) for number in range(6)]
    ops = [
        Op("conv", (x[0],), x[1]),
        Op("floor", (x[1],), x[2]),
        Op("conv", (x[2],), x[3]),
        Op("add", (x[3], x[1]), x[4]),
        Op("mean", (x[4],), x[5]),
    ]
    graph_buffers = buffers.buffers(Graph(x[0], ops, x[5]))
    assert [list(buffer.maps) for buffer in graph_buffers] == [[1], [2], [3, 4]]
    assert buffers.most_at_once(graph_buffers) == 12


@pytest.mark.parametrize("arm", ["bn", "srelu", "gn"])
@pytest.mark.parametrize("kind", [WideResNet, ImageNetResNet])
def test_buffers_in_use_at_one_time_never_overlap(arm, kind):
    graph_buffers = buffers.buffers(graph_of(folded(trained(arm, 1, kind)), SHAPES[kind]))
    offsets, size = buffers.offsets(graph_buffers)
    assert buffers.most_at_once(graph_buffers) <= size <= sum(buffer.size for buffer in graph_buffers)
    for buffer, start in zip(graph_buffers, offsets, strict=True):
        assert start + buffer.size <= size
        for other, there in zip(graph_buffers, offsets, strict=True):
            in_use_together = buffer.begin <= other.end and other.begin <= buffer.end
            if buffer is not other and in_use_together:
                assert start + buffer.size <= there or there + other.size <= start
