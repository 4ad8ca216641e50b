"""Run a trial again, and say whether its numbers are equal: `python -m ablate.replay trial=ID`.

`python -m ablate.run trial=ID` is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate.cli import app
from ablate.core.errors import UsageError

Device = Enum("Device", ["cpu", "cuda"])


@dataclass
class DataConfig:
    root: str | None = None


@dataclass
class ReplayConfig:
    """The root of conf/replay.yaml."""

    trial: str | None = None
    runs: str = MISSING
    to: str | None = None
    threads: int | None = None
    device: Device | None = None
    trust: Any = None
    dataset: DataConfig = field(default_factory=DataConfig)


def main() -> None:
    ConfigStore.instance().store(name="replay_schema", node=ReplayConfig)
    app.main("replay", run_again, sweeps=False)


def run_again(typed: app.Composed) -> int:
    """Run the trial that was typed again; return exit status 0 where its numbers are equal, otherwise 1."""
    from ablate.driver import replay
    from ablate.planning import trusted

    config = app.plain(typed, ReplayConfig)
    if not config["trial"]:
        raise UsageError("trial=: allowed: the id of a trial that has run, or its first 6 characters")
    return replay.run_again(
        config["trial"],
        config["runs"],
        trusted.of_line(config["trust"], typed.folders),
        to=config["to"],
        threads=config["threads"],
        device=config["device"],
        root=config["dataset"]["root"],
    )


if __name__ == "__main__":
    main()
