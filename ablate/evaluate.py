"""Test accuracy of trained weights: `python -m ablate.evaluate weights=FILE dataset=NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import MISSING
from rich.console import Console

from ablate import cli, schema
from ablate.design import FOR_THE_PLAN_ONLY, Mistake

Device = Enum("Device", ["auto", "cpu", "cuda"])


@dataclass
class EvaluateConfig:
    """The root of conf/evaluate.yaml."""

    weights: str | None = None
    dataset: Any = MISSING
    device: Device = MISSING


def main() -> None:
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    cli.main("evaluate", evaluate, sweeps=False)


def evaluate(typed: cli.Composed) -> int:
    """Print the network's size and its test accuracy; return exit status 0."""
    config = cli.plain(typed, EvaluateConfig)
    if config["weights"] is None:
        raise Mistake("weights=null: allowed: a file in the authors' layout, such as CIFAR10_allparams.mat")
    path = Path(config["weights"])
    if not path.is_file():
        raise Mistake(f"weights={path}: there is no such file")
    for name in ("check", "prepare"):
        for hook in schema.hooks(config, name):
            hook(config)

    import torch

    from ablate import train
    from ablate.parts.loader import on_device
    from ablate.parts.weights import read_mat

    device = config["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise Mistake("device=cuda: torch finds no GPU; allowed: cpu, auto")
    network = read_mat(path).to(device)
    data = instantiate({key: value for key, value in config["dataset"].items() if key not in FOR_THE_PLAN_ONLY})
    if (network.channels, network.classes) != (data.channels, data.classes):
        raise Mistake(
            f"weights={path}: for images of {network.channels} channels and {network.classes} classes; "
            f"dataset={typed.choices['dataset']} has {data.channels} and {data.classes}"
        )
    scores = train.evaluate(network, on_device(data.test, device))
    right = round(scores.acc * len(data.test))
    Console().print(
        f"{path.name}: wide ResNet {network.depth}-{network.width}, 1 bit per weight, batch norm\n"
        f"{typed.choices['dataset']}: test accuracy {100 * scores.acc:.2f}% ({right} of {len(data.test)}), "
        f"loss {scores.loss:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    main()
