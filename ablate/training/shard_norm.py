"""Batch norms for a batch that is dealt in shards: by the moments of each, or of all of them wherever they are."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ablate.training.ranks import Ranks

ALL_BUT_CHANNELS = (0, 2, 3)


class Dealing(Protocol):
    """What a layer asks about the batch in hand: `ablate.training.shards.Deal`."""

    shards: int
    ranks: Ranks
    images: int


class _InPlaceOf(nn.BatchNorm2d):
    """Takes over another batch norm's parameters and buffers, and so its place in a checkpoint."""

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self._parameters, self._buffers, self.training = layer._parameters, layer._buffers, layer.training

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, times: float = 1.0) -> None:
        """Take so many times a step's moments into the running ones, at the rate of torch's batch norm."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, moment in ((self.running_mean, mean), (self.running_var, variance)):
            running.mul_(1 - rate).add_(moment, alpha=rate * times)


class ShardNorm(_InPlaceOf):
    """Batch norm that isn't synchronised: each shard is normalised by its own moments.

    The running moments follow the mean over the shards that have images. On ranks each follows its own shard, so
    many times over that the mean over all ranks, which `shards.settle` makes, is the same; one whose shard is empty
    takes part with nothing.
    """

    def __init__(self, layer: nn.BatchNorm2d, deal: Dealing) -> None:
        super().__init__(layer)
        self.deal = deal

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if not self.training:
            return super().forward(input)
        ranks = self.deal.ranks
        shards = [shard for shard in input.tensor_split(self.deal.shards // ranks.count) if len(shard)]
        filled = len(shards) if ranks.count == 1 else min(self.deal.shards, self.deal.images)
        made, mean, variance = [], *self._zeros(input)
        for shard in shards:
            means, variances = self._zeros(input)
            # At a rate of 1 torch leaves the shard's own moments there.
            made.append(functional.batch_norm(shard, means, variances, self.weight, self.bias, True, 1.0, self.eps))
            mean, variance = mean + means, variance + variances
        self._follow(mean, variance, times=ranks.count / filled)
        if not made:  # nothing to normalise, and yet the gradients of scale and offset are to be 0, not missing
            return functional.batch_norm(input, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        return made[0] if len(made) == 1 else torch.cat(made)

    def _zeros(self, input: Tensor) -> tuple[Tensor, Tensor]:  # noqa: A002  (torch's own name)
        kind = torch.promote_types(input.dtype, torch.float32)
        return tuple(input.new_zeros(2, self.num_features, dtype=kind))


class SyncNorm(_InPlaceOf):
    """Batch norm by the moments of the whole batch, each rank having a shard of it; on any device.

    Each rank's count, mean and sum of squares about it are put together, where sums of plain squares would cancel.

    Source: Chan, Golub and LeVeque (1979), equation 2.1; torch's SyncBatchNorm does the same, on GPUs only.
    """

    def __init__(self, layer: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(layer)
        self.ranks = ranks

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if not self.training:
            return super().forward(input)
        count, mean, variance = self._moments(input.detach())
        self._follow(mean, variance * (count / (count - 1)))
        made: Tensor = _Normalised.apply(input, self.weight, self.bias, count, mean, variance, self.eps, self.ranks)
        return made

    @torch.no_grad()
    def _moments(self, mine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, C, H, W) -> pixels of the whole batch, a scalar, and (C,) mean and variance of them."""
        kind = torch.promote_types(mine.dtype, torch.float32)
        pixels = mine[:, 0].numel()
        told = mine.new_zeros(3, self.num_features, dtype=kind)
        if pixels:  # of none, torch's are NaN
            told[2], told[1] = torch.var_mean(mine.to(kind), ALL_BUT_CHANNELS, correction=0)
            told[0] = pixels
        counts, means, variances = self.ranks.of_each(told).unbind(1)
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count
        return count[0], mean, (counts * (variances + (means - mean) ** 2)).sum(0) / count


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) times weight plus bias; all ranks' pixels made the mean and the variance."""

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
        """The weight's and bias's gradients are those of this rank's pixels: who averages gradients adds them up."""
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
