"""Export a trained network: `python -m ablate.export trial=ID format=packed|onnx|c`."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate import __version__
from ablate.cli import app
from ablate.core import folders, invocation, urls
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.events import Done
from ablate.core.study import Cell, Trial
from ablate.driver import earlier_code, trained
from ablate.planning import parts, trusted
from ablate.store import manifest, run_directory
from ablate.tracking import address
from ablate.training import build

if TYPE_CHECKING:  # torch and numpy are imported when a network is read
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from ablate.deploy.c_source import Examples
    from ablate.deploy.card import Card

Format = Enum("Format", ["packed", "onnx", "c"])

BEST = "best"
EXAMPLES = 10
"""Test images for C's test program, and to compare the folded network with the trained one."""


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
    trust: Any = None
    track: WhereConfig = field(default_factory=WhereConfig)


def main() -> None:
    ConfigStore.instance().store(name="export_schema", node=ExportConfig)
    app.main("export", export, sweeps=False)


def export(typed: app.Composed) -> int:
    """Write the files of a trained network, and register the model if requested; return exit status 0.

    Raises:
        UsageError: a value of the line is not allowed, or there is no such trained trial.
    """
    options = _options(app.plain(typed, ExportConfig))
    trial_id = _trial_id(options)
    trust = trusted.of_line(options.trust, typed.folders)
    config, directory = trained.find_trained(trial_id, Path(options.runs), trust)
    trial_id = directory.name  # only its beginning may have been typed
    parts.check_targets(config)
    earlier_code.warn_if_edited(trial_id, config)
    _check_names(options)
    folder = Path(options.to) / trial_id
    folders.check_writable("to", options.to, folder)
    folder.mkdir(parents=True, exist_ok=True)
    _export(options, trial_id, config, directory, folder)
    return 0


def _options(config: Config) -> ExportConfig:
    nested = {"format": Format[config["format"]], "track": WhereConfig(config["track"]["uri"])}
    return ExportConfig(**{**config, **nested})


def _trial_id(options: ExportConfig) -> str:
    """Return the trial that is meant: the one named, or the study's best by validation accuracy."""
    if options.trial is None:
        raise UsageError("trial=: allowed: the id of a finished trial, or best with study=NAME")
    if options.trial != BEST:
        if options.study is not None:
            raise UsageError(f"trial={options.trial} study={options.study}: allowed: study= with trial=best alone")
        return options.trial
    runs = Path(options.runs)
    if options.study is None:
        raise UsageError(f"trial=best: of which study? allowed: study={', '.join(manifest.names(runs)) or 'NAME'}")
    study = manifest.load(options.study, runs).study
    final = [trial for trial in study.trials if not trial.tuning]
    outcomes = {trial.trial_id: run_directory.outcome(trial, runs) for trial in final}
    valid_accs = {
        trial_id: outcome.metrics.get("valid_acc", math.nan)
        for trial_id, outcome in outcomes.items()
        if isinstance(outcome, Done)
    }
    if not valid_accs:
        raise UsageError(f"trial=best study={study.name}: none of its {len(final)} trials is done")
    if any(map(math.isnan, valid_accs.values())):
        raise UsageError(
            f"trial=best study={study.name}: its trials set no images aside to choose by (dataset.valid_fraction=0), "
            "and a choice by test accuracy would spoil it; allowed: trial=ID"
        )
    return max(valid_accs, key=lambda trial_id: valid_accs[trial_id])


def _check_names(options: ExportConfig) -> None:
    from ablate.deploy.c_source import IDENTIFIER

    if not IDENTIFIER.fullmatch(options.name):
        raise UsageError(f"name={options.name}: allowed: up to 40 lower-case letters, digits and _, a letter first")
    if options.register is not None:
        if not options.register or set(options.register) & set("/:"):
            raise UsageError(f"register={options.register}: allowed: a name without / and :")
        address.check(options.track.uri)


def _export(options: ExportConfig, trial_id: str, config: Config, directory: Path, folder: Path) -> None:
    """Fold the trained network, write it in the requested form, and say what was written."""
    import torch

    from ablate.data.labels import labels as class_labels
    from ablate.data.loader import on_device
    from ablate.deploy.c_source import Examples
    from ablate.deploy.fold import folded

    network, _, classes = build.trained_network(config, directory)
    data = build.dataset(config)
    test = on_device(data.test, "cpu")
    images, labels = next(iter(test.batches(EXAMPLES)))
    names = getattr(data, "class_names", None) or class_labels(config["dataset"]["_target_"], classes)
    card = _card(options, trial_id, config, tuple(images.shape[1:]), names)
    folded_network = folded(network)
    with torch.inference_mode():
        logits = folded_network(images.float())
        largest_difference = (logits - network(images.float())).abs().max().item()
    written = _write(options, folded_network, card, folder, Examples(images, labels, logits))
    _say(f"{trial_id}: {trained.network_in_words(config)}, test accuracy {100 * card.test_acc:.2f}%")
    for path in written:
        _say(f"{path}  {path.stat().st_size:,} bytes")
    _say(f"logits within {largest_difference:.1g} of the trained network's, on {len(images)} test images")
    if options.register is not None:
        _register(options, options.register, written[-1], trial_id, images[:1].float().numpy())
    _say_next(options, written[0], folder / options.name)


def _card(options: ExportConfig, trial_id: str, config: Config, shape: tuple[int, ...], names: tuple[str, ...]) -> Card:
    from ablate.deploy.card import Card

    outcome = run_directory.outcome(Trial(Cell(()), config["seed"], config, {}, trial_id), Path(options.runs))
    if not isinstance(outcome, Done):
        raise UsageError(f"trial={trial_id}: it has not finished; say its line again, then this one")
    return Card(
        trial_id=trial_id,
        config=config,
        shape=shape,
        labels=names,
        test_acc=outcome.metrics["test_acc"],
        made_with=__version__,
    )


def _write(options: ExportConfig, network: nn.Module, card: Card, folder: Path, examples: Examples) -> list[Path]:
    """Write the network in the requested form, and as ONNX too if it is to be registered; return the files."""
    from ablate.deploy import c_source, onnx_file, packed

    stem = folder / options.name
    written = []
    if options.format is Format.packed:
        written = [stem.with_suffix(".safetensors")]
        packed.write(network, card, written[0])
    elif options.format is Format.c:
        written = c_source.write(network, card, folder, options.name, examples)
    if options.format is Format.onnx or options.register is not None:
        written.append(stem.with_suffix(".onnx"))
        onnx_file.write(network, card, written[-1])
    return written


def _register(options: ExportConfig, name: str, file: Path, trial_id: str, example: NDArray[np.float32]) -> None:
    from ablate.tracking import registry

    uri = urls.absolute(options.track.uri)
    version = registry.register(uri, name, file, trial_id, example)
    _say(f"registered as {name}, version {version}. To serve it:")
    _say(f"MLFLOW_TRACKING_URI={uri} mlflow models serve --env-manager local -m models:/{name}/{version}")


def _say_next(options: ExportConfig, first_file: Path, stem: Path) -> None:
    if options.format is Format.c:
        source, check, program = (shlex.quote(f"{stem}{ending}") for ending in (".c", "_test.c", "_test"))
        _say(f"Next: cc -std=c99 -O2 {source} {check} -lm -o {program} && {program}")
    to_score = first_file if options.format is not Format.c else stem.with_suffix(".c")
    names = [options.trust] if isinstance(options.trust, str) else options.trust or []
    trust = [f"trust=[{','.join(names)}]" if len(names) > 1 else f"trust={names[0]}"] if names else []
    _say(f"Next: {invocation.command('evaluate')} {shlex.join([f'weights={to_score}', *trust])}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
