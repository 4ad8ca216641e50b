"""Imported once by the server that ranks are forked from: what each would take seconds to import."""

from __future__ import annotations

import pytest  # noqa: F401
import torch._dynamo
from torch import nn
from torch.nn.parallel import DistributedDataParallel  # noqa: F401

from ablate.data import folders, stream  # noqa: F401
from ablate.tasks import image_classification
from ablate.training import evaluation, loop  # noqa: F401

image_classification.warm()
torch.set_num_threads(1)  # no pool of threads: a process that has one is not to be forked
nn.Linear(1, 1)(torch.ones(1, 1)).backward()
