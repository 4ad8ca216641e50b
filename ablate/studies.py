"""The studies of a runs folder: `python -m ablate.studies`; `study=NAME` shows one, `remove=NAME` removes one.

`study=NAME rename=NEW` gives one another name. `trial=ID` shows a trial: its config, its curve, its log, its files,
and the lines that make it.

With `jobs=http://HOST:8265` those sent to a cluster, too: `follow=NAME` tells what one says, `stop=NAME` stops it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate.catalogue import sent
from ablate.catalogue.removal import remove
from ablate.catalogue.renaming import rename
from ablate.catalogue.studies import show_all
from ablate.catalogue.study import show_study
from ablate.catalogue.trial import show_trial
from ablate.cli import app
from ablate.core.errors import UsageError
from ablate.dispatch.jobs import Jobs
from ablate.driver.terminal import Terminal
from ablate.store import manifest

Trials = Enum("Trials", ["some", "all"])


@dataclass
class WhereConfig:
    uri: str | None = None


@dataclass
class StudiesConfig:
    """The root of conf/studies.yaml."""

    study: str | None = None
    rename: str | None = None
    trials: Trials = MISSING
    trial: str | None = None
    remove: str | None = None
    jobs: str | None = None
    follow: str | None = None
    stop: str | None = None
    yes: bool = MISSING
    runs: str = MISSING
    track: WhereConfig = field(default_factory=WhereConfig)


def main() -> None:
    ConfigStore.instance().store(name="studies_schema", node=StudiesConfig)
    app.main("studies", studies, sweeps=False)


def studies(typed: app.Composed) -> int:
    """List the studies, show one of them or a trial, rename or remove a study.

    Returns the exit status: 0, or 1 where a study that is followed failed.
    """
    config = app.plain(typed, StudiesConfig)
    runs, terminal = Path(config["runs"]).absolute(), Terminal()
    keys = ("study", "trial", "remove", "follow", "stop")
    typed_keys = [f"{key}={config[key]}" for key in keys if config[key] is not None]
    if len(typed_keys) > 1:
        raise UsageError(f"{' '.join(typed_keys)}: allowed: one of them")
    if config["rename"] is not None and typed_keys != [f"study={config['study']}"]:
        raise UsageError(f"{' '.join(typed_keys)} rename={config['rename']}: allowed: study=NAME rename=NEW".lstrip())
    for key in ("follow", "stop"):
        if config[key] is not None:
            if config["jobs"] is None:
                raise UsageError(
                    f"{key}={config[key]}: for a study that ablate.submit sent; allowed: with jobs=http://HOST:8265"
                )
            return sent.answer(terminal, Jobs(config["jobs"], "jobs"), key, config[key])
    if config["jobs"] is not None and not typed_keys:
        sent.show_sent(terminal, Jobs(config["jobs"], "jobs"))
        if not runs.is_dir():
            return 0
    if not runs.is_dir():
        raise UsageError(f"runs={config['runs']}: there is no such folder; allowed: the folder of the run directories")
    if config["remove"] is not None:
        remove(terminal, config["remove"], runs, config["track"]["uri"], yes=config["yes"])
    elif config["rename"] is not None:
        rename(terminal, config["study"], str(config["rename"]), runs, config["track"]["uri"])
    elif config["study"] is not None:
        show_study(terminal, manifest.load(config["study"], runs), runs, every_trial=config["trials"] == "all")
    elif config["trial"] is not None:
        show_trial(terminal, config["trial"], runs, config["track"]["uri"])
    else:
        show_all(terminal, runs)
    return 0


if __name__ == "__main__":
    main()
