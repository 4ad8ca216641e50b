"""A trained network in a form that leaves the building: `python -m ablate.export trial=ID format=packed|onnx|c`."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate import __version__
from ablate.cli import app
from ablate.core import urls
from ablate.core.errors import UsageError
from ablate.core.events import Done
from ablate.core.study import Cell, Trial
from ablate.driver import trained
from ablate.planning import parts
from ablate.store import manifest, run_directory
from ablate.tracking import address
from ablate.training import build

Format = Enum("Format", ["packed", "onnx", "c"])

BEST = "best"
EXAMPLES = 10
"""Test images for C's test program, and to hold the folded network against the trained one."""


@dataclass
class WhereConfig:
    uri: str = MISSING


@dataclass
class ExportConfig:
    """The root of conf/export.yaml."""

    trial: str | None = None
    study: str | None = None
    format: Format = MISSING
    name: str = MISSING
    to: str = MISSING
    runs: str = MISSING
    register: str | None = None
    track: WhereConfig = field(default_factory=WhereConfig)


def main() -> None:
    ConfigStore.instance().store(name="export_schema", node=ExportConfig)
    app.main("export", export, sweeps=False)


def export(typed: app.Composed) -> int:
    """Write the files, and register the model where one asks for it; return exit status 0."""
    config = app.plain(typed, ExportConfig)
    runs = Path(config["runs"])
    trial_id = _trial_id(config, runs)
    its_config, directory = trained.find(trial_id, runs)
    parts.check_targets(its_config)
    _check_name(config)
    if config["register"] is not None:
        if not config["register"] or set(config["register"]) & set("/:"):
            raise UsageError(f"register={config['register']}: allowed: a name without / and :")
        address.check(config["track"]["uri"])
    folder = Path(config["to"]) / trial_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(config, trial_id, its_config, directory, folder)
    except OSError as error:
        raise UsageError(f"to={config['to']}: cannot be written: {error.strerror}; allowed: a folder") from error
    return 0


def _trial_id(config: Mapping[str, Any], runs: Path) -> str:
    if config["trial"] is None:
        raise UsageError("trial=: allowed: the id of a finished trial, or best with study=NAME")
    if config["trial"] != BEST:
        if config["study"] is not None:
            raise UsageError(f"trial={config['trial']} study={config['study']}: allowed: study= with trial=best alone")
        return str(config["trial"])
    if config["study"] is None:
        raise UsageError(f"trial=best: of which study? allowed: study={', '.join(manifest.names(runs)) or 'NAME'}")
    study = manifest.load(config["study"], runs).study
    final = [one for one in study.trials if not one.tuning]
    scores = {}
    for one in final:
        end = run_directory.outcome(one, runs)
        if isinstance(end, Done):
            scores[one.trial_id] = end.metrics.get("valid_acc", math.nan)
    if not scores:
        raise UsageError(f"trial=best study={study.name}: none of its {len(final)} trials is done")
    if any(map(math.isnan, scores.values())):
        raise UsageError(
            f"trial=best study={study.name}: its trials set no images aside to choose by (dataset.valid_fraction=0), "
            "and a choice by test accuracy would spoil it; allowed: trial=ID"
        )
    return max(scores, key=lambda one: scores[one])


def _check_name(config: Mapping[str, Any]) -> None:
    from ablate.deploy.c_source import IDENTIFIER

    if not IDENTIFIER.fullmatch(config["name"]):
        raise UsageError(f"name={config['name']}: allowed: up to 40 lower-case letters, digits and _, a letter first")


def _write(
    config: Mapping[str, Any], trial_id: str, its_config: Mapping[str, Any], directory: Path, folder: Path
) -> None:
    import torch

    from ablate.data.labels import labels
    from ablate.data.loader import on_device
    from ablate.deploy import c_source, onnx_file, packed
    from ablate.deploy.card import Card
    from ablate.deploy.fold import folded

    network, _, classes = build.trained_network(its_config, directory)
    test = on_device(build.dataset(its_config).test, "cpu")
    images, truth = next(iter(test.batches(EXAMPLES)))
    end = run_directory.outcome(Trial(Cell(()), its_config["seed"], its_config, {}, trial_id), Path(config["runs"]))
    if not isinstance(end, Done):
        raise UsageError(f"trial={trial_id}: it has not finished; say its line again, then this one")
    card = Card(
        trial_id=trial_id,
        config=its_config,
        shape=tuple(images.shape[1:]),
        labels=labels(its_config["dataset"]["_target_"], classes),
        test_acc=end.metrics["test_acc"],
        made_with=__version__,
    )
    made = folded(network)
    with torch.inference_mode():
        logits = made(images.float())
        off = (logits - network(images.float())).abs().max().item()
    stem = folder / config["name"]
    written = []
    if config["format"] == "packed":
        written = [stem.with_suffix(".safetensors")]
        packed.write(made, card, written[0])
    elif config["format"] == "c":
        written = c_source.write(made, card, folder, config["name"], c_source.Examples(images, truth, logits))
    if config["format"] == "onnx" or config["register"] is not None:
        written.append(stem.with_suffix(".onnx"))
        onnx_file.write(made, card, written[-1])
    _say(f"{trial_id}: {trained.words(its_config)}, test accuracy {100 * card.test_acc:.2f}%")
    for path in written:
        _say(f"{path}  {path.stat().st_size:,} bytes")
    _say(f"logits within {off:.1g} of the trained network's, on {len(images)} test images")
    if config["register"] is not None:
        from ablate.tracking import registry

        where = urls.absolute(config["track"]["uri"])
        version = registry.register(where, config["register"], written[-1], trial_id, images[:1].float().numpy())
        _say(f"registered as {config['register']}, version {version}. To serve it:")
        model = f"models:/{config['register']}/{version}"
        _say(f"MLFLOW_TRACKING_URI={where} mlflow models serve --env-manager local -m {model}")
    if config["format"] == "c":
        source, check, program = (shlex.quote(f"{stem}{ending}") for ending in (".c", "_test.c", "_test"))
        _say(f"Next: cc -std=c99 -O2 {source} {check} -lm -o {program} && {program}")
    to_score = written[0] if config["format"] != "c" else stem.with_suffix(".c")
    _say(f"Next: {shlex.join(['python', '-m', 'ablate.evaluate', f'weights={to_score}'])}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
