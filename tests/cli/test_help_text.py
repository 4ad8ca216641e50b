"""--help names every key of a command, once, with its levels, in a terminal's width."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import re
import sys
import types
import typing
from collections.abc import Iterator

import hydra
import pytest
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ablate import CONF, evaluate, export, replay, studies, track
from ablate.cli import help_text, keys
from ablate.cli.commands import COMMANDS
from ablate.core.identity import FOR_THE_PLAN_ONLY, flatten
from ablate.planning import schema, tuning
from analysis import report

SCHEMAS = {
    "run": ("schema", schema.Schema),
    "submit": ("schema", schema.Schema),
    "report": ("report_schema", report.ReportConfig),
    "studies": ("studies_schema", studies.StudiesConfig),
    "replay": ("replay_schema", replay.ReplayConfig),
    "evaluate": ("evaluate_schema", evaluate.EvaluateConfig),
    "export": ("export_schema", export.ExportConfig),
    "track": ("track_command_schema", track.TrackConfig),
}


def composed(name: str) -> Iterator[tuple[dict[str, str], dict]]:
    """The configs of a command that have every option of every group in one of them, with those options."""
    store, node = SCHEMAS[name]
    if node is schema.Schema:
        schema.register()
    else:
        ConfigStore.instance().store(name=store, node=node)
    groups = [key for key in shown(name).values() if key.options is not None and key.name != "preset"]
    columns = [[group.default, *(group.options or {})] for group in groups]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for row in itertools.zip_longest(*columns) if columns else [()]:
            chosen = {group.name: option or group.default for group, option in zip(groups, row, strict=True)}
            if (name, chosen.get("track")) == ("report", "off"):  # the report reads MLflow
                continue
            typed = [f"{group}={option}" for group, option in chosen.items()]
            yield chosen, hydra.compose(COMMANDS[name].config, typed)


def shown(name: str) -> dict[str, keys.Key]:
    return {key.name: key for key in keys.read(COMMANDS[name].config, (), COMMANDS[name].chosen)}


def test_every_command_has_a_schema_here():
    assert set(SCHEMAS) == set(COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "submit"])  # its keys are those of run
def test_the_help_has_every_key_of_the_config_and_no_other(name):
    known = shown(name)
    open_keys = {key.removesuffix(f".{keys.ANY_KEY}") for key in known if key.endswith(f".{keys.ANY_KEY}")}
    of_config, inside = set(), set()
    for chosen, config in composed(name):
        plain = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        for key, value in flatten(plain).items():
            parts = key.split(".")
            node = next((node for node in open_keys if key == node or key.startswith(f"{node}.")), None)
            if node:
                continue
            if value == chosen.get(parts[0]) and parts[-1] in ("kind", "sampler", "executor"):
                continue  # the option's own name
            if parts[-1] not in FOR_THE_PLAN_ONLY and not parts[-1].startswith("_"):
                of_config.add(key)
        of_config |= set(chosen)
        inside |= {node for node in open_keys if OmegaConf.select(config, node) is not None}
    if "preset" in known:
        of_config.add("preset")
    typable = {key for key in known if not key.endswith(f".{keys.ANY_KEY}")}
    absent = {"dataset", "design", "dispatch", "model", "norm", "recipe", "track", "tune", "preset"} - of_config
    assert of_config - absent == typable
    assert inside == open_keys


@pytest.mark.parametrize("name", COMMANDS)
def test_a_default_in_the_help_is_that_of_the_config(name):
    own = [key.name for key in shown(name).values() if key.options is not None]
    defaults = help_text._Defaults(COMMANDS[name].config, (), list(shown(name).values()))
    _, config = next(composed(name))
    for key in shown(name).values():
        if key.name in own or key.name.endswith(keys.ANY_KEY) or key.default == help_text.MISSING:
            continue
        if key.owners and config[key.name.partition(".")[0]].get(key.name.partition(".")[2]) is None:
            continue  # of another option
        value = OmegaConf.select(config, key.name)
        text = defaults.shown(key)
        expected = value.name if isinstance(value, enum.Enum) else value
        assert str(yaml.safe_load(text)) == str(expected) or float(text) == float(expected), key.name


@pytest.mark.parametrize("name", COMMANDS)
def test_levels_in_the_help_are_those_that_the_schema_allows(name):
    known, checked = shown(name), 0
    for key, kind in types_of(SCHEMAS[name][1]):
        if key in known and isinstance(kind, type) and issubclass(kind, enum.Enum):
            assert list(known[key].levels) == list(kind.__members__), key
            checked += 1
        elif key in known and kind is bool:
            assert known[key].levels == ("true", "false"), key
            checked += 1
    assert checked or name == "track"


def types_of(node: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key of a dataclass with its type, inside of other dataclasses too."""
    for name, kind in typing.get_type_hints(node).items():
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if dataclasses.is_dataclass(kind):
            yield from types_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def test_levels_that_no_type_holds_are_those_that_the_checks_allow(folder, say):
    known = shown("run")
    assert ", ".join(known["bits"].levels) in say("ablate.run", "bits=3")[2]
    assert ", ".join(known["model.padding"].levels) in say("ablate.run", "model.padding=none")[2]
    assert known["tune.metric"].levels == tuple(tuning.METRICS)


@pytest.mark.parametrize("program", ["ablate", "python"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_a_line_a_key_as_wide_as_a_terminal(monkeypatch, name, program):
    monkeypatch.setattr(sys, "argv", [program])
    text = help_text.of_command(name, [])
    assert max(map(len, text.splitlines())) <= help_text.COLUMNS
    for key in shown(name).values():
        assert key.words, key.name
        lines = [line for line in text.splitlines() if re.match(rf"  {re.escape(key.name)}(=| |$)", line)]
        assert len(lines) == 1, key.name
        assert lines[0].endswith(key.words), key.name
        for option, meaning in (key.options or {}).items():
            assert re.search(rf"^    {option} +{re.escape(meaning)}$", text, re.MULTILINE)
            assert meaning
    assert ("ablate " if program == "ablate" else "python -m ablate.") + name in text or name == "report"


def test_the_help_of_run_is_in_sections():
    sections = [line for line in help_text.of_command("run", []).splitlines() if re.fullmatch(r"[A-Z][a-z ]+", line)]
    assert sections == [
        *("What is compared", "Network", "Data", "Recipe", "Design", "Tuning", "Dispatch", "Tracking", "Seeds"),
        *("Where things go", "Flags"),
    ]


def test_an_option_of_ones_own_is_in_the_help_with_its_keys(folder, say):
    (folder / "mine/norm").mkdir(parents=True)
    (folder / "mine/norm/leaky.yaml").write_text("# Leaky ReLU\n_target_: a.b\nkind: soft # soft|hard: of the corner\n")
    status, out, err = say("ablate.run", "--help", "--config-dir=mine", "norm=leaky")
    assert (status, err) == (0, "")
    assert re.search(r"^    leaky +Leaky ReLU$", out, re.MULTILINE)
    assert re.search(r"^  norm=leaky ", out, re.MULTILINE)
    assert re.search(r"^  norm.kind=soft +\(leaky\) soft\|hard: of the corner$", out, re.MULTILINE)


def test_a_long_meaning_of_ones_own_goes_on_in_the_next_line(folder):
    (folder / "mine/norm").mkdir(parents=True)
    (folder / "mine/norm/leaky.yaml").write_text(f"# {'leaky ' * 20}\n_target_: a.b\nslope: 1 # {'slope ' * 20}\n")
    text = help_text.of_command("run", ["--config-dir=mine"])
    assert max(map(len, text.splitlines())) <= help_text.COLUMNS
    assert text.count("leaky ") >= 19


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "nowhere: there is no such folder; allowed: "), ({"nowhere/norm/x.yaml": "a: [\n"}, "while parsing")],
)
def test_what_is_wrong_with_a_folder_of_ones_own_is_one_line(folder, say, files, message):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    status, out, err = say("ablate.run", "--help", "--config-dir=nowhere")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_submit_shows_its_own_defaults():
    text = help_text.of_command("submit", [])
    assert re.search(r"^  dispatch=cluster ", text, re.MULTILINE)
    assert re.search(r"^  track=server ", text, re.MULTILINE)
