"""The processes that train one trial together, and what they tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class Ranks:
    """So many processes work on one trial, and this one is number `rank`; of one alone, nothing is ever sent.

    They have joined torch's default process group, which takes tensors of the CPU and of their device. What sends is
    called by all ranks in the same order: where one leaves a call out, the others wait for it.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def joined(cls) -> Ranks:
        """This process's place in torch's default process group."""
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this one speaks for all: it writes what is kept, and decides what is asked."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """Of n rows, those of this rank: n / count of them in a row, one more on the first n % count; sends nothing."""
        return whole.tensor_split(self.count)[self.rank] if self.count > 1 else whole

    def summed(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Numbers of this rank -> their sums over all, added up in 64 bits."""
        if self.count == 1:
            return parts
        sums = torch.stack([part.double() for part in parts])
        dist.all_reduce(sums)
        return tuple(total.to(part.dtype) for total, part in zip(sums.unbind(), parts, strict=True))

    def add_up(self, tensor: Tensor) -> None:
        """Put the sum over all ranks in its place."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def of_each(self, tensor: Tensor) -> Tensor:
        """(...) on every rank, of one shape -> (count, ...), in the order of the ranks."""
        if self.count == 1:
            return tensor[None]
        found = tensor.new_empty(self.count, *tensor.shape)
        dist.all_gather(list(found.unbind()), tensor.contiguous())
        return found

    def gathered(self, part: Tensor, whole: int) -> Tensor:
        """What each rank made of its `share` of so many rows -> what is made of all of them, in their order."""
        if self.count == 1:
            return part
        sizes = [len(rows) for rows in torch.empty(whole).tensor_split(self.count)]
        padded = part.new_zeros(sizes[0], *part.shape[1:])
        padded[: len(part)] = part
        return torch.cat([rows[:size] for rows, size in zip(self.of_each(padded), sizes, strict=True)])

    def largest(self, number: float) -> float:
        """The largest of every rank's number."""
        return float(self.of_each(torch.tensor(number, dtype=torch.float64)).max())

    def decided(self, choice: int) -> int:
        """The first rank's choice."""
        if self.count == 1:
            return choice
        told = torch.tensor(int(choice))
        dist.broadcast(told, 0)
        return int(told)

    def told(self, value: Any) -> Any:
        """The first rank's value, whatever can be pickled."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]


ALONE = Ranks()
"""One process."""
