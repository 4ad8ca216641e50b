"""The line that trains one given trial."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import hydra
from omegaconf import OmegaConf

from ablate import CONF
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import ADDED_LATER, CODE, flatten
from ablate.core.levels import Level, show
from ablate.planning import parts, schema
from ablate.planning.composition import interpolated


def line(config: Config) -> str:
    """Return what to type after `python -m ablate.run` for the one trial with this config.

    Raises:
        UsageError: a class or function that it names is a user's own and has no option in conf/.
    """
    typed = [f"{group}={_option(group, config[group])}" for group in parts.GROUPS_WITH_A_TARGET]
    typed += [f"{name}={show(config[name])}" for name in ("bits", "depth", "width", "seed")]
    composed = flatten(_composed(typed))
    in_effect = {key: value for key, value in ADDED_LATER.items() if key in composed} | flatten(config)
    for key, value in in_effect.items():
        if key == "dataset.content" or key.endswith(f".{CODE}"):  # the plan makes them from the files
            continue
        if key not in composed or composed[key] != value:
            typed.append(f"{'' if key in composed else '+'}{key}={_quoted(value)}")
    return shlex.join(typed)


def _option(group: str, values: Config) -> str:
    """Return, of the group's options with the same target, the one that has most values in common with these."""
    alike = {}
    for file in sorted((CONF / group).glob("*.yaml")):
        option = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(option, dict)
        if option["_target_"] == values["_target_"]:
            alike[file.stem] = sum(option.get(key) == value for key, value in values.items())
    if not alike:
        raise UsageError(f"its {group}, {values['_target_']}, is none of conf/'s")
    return max(alike, key=lambda name: alike[name])


def _composed(typed: Sequence[str]) -> Config:
    schema.register()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return interpolated(hydra.compose("config", list(typed)))


def _quoted(value: Level) -> str:
    """Return a value as Hydra's grammar takes it: anything but plain words in quotes.

    >>> [_quoted(value) for value in (0.1, None, "data/x", "my images")]
    ['0.1', 'null', 'data/x', "'my images'"]
    """
    text = show(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./:-]+", text):
        return text
    return "'" + text.replace("'", r"\'") + "'"
