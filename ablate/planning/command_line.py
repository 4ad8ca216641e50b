"""The line that trains one given trial."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from ablate import CONF
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import ADDED_LATER, CODE, flatten, values_for_part
from ablate.core.levels import Level, show
from ablate.planning import parts, schema
from ablate.planning.composition import interpolated

_READ_AS_ANOTHER_TYPE = re.compile(r"(?i)null|true|false|[+-]?(nan|inf|[\d_.]+(e[+-]?\d+)?)")


def line(config: Config) -> str:
    """Return what to type after `python -m ablate.run` for the one trial with this config.

    The YAML of a user's own parts is looked for in the folders of the working directory.

    Raises:
        UsageError: a class or function that it names is a user's own and has no option in conf/, nor there.
    """
    folder, typed = _words(config)
    return shlex.join([*([f"--config-dir={folder}"] if folder else []), *typed])


def differences(config: Config) -> list[str]:
    """Return the words of its line that a line without any words does not mean anyhow."""
    default = set(_words(_composed([], None))[1])
    return [word for word in _words(config)[1] if word not in default]


def values_of_option(group: str, config: Config) -> Config:
    """Return the values in the YAML of the option that a config has in a group, as they are there: uninterpolated.

    Raises:
        UsageError: the YAML is in neither conf/ nor a folder of the working directory.
    """
    for folder in (CONF, *_own_folders()):
        if option := _option(folder / group, config[group]):
            values = OmegaConf.to_container(OmegaConf.load(folder / group / f"{option}.yaml"))
            assert isinstance(values, dict)
            return {str(key): value for key, value in values.items()}
    raise UsageError(f"its {group}, {config[group]['_target_']}, is none of conf/'s")


def _words(config: Config) -> tuple[str | None, list[str]]:
    """Return the folder of the options that are a user's own, if there are any, and the words of a config's line."""
    folder, options = _options(config)
    typed = [f"{group}={option}" for group, option in options.items()]
    typed += [f"{name}={_quoted(config[name])}" for name in ("bits", "depth", "width", "seed")]
    whole = _composed(typed, folder)
    composed = flatten(whole)
    in_effect = {key: value for key, value in ADDED_LATER.items() if key in composed} | flatten(config)
    for key, value in in_effect.items():
        if key == "dataset.content" or key.endswith(f".{CODE}"):  # the plan makes them from the files
            continue
        if key not in composed or composed[key] != value:
            typed.append(f"{'' if key in composed else '+'}{key}={_quoted(value)}")
    of_options = flatten({group: values_for_part(whole[group]) for group in options})
    kept = {*flatten(config), *ADDED_LATER, "dataset.content"}
    typed += [f"~{key}" for key in of_options if key not in kept]
    return folder, typed


def _options(config: Config) -> tuple[str | None, dict[str, str]]:
    """Return the folder that has options of a user's own, and group -> the option that the config's line names."""
    options = {group: _option(CONF / group, config[group]) for group in parts.GROUPS_WITH_A_TARGET}
    lacking = [group for group, option in options.items() if option is None]
    for folder in _own_folders() if lacking else ():
        own = {group: _option(folder / group, config[group]) for group in lacking}
        if all(own.values()):
            return os.path.relpath(folder), {group: str(option or own[group]) for group, option in options.items()}
    if lacking:
        raise UsageError(f"its {lacking[0]}, {config[lacking[0]]['_target_']}, is none of conf/'s")
    return None, {group: str(option) for group, option in options.items()}


def _own_folders() -> list[Path]:
    """Return the folders in the working directory that look like one for --config-dir."""
    here = [path for path in sorted(Path.cwd().iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [path for path in here if any((path / group).is_dir() for group in parts.GROUPS_WITH_A_TARGET)]


def _option(folder: Path, values: Config) -> str | None:
    """Return, of the options with the same target, the one that has most values in common with these; None of none."""
    alike = {}
    for file in sorted(folder.glob("*.yaml")):
        option = OmegaConf.to_container(OmegaConf.load(file))
        if isinstance(option, dict) and option.get("_target_") == values["_target_"]:
            alike[file.stem] = sum(option.get(key) == value for key, value in values.items())
    return max(alike, key=lambda name: alike[name]) if alike else None


def _composed(typed: Sequence[str], folder: str | None) -> Config:
    schema.register()
    searched = [f"hydra.searchpath=['file://{Path(folder).absolute()}']"] if folder else []
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return interpolated(hydra.compose("config", [*searched, *typed]))


def _quoted(value: Level) -> str:
    """Return a value as Hydra's grammar takes it: anything but plain words in quotes.

    >>> [_quoted(value) for value in (0.1, None, "data/x", "my images")]
    ['0.1', 'null', 'data/x', "'my images'"]
    >>> [_quoted(value) for value in ("null", "1e3")]
    ["'null'", "'1e3'"]
    """
    text = show(value)
    if not isinstance(value, str) or (re.fullmatch(r"[\w./:-]+", text) and not _READ_AS_ANOTHER_TYPE.fullmatch(text)):
        return text
    return "'" + text.replace("'", r"\'") + "'"
