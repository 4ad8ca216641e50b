"""The code that a config may name which was read from a file: ours, and what the user of this command named.

Hydra calls whatever a `_target_` names, anywhere in a config, and a hook is called by its path. In a line, or in the
YAML of a folder that the line names, these are the user's own words. In a file that somebody else may have written (a
run directory's config, the card of a model) they are data: they are checked here before anything is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.core.config import Config
from ablate.core.errors import UsageError

TARGET = "_target_"

HOOKS = ("describe", "check", "prepare", "look", "identify", "multiply_adds", "parameters", "kept_maps")
"""Keys of a group that name a function by its path."""

OURS = frozenset(
    {
        *(
            f"ablate.data.datasets.{name}"
            for name in ["cifar10", "cifar100", "digits", "fashion_mnist", "imagenet32", "mnist", "svhn", "synthetic"]
        ),
        *("ablate.data.folders.image_folder", "ablate.data.folders.imagenet"),
        *("ablate.networks.imagenet_resnet.ImageNetResNet", "ablate.networks.wrn.WideResNet"),
        *(f"ablate.networks.norm.{name}" for name in ["bn", "gn", "ln", "none", "srelu"]),
        "ablate.data.checks.synthetic",
        *(f"ablate.data.files.{name}" for name in ("check", "prepare", "look", "identify")),
        *(f"ablate.data.folders.{name}" for name in ("check", "prepare", "look", "identify")),
        *(
            f"ablate.networks.norm_description.{name}"
            for name in ("batch_norm", "group_norm", "layer_norm", "no_norm", "shifted_relu")
        ),
        *("ablate.networks.resnet_description.imagenet_resnet", "ablate.networks.resnet_description.wide_resnet"),
    }
)
"""The paths that the YAML of our own groups names. A longer path through one of our modules reaches what it imports,
such as `subprocess`, so each is listed in full."""


@dataclass(frozen=True)
class Trust:
    """What the user of a command named beside ours.

    modules: names in full, of `trust=`; every class and function directly in them may be named.
    paths: of classes and functions, from the YAML files of a folder that the line names.
    """

    modules: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    def allows(self, path: str) -> bool:
        """Return whether a file may name the class or function with this path, package.module.Name."""
        return path in OURS or path in self.paths or path.rpartition(".")[0] in self.modules

    def check(self, config: Config, source: str) -> None:
        """Refuse a config that was read from `source`, where calling its parts would do what nobody here asked for.

        Raises:
            UsageError: it names code that is neither ours nor trusted, or a value is to be read from elsewhere.
        """
        for key, value in _texts(config, ""):
            name = key.rpartition(".")[2]
            if name in (TARGET, *HOOKS) and not self.allows(str(value)):
                module = str(value).rpartition(".")[0] or "MODULE"
                raise UsageError(
                    f"{source}: its {key} names {value}, code that would be run; allowed, if you know who wrote it: "
                    f"trust={module}, or --config-dir=FOLDER with the YAML that names it"
                )
            if "${" in value:
                raise UsageError(f"{source}: its {key} is {value}; allowed: a value, which is read from nowhere else")


def modules_to_trust(config: Config) -> list[str]:
    """Return the modules of the parts that a trial's config names and that are not ours: what `trust=` has to name."""
    return sorted({path.rpartition(".")[0] for path in paths_in(config) if path not in OURS})


TRUSTS_OURS = Trust()
"""The trust of a command that named nothing."""


def paths_in(config: Any) -> Iterator[str]:
    """Yield the paths of all classes, functions and hooks that a config names."""
    yield from (value for key, value in _texts(config, "") if key.rpartition(".")[2] in (TARGET, *HOOKS))


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the value of each string, however deep."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
            yield from _texts(name, key)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value
