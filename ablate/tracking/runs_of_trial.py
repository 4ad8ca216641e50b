"""The runs that a trial has in MLflow: one in each study that requests it."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.core.errors import UsageError
from ablate.tracking.record import EVERY_TRIAL


@dataclass(frozen=True)
class RunOfTrial:
    """A run, and the experiment that it is in, by id and by name."""

    run_id: str
    experiment_id: str
    experiment: str


def runs_of_trial(uri: str, trial_id: str) -> list[RunOfTrial]:
    """Return the trial's runs in the MLflow at this address.

    Raises:
        UsageError: it cannot be opened, or does not answer.
    """
    from ablate.tracking.client import connect_to_existing, is_unavailable, why

    try:
        client = connect_to_existing(uri)
        names = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
        runs = client.search_runs(list(names), f"{EVERY_TRIAL} and tags.trial_id = '{trial_id}'")
    except Exception as error:
        if not is_unavailable(error):
            raise
        raise UsageError(f"track.uri={uri}: does not answer ({why(error)}); allowed: a running MLflow") from error
    return [RunOfTrial(run.info.run_id, run.info.experiment_id, names[run.info.experiment_id]) for run in runs]
