"""A network and a data set as users write them: they draw from Python's, NumPy's and torch's global generators."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

from ablate.data.splits import Dataset, Split

NETWORK = {"_target_": "tests.support.own_parts.Own", "_partial_": True}
DATA = {"_target_": "tests.support.own_parts.images", "valid_fraction": 0.1}


class Own(nn.Module):
    """A convolution with torch's own initial weights, dropout, and noise in training."""

    def __init__(self, *, arm, depth, width, bits, channels, classes, generator):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(channels, 8, 3, padding=1), nn.Linear(8, classes)
        self.dropout = nn.Dropout(0.3)

    def forward(self, images):
        maps = self.dropout(torch.relu(self.conv(images))).mean((2, 3))
        if self.training:
            maps = maps + 0.1 * random.random() + 0.1 * np.random.rand()
        return self.linear(maps)


def images(*, valid_fraction):
    """Return noise in classes, drawn anew at each call."""

    def split(n):
        return Split(np.random.randint(0, 256, (n, 1, 8, 8)).astype(np.uint8), np.arange(n) % 4)

    return Dataset(split(200), split(20), split(50), 4)
