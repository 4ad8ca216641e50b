"""The modules of networks, data and training by their earlier paths, for the code of users who import them so.

`ablate.parts.norm` is the very module `ablate.networks.norm`. A module is imported when it is first used under either
path, never before, so that a plan with such paths still needs no torch. New code names the present paths.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NOW = {
    "augment": "ablate.data.augment",
    "compute": "ablate.training.compute",
    "data": "ablate.data.datasets",
    "files": "ablate.data.files",
    "folders": "ablate.data.folders",
    "formats": "ablate.data.formats",
    "imagenet_resnet": "ablate.networks.imagenet_resnet",
    "images": "ablate.data.images",
    "labels": "ablate.data.labels",
    "loader": "ablate.data.loader",
    "norm": "ablate.networks.norm",
    "quantize": "ablate.networks.quantize",
    "ranks": "ablate.training.ranks",
    "schedule": "ablate.training.schedule",
    "shard_norm": "ablate.training.shard_norm",
    "shards": "ablate.training.shards",
    "splits": "ablate.data.splits",
    "stream": "ablate.data.stream",
    "weights": "ablate.networks.weights",
    "wrn": "ablate.networks.wrn",
}
"""The name of a module in this package -> its path now. Those that are no longer one module are files beside this."""


class _EarlierPaths(MetaPathFinder, Loader):
    """Finds a module of `NOW` by its earlier path, and loads it by importing it by its present one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __name__ and name in NOW else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(NOW[spec.name.rpartition(".")[2]])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back its own spec, which Python has replaced by that of the earlier path."""
        if module.__spec__:
            module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_EarlierPaths())
