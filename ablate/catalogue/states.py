"""The states of trials: done, failed, running or to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from ablate.core.events import Done, Failed, Outcome
from ablate.core.study import Study, Trial
from ablate.driver.terminal import Terminal
from ablate.store import manifest, opening, run_directory
from ablate.store.run_store import RunStore

STATES = ("done", "failed", "running", "to do")


def states_of(store: RunStore, study: Study, outcomes: Mapping[str, Outcome | None]) -> dict[str, str]:
    """Return trial_id -> one of STATES, from what the store has brought, and the trials' outcomes."""
    leased = store.leased(trial.trial_id for trial in study.trials)
    return {trial.trial_id: state(trial, outcomes[trial.trial_id], leased) for trial in study.trials}


def state(trial: Trial, end: Outcome | None, leased: Collection[str]) -> str:
    """Return the one of STATES that the trial is in; `leased` are the trials that somebody works on.

    A lost trial is only interrupted: saying its line again goes on with it. A configuration that a tuning pruned is
    done with.
    """
    if isinstance(end, Done) or (trial.tuning and isinstance(end, Failed) and end.kind == "pruned"):
        return "done"
    if trial.trial_id in leased:
        return "running"
    return "failed" if isinstance(end, Failed) and not run_directory.to_go_on(end) else "to do"


def brought(terminal: Terminal, stored: manifest.StoredStudy, runs: Path) -> RunStore:
    return opening.open_to_read(stored.storage, stored.study.trials, runs, terminal.warn)
