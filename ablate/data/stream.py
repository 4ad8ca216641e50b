"""Splits whose images are files: read, scaled and cropped batch by batch, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from ablate.core.errors import UsageError
from ablate.data import images
from ablate.data.batches import Batch, Share, all_rows
from ablate.data.splits import FileSplit

Transform = Callable[[Tensor], Tensor]
"""An image, (C, H, W) uint8 -> one image, or several in one tensor; it draws from torch's global CPU generator."""

CROP = 224
SCALES = (224, 256, 384, 480, 640)
POSITIONS = 5

scale_crop_flip: Transform = v2.Compose([v2.RandomResize(256, 481), v2.RandomCrop(CROP), v2.RandomHorizontalFlip(0.5)])
"""Scale the shorter side to a number drawn uniformly from 256..480, then crop 224x224 at random, and flip half.

Source: [WR], after He, Zhang, Ren and Sun, arXiv 1512.03385.
"""


def single_crop(side: int | None, crop: int | None) -> Transform:
    """Return the transform that scales the shorter side to `side` and cuts the square of `crop` from the centre.

    None leaves out the one or the other.
    """
    steps = [v2.Resize(side) if side else v2.Identity(), v2.CenterCrop(crop) if crop else v2.Identity()]
    transform: Transform = v2.Compose(steps)
    return transform


def multi_crop(image: Tensor) -> Tensor:
    """Cut the 224x224 squares at 5 random positions in each of 5 scales of the shorter side: (25, C, 224, 224).

    Source: [WR], with the scales of He, Zhang, Ren and Sun, arXiv 1512.03385.
    """
    cut = v2.RandomCrop(CROP)
    return torch.stack([cut(scaled) for side in SCALES for scaled in [functional.resize(image, [side])] * POSITIONS])


@dataclass(frozen=True)
class Streamed:
    """The images of a split, each through `transform`, as batches that are moved to `device`.

    What `transform` draws comes from a seed for each image. With an order, the seeds are drawn from its generator, so
    that neither the number of workers nor the network changes them. Without one, the seed is the image's index.
    """

    split: FileSplit
    device: str
    transform: Transform
    workers: int
    evaluation_batch: int = 100

    def __len__(self) -> int:
        return len(self.split)

    def first(self) -> Tensor:
        """Return the first image, read in this process.

        Raises:
            UsageError: it cannot be read.
        """
        batch = _Files(self.split, self.transform)[[0], [0]]
        if isinstance(batch, UsageError):
            raise batch
        return batch[0].to(self.device)

    def batches(
        self, size: int, order: torch.Generator | None = None, skip: int = 0, share: Share = all_rows
    ) -> Iterator[Batch]:
        """Yield batches as `Loader` says; nothing but this rank's share is read.

        Raises:
            UsageError: an image cannot be read; it names the file.
        """
        items = seeds = torch.arange(len(self))
        if order is not None:
            items = torch.randperm(len(self), generator=order)
            seeds = torch.randint(2**62, (len(self),), generator=order)
        read = DataLoader(
            _Files(self.split, self.transform),
            batch_size=None,  # each index is a batch already
            sampler=[
                (share(batch_items).tolist(), share(batch_seeds).tolist())
                for batch_items, batch_seeds in zip(
                    torch.split(items, size)[skip:], torch.split(seeds, size)[skip:], strict=True
                )
            ],
            num_workers=self.workers,
            pin_memory=self.device != "cpu",
            generator=torch.Generator(),  # for DataLoader's own seeds, which nobody uses
        )
        for batch in read:
            if isinstance(batch, UsageError):
                raise batch
            yield tuple(part.to(self.device, non_blocking=True) for part in batch)


@dataclass(frozen=True)
class _Files(Dataset[tuple[Tensor, Tensor] | UsageError]):
    """The items and their seeds -> a batch.

    A UsageError is returned, not raised, since DataLoader would wrap it in the worker's stack.
    """

    split: FileSplit
    transform: Transform

    def __getitem__(self, batch: tuple[Sequence[int], Sequence[int]]) -> tuple[Tensor, Tensor] | UsageError:
        items, seeds = batch
        try:
            made = [self._image(item, seed) for item, seed in zip(items, seeds, strict=True)]
        except UsageError as error:
            return error
        read = torch.stack(made or [self._image(0, 0)])[: len(made)]  # a rank's share may be empty
        return read, torch.from_numpy(self.split.labels[items])

    def _image(self, item: int, seed: int) -> Tensor:
        image = functional.pil_to_tensor(images.decoded(self.split.root / self.split.name(item), self.split.mode))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU as well
            return self.transform(image)
