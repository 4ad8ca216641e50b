"""Networks and norms as a plan sees them: described once, counted and checked by what follows, without torch.

A YAML file names the function that describes its part: `describe: ablate.networks.resnet_description.wide_resnet`.
The function takes a cell's config, raises UsageError for values that the part refuses, and returns a `Network`
(for `model`) or a `Norm` (for `norm`). Counts are of one image, and of weights in one network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.hooks import hook_of


@dataclass(frozen=True)
class Images:
    """The images of a data set, as its `shape` states them.

    channels: of each image.
    size: pixels a side.
    classes: the number of classes.
    """

    channels: int
    size: int
    classes: int


@dataclass(frozen=True)
class Convolution:
    """A square convolution without bias, padded so that its stride alone decides how many pixels it writes.

    The convolution that reads the image has a batch norm before it, with a learned scale and offset for each channel.
    Every other one has a layer of the factor `norm` before it.

    channels_in: "image" stands for as many as the image has.
    channels_out: "classes" stands for as many as there are classes.
    kernel: pixels a side of its filters.
    stride: in pixels.
    reduction: the image's side over that of the maps that it reads, rounded up to whole pixels.
    """

    channels_in: int | Literal["image"]
    channels_out: int | Literal["classes"]
    kernel: int
    stride: int = 1
    reduction: int = 1

    def channels_read(self, images: Images) -> int:
        """Return the number of channels that it reads."""
        return self.channels_in if isinstance(self.channels_in, int) else images.channels

    def side_read(self, images: Images) -> int:
        """Return the pixels a side of the maps that it reads."""
        return -(-images.size // self.reduction)

    def side_written(self, images: Images) -> int:
        """Return the pixels a side of the maps that it writes."""
        return -(-self.side_read(images) // self.stride)

    def weights(self, images: Images) -> int:
        """Return the number of its weights."""
        channels_out = self.channels_out if isinstance(self.channels_out, int) else images.classes
        return self.kernel**2 * self.channels_read(images) * channels_out

    def multiply_adds(self, images: Images) -> int:
        """Return the multiply-adds of one image, counting each window as whole, at the borders too."""
        return self.weights(images) * self.side_written(images) ** 2


@dataclass(frozen=True)
class Network:
    """A network as its convolutions, in any order; nothing else in it counts."""

    convolutions: Sequence[Convolution]

    def normed_channels(self) -> list[int]:
        """Return the channels of the maps that layers of the factor `norm` read: all but the image's."""
        return [layer.channels_in for layer in self.convolutions if isinstance(layer.channels_in, int)]

    def multiply_adds(self, images: Images) -> int:
        """Return the multiply-adds of one image's forward pass."""
        return sum(layer.multiply_adds(images) for layer in self.convolutions)

    def parameters(self, images: Images, norm: Norm) -> int:
        """Return the number of learned parameters: weights, and scales and offsets of the norms."""
        weights = sum(layer.weights(images) for layer in self.convolutions)
        normed = sum(self.normed_channels()) if norm.learns else 0
        return weights + 2 * (images.channels + normed)

    def kept_maps(self, images: Images, norm: Norm) -> int:
        """Return how many numbers one training image leaves for the backward pass.

        These are the maps that each convolution reads and, with a norm that keeps its input, what the norm read.
        """
        numbers = sum(layer.channels_read(images) * layer.side_read(images) ** 2 for layer in self.convolutions)
        return numbers * (2 if norm.keeps_input else 1)


@dataclass(frozen=True)
class Norm:
    """What a level of the factor `norm` adds to a network.

    keeps_input: its backward pass needs the maps that it read, beside those that it wrote.
    learns: it has a learned scale and offset for each channel.
    groups: number of groups that it splits the channels into.
    """

    keeps_input: bool
    learns: bool
    groups: int = 1


def network_of(config: Config) -> Network | None:
    """Return the description of the cell's network; None where its YAML names none.

    Raises:
        UsageError: the network refuses the config, or what `describe` names returns something else.
    """
    describe = hook_of(config["model"], "describe")
    if describe is None:
        return None
    network = describe(config)
    if not isinstance(network, Network):
        raise UsageError(f"model.describe: it returned {network!r}; allowed: an ablate.networks.description.Network")
    return network


def norm_of(config: Config) -> Norm:
    """Return the description of the cell's norm.

    A norm whose YAML names none is taken for one that normalizes if it has an `eps`.

    Raises:
        UsageError: the norm refuses the config, or what `describe` names returns something else.
    """
    group = config["norm"]
    describe = hook_of(group, "describe")
    if describe is None:
        normalizes = "eps" in group
        return Norm(keeps_input=normalizes, learns=bool(group.get("affine", normalizes)))
    norm = describe(config)
    if not isinstance(norm, Norm):
        raise UsageError(f"norm.describe: it returned {norm!r}; allowed: an ablate.networks.description.Norm")
    return norm


def images_of(config: Config) -> Images | None:
    """Return the images of the cell's data set; None where its YAML states no shape."""
    shape = config["dataset"].get("shape")
    return None if shape is None else Images(shape["channels"], shape["size"], shape["classes"])


def check(config: Config) -> None:
    """Raise UsageError where the network or the norm refuses the config, or the two do not fit together."""
    check_fit(network_of(config), norm_of(config))


def check_fit(network: Network | None, norm: Norm) -> None:
    """Raise UsageError where the norm's groups do not divide the channels of a network that is described."""
    if network is None or norm.groups == 1:
        return
    unfit = [channels for channels in network.normed_channels() if channels % norm.groups]
    if unfit:
        raise UsageError(
            f"norm.groups={norm.groups}: allowed: a divisor of the narrowest stage's {min(unfit)} channels"
        )


def multiply_adds(config: Config) -> int | None:
    """Return the multiply-adds of one image's forward pass; None without a description or the images' shape."""
    network, images = network_of(config), images_of(config)
    return None if network is None or images is None else network.multiply_adds(images)


def parameters(config: Config) -> int | None:
    """Return the number of learned parameters; None without a description or the images' shape."""
    network, images = network_of(config), images_of(config)
    return None if network is None or images is None else network.parameters(images, norm_of(config))


def kept_maps(config: Config) -> int | None:
    """Return how many numbers one training image leaves for the backward pass; None as for `parameters`."""
    network, images = network_of(config), images_of(config)
    return None if network is None or images is None else network.kept_maps(images, norm_of(config))
