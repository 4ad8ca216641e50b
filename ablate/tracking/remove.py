"""Removing a study from MLflow."""

from __future__ import annotations

import time
from pathlib import Path

from ablate.core.errors import UsageError
from ablate.core.urls import SQLITE, absolute
from ablate.tracking.owner import experiment_name, is_of_a_study


def remove_experiment(uri: str, name: str) -> bool:
    """Delete the study's experiment with its runs, and return whether there was one. MLflow can restore them.

    The experiment is renamed first, so that a later study of the same name starts with a new one. An experiment of the
    same name that has no run of such a study is somebody else's, and stays.

    Raises:
        UsageError: MLflow cannot be opened, or does not answer.
    """
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return False
    from ablate.tracking.client import connect, is_unavailable, why

    try:
        client = connect(absolute(uri))
        name = experiment_name(client, uri, name)
        experiment = client.get_experiment_by_name(name)
        if experiment is None or not is_of_a_study(client, experiment.experiment_id):
            return False
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
        client.rename_experiment(experiment.experiment_id, f"{name} (removed {time.strftime('%Y-%m-%d %H:%M:%S')})")
        client.delete_experiment(experiment.experiment_id)
    except Exception as error:
        if not is_unavailable(error):
            raise
        raise UsageError(f"track.uri={uri}: does not answer ({why(error)}); allowed: a running MLflow") from error
    return True
