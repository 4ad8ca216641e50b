"""Test accuracy of a trained network: `python -m ablate.evaluate trial=ID`, or `weights=FILE`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import MISSING
from rich.console import Console

from ablate.cli import app
from ablate.core import hardware
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import values_for_part
from ablate.core.levels import show
from ablate.data import folders
from ablate.driver import earlier_code, trained, trained_network
from ablate.driver.trained_network import Trained
from ablate.planning import parts, trusted

Device = Enum("Device", ["auto", "cpu", "cuda"])


@dataclass
class EvaluateConfig:
    """The root of conf/evaluate.yaml."""

    weights: str | None = None
    trial: str | None = None
    runs: str = MISSING
    dataset: Any = MISSING
    device: Device = MISSING
    trust: Any = None


def main() -> None:
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    app.main("evaluate", evaluate, sweeps=False)


def evaluate(typed: app.Composed) -> int:
    """Print what the network is, and its test accuracy; return exit status 0."""
    config = app.plain(typed, EvaluateConfig)
    if (config["weights"] is None) == (config["trial"] is None):
        raise UsageError(
            f"weights={show(config['weights'])} trial={show(config['trial'])}: allowed: one of them, trial=ID of a "
            "finished trial, or weights=FILE: what ablate.export wrote, or the authors' CIFAR10_allparams.mat"
        )
    trust = trusted.of_line(config["trust"], typed.folders)
    if config["trial"] is not None:
        trial_config, directory = trained.find_trained(config["trial"], Path(config["runs"]), trust)
        parts.check_targets(trial_config)
        earlier_code.warn_if_edited(config["trial"], trial_config)
        made = trained_network.of_trial(config["trial"], trial_config, directory)
    elif not Path(config["weights"]).is_file():
        what = "is a folder" if Path(config["weights"]).is_dir() else "there is no such file"
        raise UsageError(f"weights={config['weights']}: {what}; allowed: a file")
    else:
        made = trained_network.of_file(config["weights"], trust)
    name, dataset = typed.choices["dataset"], config["dataset"]
    if made.dataset is not None:
        name, dataset = _chosen(typed, dataset, made.dataset)
        if "dataset" not in _keys(typed):
            trust.check({"dataset": made.dataset}, made.typed)
    for hook in (*parts.hooks({"dataset": dataset}, "check"), *parts.hooks({"dataset": dataset}, "prepare")):
        hook({"dataset": dataset})

    device = _device(config["device"], made)
    data = instantiate(values_for_part(dataset))
    if getattr(data, "is_own", False) and dataset != made.dataset:
        data = _labelled(made, dataset, data.tests_alone())
    _refuse_unfit(made, name, data)
    is_own = made.dataset is not None and dataset == made.dataset
    _print_scores(made, name, data, device, made.test_acc if is_own else None)
    return 0


def _chosen(typed: app.Composed, composed: Config, own: Config) -> tuple[str, Config]:
    """Return the name and config of the data set that was typed, or else the trial's own with the typed keys in it.

    Other images of one's own are scaled as those that the network was trained on, unless their size is typed.
    """
    keys = _keys(typed)
    if "dataset" in keys:
        is_alike = composed["_target_"] == own["_target_"] and "size" in own and "dataset.size" not in keys
        return typed.choices["dataset"], {**composed, "size": own["size"]} if is_alike else composed
    changed = {key.partition(".")[2] for key in keys if key.startswith("dataset.")}
    for key in changed:
        if key not in own:
            allowed = ", ".join(name for name in own if name != "_target_")
            raise UsageError(f"dataset.{key}: the trial's own data set has no such key; allowed: {allowed}")
    return own["_target_"].rpartition(".")[2], {**own, **{key: composed[key] for key in changed}}


def _keys(typed: app.Composed) -> list[str]:
    """Return the keys that were typed."""
    return [word.lstrip("+~").partition("=")[0] for word in typed.typed]


def _device(typed: str, made: Trained) -> str:
    import torch

    if typed == "cuda" and (not torch.cuda.is_available() or made.on_cpu):
        why = f"{made.typed} computes on the CPU" if made.on_cpu else "torch finds no GPU"
        raise UsageError(f"device=cuda: {why}; allowed: cpu, auto")
    return "cuda" if typed != "cpu" and torch.cuda.is_available() and not made.on_cpu else "cpu"


def _labelled(made: Trained, dataset: Config, data: Any) -> Any:
    """Return a user's own images with the labels that the network has for the classes that name their folders.

    Raises:
        UsageError: the network has no such class, or the names of its classes are not known.
    """
    known = made.classes_by_name
    if known is None and made.dataset is not None:
        known = folders.class_names(made.dataset)
    if data.by_index:  # or some of the classes that are named by numbers, among others that are not
        return data.labelled_by(known) if known and data.folder_names <= {*known} else data
    if known is None and made.dataset is not None:
        content = made.dataset.get("content")
        if content is not None and folders.identify({"dataset": dataset}) == content:  # its own images, elsewhere
            known = folders.class_names(dataset)
    if known is None or len(known) != made.classes:
        raise UsageError(
            f"{data.root}: its folders are named by class, and {made.typed} does not tell the names of its classes; "
            "allowed: folders named by class index, 0, 1, 2, ..."
        )
    return data.labelled_by(known)


def _refuse_unfit(made: Trained, name: str, data: Any) -> None:
    """Raise UsageError for images that the network cannot take.

    Where folders are named by class index, the images need not be of every class.
    """
    by_index = getattr(data, "by_index", False)
    if made.channels == data.channels and (made.classes == data.classes or (by_index and made.classes > data.classes)):
        return
    theirs = f"folders up to {data.classes - 1}" if by_index else str(data.classes)
    raise UsageError(
        f"{made.typed}: for images of {made.channels} channels and {made.classes} classes; "
        f"dataset={name} has {data.channels} and {theirs}"
    )


def _print_scores(made: Trained, name: str, data: Any, device: str, exported: float | None) -> None:
    """Print the scores. `exported` is the accuracy that an exported network had on these images, if it is known."""
    import torch

    from ablate.data.loader import on_device
    from ablate.training import evaluation
    from ablate.training.compute import Compute

    precision = made.precision if made.precision in hardware.precisions(device) else "fp32"
    compute, threads = Compute(device, precision), torch.get_num_threads()
    network, test = compute.placed(made.network), on_device(data.test, device, threads=threads)
    shape = tuple(test.first().shape[1:])
    if made.shape not in (None, shape):
        theirs, own = ("x".join(map(str, sizes)) for sizes in (shape, made.shape))
        raise UsageError(f"{made.typed}: for images of {own} numbers; dataset={name} has {theirs}")
    scores = evaluation.evaluate(network, test, compute)
    elsewhere = f", trained at {made.precision}, evaluated at {precision}" * (made.precision != precision)
    lines = [
        made.words + elsewhere,
        f"{name}: test accuracy {100 * scores.acc:.2f}% ({round(scores.acc * len(data.test))} of {len(data.test)}), "
        f"loss {scores.loss:.4f}",
    ]
    if exported is not None and round(exported * len(data.test)) != round(scores.acc * len(data.test)):
        lines.append(f"its trial had {100 * exported:.2f}%")
    if data.multi_crop:
        crops = on_device(data.test, device, threads=threads, many_crops=True)
        acc = evaluation.multi_crop_acc(network, crops, compute)
        lines.append(f"{name}: test accuracy {100 * acc:.2f}% by the mean softmax of 25 crops an image")
    if getattr(data, "is_own", False):
        names = data.class_names or range(made.classes)
        for item, (label, predicted) in enumerate(zip(data.test.labels, scores.predicted.tolist(), strict=True)):
            sys.stdout.write(f"{data.test.name(item)}\t{names[label]}\t{names[predicted]}\n")
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
