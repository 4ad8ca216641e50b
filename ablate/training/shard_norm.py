"""Batch norm by the statistics of each shard of a batch, or of the whole batch, on one process or on several."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ablate.training import torch_private
from ablate.training.ranks import Ranks

ALL_BUT_CHANNELS = (0, 2, 3)


class Partition(Protocol):
    """What a layer needs to know about the current batch: `ablate.training.shards.BatchPartition`."""

    shards: int
    ranks: Ranks
    images: int


class _Replacement(nn.BatchNorm2d):
    """A batch norm that takes over another's parameters and buffers, and so its names in a checkpoint."""

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        torch_private.take_over_state(self, layer)
        self.training = layer.training

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, times: float = 1.0) -> None:
        """Add `times` a step's statistics to the running ones, at the rate of torch's batch norm."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, current in ((self.running_mean, mean), (self.running_var, variance)):
            running.mul_(1 - rate).add_(current, alpha=rate * times)


class ShardNorm(_Replacement):
    """Batch norm that isn't synchronised: each shard is normalised by its own statistics.

    The running statistics follow the mean over the shards that have images. On ranks each follows its own shard,
    scaled so that the mean over all ranks, which `shards.average_running_statistics` takes, is the same. A rank whose
    shard is empty contributes nothing.
    """

    def __init__(self, layer: nn.BatchNorm2d, partition: Partition) -> None:
        super().__init__(layer)
        self.partition = partition

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if not self.training:
            return super().forward(input)
        ranks = self.partition.ranks
        shards = [shard for shard in input.tensor_split(self.partition.shards // ranks.count) if len(shard)]
        filled = len(shards) if ranks.count == 1 else min(self.partition.shards, self.partition.images)
        normalised, mean, variance = [], *self._zeros(input)
        for shard in shards:
            means, variances = self._zeros(input)
            # At a rate of 1 torch leaves the shard's own statistics there.
            normalised.append(
                functional.batch_norm(shard, means, variances, self.weight, self.bias, True, 1.0, self.eps)
            )
            mean, variance = mean + means, variance + variances
        self._update_running(mean, variance, times=ranks.count / filled)
        if not normalised:  # there is no image, and yet the gradients of scale and offset are to be 0, not missing
            return functional.batch_norm(input, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised)

    def _zeros(self, input: Tensor) -> tuple[Tensor, Tensor]:  # noqa: A002  (torch's own name)
        dtype = torch.promote_types(input.dtype, torch.float32)
        return tuple(input.new_zeros(2, self.num_features, dtype=dtype))


class SyncNorm(_Replacement):
    """Batch norm by the statistics of the whole batch, of which each rank has a shard; on any device.

    The ranks combine their counts, means and sums of squares about the mean, where sums of plain squares would cancel.

    Source: Chan, Golub and LeVeque (1979), equation 2.1; torch's SyncBatchNorm does the same, on GPUs only.
    """

    def __init__(self, layer: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(layer)
        self.ranks = ranks

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if not self.training:
            return super().forward(input)
        count, mean, variance = self._batch_statistics(input.detach())
        self._update_running(mean, variance * (count / (count - 1)))
        normalised: Tensor = _Normalised.apply(
            input, self.weight, self.bias, count, mean, variance, self.eps, self.ranks
        )
        return normalised

    @torch.no_grad()
    def _batch_statistics(self, shard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pixels of the whole batch, a scalar, and their mean and variance, (C,).

        Args:
            shard: (n, C, H, W), this rank's.
        """
        dtype = torch.promote_types(shard.dtype, torch.float32)
        pixels = shard[:, 0].numel()
        sent = shard.new_zeros(3, self.num_features, dtype=dtype)
        if pixels:  # of none, torch's are NaN
            sent[2], sent[1] = torch.var_mean(shard.to(dtype), ALL_BUT_CHANNELS, correction=0)
            sent[0] = pixels
        counts, means, variances = self.ranks.of_each(sent).unbind(1)
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count
        return count[0], mean, (counts * (variances + (means - mean) ** 2)).sum(0) / count


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) times weight plus bias; mean and variance are of all ranks' pixels."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        count: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, count, mean, variance)
        ctx.eps, ctx.ranks = eps, ranks
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias.

        Those of weight and bias are of this rank's pixels alone: averaging gradients over ranks adds them up.
        """
        x, weight, count, mean, variance = ctx.saved_tensors
        gradient, centred = gradients[0].to(mean.dtype), x.to(mean.dtype) - _on_channels(mean)
        scale = (variance + ctx.eps).rsqrt()
        sums = torch.stack([gradient.sum(ALL_BUT_CHANNELS), (gradient * centred).sum(ALL_BUT_CHANNELS)])
        of_weight, of_bias = (sums[1] * scale, sums[0]) if weight is not None else (None, None)
        of_x = None
        if ctx.needs_input_grad[0]:
            ctx.ranks.add_up(sums := sums.clone())
            gain = scale if weight is None else scale * weight
            of_mean, of_scale = sums / count
            of_x = gradient - _on_channels(of_mean) - centred * _on_channels(of_scale * scale**2)
            of_x = (of_x * _on_channels(gain)).to(x.dtype)
        return of_x, of_weight, of_bias, None, None, None, None, None


def _on_channels(values: Tensor) -> Tensor:
    return values[:, None, None]
