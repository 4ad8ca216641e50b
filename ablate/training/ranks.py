"""The processes that train one trial together, and what they send each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """The `count` processes that work on one trial, of which this one is number `rank`.

    A process that works alone sends nothing. Several have joined torch's default process group, which takes tensors
    of the CPU and of their device. Every method that sends is called by all ranks in the same order: where one rank
    leaves a call out, the others wait for it.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def joined(cls) -> Ranks:
        """Return this process's rank in torch's default process group."""
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this rank acts for all: it writes what is kept, and decides whether to stop."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """Return this rank's rows of n, without sending anything.

        Each rank has n / count rows that follow each other; the first n % count ranks have one more.
        """
        return whole.tensor_split(self.count)[self.rank] if self.count > 1 else whole

    def summed(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return the sums of these numbers over all ranks, added up in 64 bits."""
        if self.count == 1:
            return parts
        sums = torch.stack([part.double() for part in parts])
        dist.all_reduce(sums)
        return tuple(total.to(part.dtype) for total, part in zip(sums.unbind(), parts, strict=True))

    def add_up(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over all ranks, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def of_each(self, tensor: Tensor) -> Tensor:
        """Return the tensors (...) of every rank, all of one shape, as (count, ...), in the order of the ranks."""
        if self.count == 1:
            return tensor[None]
        gathered = tensor.new_empty(self.count, *tensor.shape)
        dist.all_gather(list(gathered.unbind()), tensor.contiguous())
        return gathered

    def gathered(self, part: Tensor, whole: int) -> Tensor:
        """Return the results for all rows, in their order.

        Args:
            part: what this rank computed of its `share` of the rows.
            whole: the number of rows.
        """
        if self.count == 1:
            return part
        sizes = [len(rows) for rows in torch.empty(whole).tensor_split(self.count)]
        padded = part.new_zeros(sizes[0], *part.shape[1:])
        padded[: len(part)] = part
        return torch.cat([rows[:size] for rows, size in zip(self.of_each(padded), sizes, strict=True)])

    def largest(self, number: float) -> float:
        """Return the largest of every rank's number."""
        return float(self.of_each(torch.tensor(number, dtype=torch.float64)).max())

    def values(self, value: Value) -> list[Value]:
        """Return every rank's value, which may be anything that can be pickled, in the order of the ranks."""
        if self.count == 1:
            return [value]
        values: list[Value] = [value] * self.count
        dist.all_gather_object(values, value)
        return values

    def first_choice(self, choice: int) -> int:
        """Return the first rank's choice, a small number."""
        if self.count == 1:
            return choice
        sent = torch.tensor(int(choice))
        dist.broadcast(sent, 0)
        return int(sent)

    def first_value(self, value: Value) -> Value:
        """Return the first rank's value, which may be anything that can be pickled."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]


ALONE = Ranks()
"""A process that trains a trial alone."""
