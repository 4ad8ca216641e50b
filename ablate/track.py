"""Deliver to MLflow what the run directories hold of a study: `python -m ablate.track study=NAME`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate.cli import app
from ablate.core import urls
from ablate.core.errors import UsageError
from ablate.store import manifest, opening
from ablate.tracking import address
from ablate.tracking.record import Origin
from ablate.tracking.tracker import Tracker


@dataclass
class WhereConfig:
    uri: str | None = None


@dataclass
class TrackConfig:
    """The root of conf/track_command.yaml."""

    study: str = MISSING
    runs: str = MISSING
    track: WhereConfig = field(default_factory=WhereConfig)


def main() -> None:
    ConfigStore.instance().store(name="track_command_schema", node=TrackConfig)
    app.main("track", deliver, sweeps=False)


def deliver(typed: app.Composed) -> int:
    """Deliver, and say how much in one line; return exit status 0, or 1 when something remains."""
    runs = Path(typed.config.runs).absolute()
    if "study" not in {word.partition("=")[0] for word in typed.typed}:
        raise UsageError(f"study=: allowed: {', '.join(manifest.names(runs)) or f'none yet in {runs}/'}")
    config = app.plain(typed, TrackConfig)
    stored = manifest.load(config["study"], runs)
    uri = config["track"]["uri"] or stored.uri or urls.MLFLOW_DEFAULT
    address.check(uri, writing=True)
    store = opening.open_to_read(stored.storage, stored.study.trials, runs, lambda line: _say(line, sys.stderr))
    outcomes = store.local.outcomes(stored.study.trials)
    completed = [trial for trial in stored.study.trials if outcomes[trial.trial_id]]
    tracker = Tracker(
        uri,
        stored.study,
        store=store,
        completed=completed,
        origin=Origin.of_tags(stored.tags, stored.requested_at),
        warn=lambda line: _say(line, sys.stderr),
    )
    left = tracker.close()
    if isinstance(left, UsageError):
        raise left
    summary = f"study {stored.study.name}: {tracker.delivered} of {len(completed)} finished trials delivered to {uri}"
    if left is not None:
        _say(f"{summary}; {left.trials} remain ({left}): say it again when MLflow is back", sys.stdout)
        return 1
    _say(f"{summary}; it had the others" if tracker.delivered < len(completed) else summary, sys.stdout)
    return 0


def _say(line: str, file: Any) -> None:
    file.write(f"{line}\n")


if __name__ == "__main__":
    main()
