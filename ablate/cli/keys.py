"""The keys of a command, read from the files of conf/ and of the user's own folders, without composing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablate import CONF
from ablate.cli import commented_yaml
from ablate.cli.commented_yaml import Entry
from ablate.core.identity import FOR_THE_PLAN_ONLY

ANY_KEY = "KEY"
"""The last part of the name of a mapping that takes any key, such as `when.KEY`."""

_NO_SECTION = "Keys"


@dataclass(frozen=True)
class Key:
    """A key that can be typed: `recipe.lr`, or a group, such as `norm`.

    Attributes:
        default: its value as the file has it; the empty text where it has none.
        levels: what can be typed, of a key with few levels. Upper case is a kind: N, FILE, FOLDER, STUDY, TRIAL.
        owners: the options of its group that have it; empty where all do.
        options: of a group, option -> meaning.
    """

    name: str
    default: str
    meaning: str
    levels: tuple[str, ...]
    section: str
    owners: tuple[str, ...] = ()
    options: Mapping[str, str] | None = None

    @property
    def words(self) -> str:
        """What the key means, for people: without the kind, where that is all that can be typed."""
        is_kind = len(self.levels) == 1 and self.levels[0].isupper()
        return self.meaning.removeprefix(f"{self.levels[0]}: ") if is_kind else self.meaning


def read(config: str, own: Sequence[Path] = (), chosen: Mapping[str, str] | None = None) -> list[Key]:
    """Return the keys of a command in the order of its sections.

    Args:
        config: the command's file of conf/, without ending.
        own: further folders with groups, as --config-dir names them.
        chosen: group -> option, where another than the default was typed: its values are the defaults then.

    Raises:
        OSError: a file cannot be read.
        yaml.YAMLError: a file is no YAML.
    """
    keys: list[Key] = []
    for entry in commented_yaml.read(CONF / f"{config}.yaml").entries:
        section = entry.heading or _NO_SECTION
        if entry.path[0] == "defaults":
            if len(entry.path) == 2 and entry.text and not entry.path[1].startswith("override "):
                keys += _group(entry, section, (CONF, *own), chosen or {})
        elif entry.path[0] != "hydra":
            keys += _typable(entry, section)
    order = list(dict.fromkeys(key.section for key in keys))
    return sorted(keys, key=lambda key: order.index(key.section))


def options(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return option -> file of a group; where two folders have an option, the first counts."""
    files = (file for folder in reversed(folders) for file in sorted((folder / group).glob("*.yaml"), reverse=True))
    return dict(reversed({file.stem: file for file in files}.items()))


def _group(entry: Entry, section: str, folders: Sequence[Path], chosen: Mapping[str, str]) -> Iterator[Key]:
    """Yield a group, and then the keys of all of its options, each with the default of the chosen option."""
    group = entry.path[1]
    files = options(group, folders)
    titles = {option: _first_sentence(commented_yaml.read(file).title) for option, file in files.items()}
    default = chosen.get(group, entry.text)
    yield Key(group, default, entry.comment, tuple(files), section, options=titles)
    if entry.text == "null":  # an option is no part of the config then: a preset is read by the plan
        return
    of_options = {option: _keys_of_option(group, option, folders) for option in files}
    order = sorted(of_options, key=lambda option: option != default)
    for name in dict.fromkeys(name for option in order for name in of_options[option]):
        owners = tuple(option for option in of_options if name in of_options[option])
        versions = [of_options[option][name] for option in order if name in of_options[option]]
        first = next((version for version in versions if version.meaning), versions[0])
        yield replace(
            first,
            default=versions[0].default,
            section=section,
            owners=owners if len(owners) < len(files) else (),
        )


def files_of_option(group: str, option: str, folders: Sequence[Path]) -> list[Path]:
    """Return the file of an option after those of the options of its group that its defaults name."""
    file = options(group, folders).get(option)
    if file is None:
        return []
    paths = (entry.path for entry in commented_yaml.read(file).entries if entry.path[0] == "defaults")
    names = (path[1] for path in paths if len(path) == 2 and path[1] not in ("_self_", option))
    return [*(other for name in names for other in files_of_option(group, name, folders)), file]


def _keys_of_option(group: str, option: str, folders: Sequence[Path]) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for file in files_of_option(group, option, folders):
        for entry in commented_yaml.read(file).entries:
            if entry.path[0] == "defaults" or (entry.text == file.stem and len(entry.path) == 1):
                continue  # `kind: full` of full.yaml is the option itself
            for key in _typable(replace(entry, path=(group, *entry.path)), ""):
                keys[key.name] = key if key.meaning or key.name not in keys else _with_words_of(keys[key.name], key)
    return keys


def _with_words_of(before: Key, key: Key) -> Key:
    return replace(key, meaning=before.meaning, levels=key.levels or before.levels)


def _typable(entry: Entry, section: str) -> Iterator[Key]:
    """Yield the key of an entry, unless it is none that people type."""
    inner = [part for part in entry.path if part in FOR_THE_PLAN_ONLY or part.startswith("_")]
    if inner:
        is_mapping = (inner == [entry.path[-1]] and not entry.text) or entry.text.startswith("{")
        if is_mapping and inner[-1] in FOR_THE_PLAN_ONLY:
            yield Key(f"{'.'.join(entry.path)}.{ANY_KEY}", "", entry.comment, (), section)
        return
    if not entry.text:  # its keys follow
        return
    name, default = ".".join(entry.path), entry.text
    if default == "{}":
        name, default = f"{name}.{ANY_KEY}", ""
    levels = entry.levels or (("true", "false") if default in ("true", "false") else ())
    yield Key(name, default, entry.comment, levels, section)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".")
