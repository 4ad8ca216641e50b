"""Renaming a study in MLflow."""

from __future__ import annotations

from ablate.core.errors import UsageError
from ablate.core.urls import absolute
from ablate.tracking.owner import experiment_name, is_of_a_study


class Renaming:
    """The experiment of a study that is to have another name; nothing is renamed before `do`.

    Args:
        uri: MLflow's address, which has been checked.
        name: the study's name.
        new: the name that it is to have.

    Raises:
        UsageError: MLflow cannot be opened, does not answer, or has an experiment of the new name.
    """

    def __init__(self, uri: str, name: str, new: str) -> None:
        from ablate.tracking.client import connect, is_unavailable, why

        try:
            self.client = connect(absolute(uri))
            self.new = experiment_name(self.client, uri, new)
            self.experiment = self.client.get_experiment_by_name(experiment_name(self.client, uri, name))
            if self.experiment is not None and not is_of_a_study(self.client, self.experiment.experiment_id):
                self.experiment = None
            taken = self.client.get_experiment_by_name(self.new)
        except Exception as error:
            if not is_unavailable(error):
                raise
            raise UsageError(f"track.uri={uri}: does not answer ({why(error)}); allowed: a running MLflow") from error
        if self.experiment is not None and taken is not None:
            state = "" if taken.lifecycle_stage == "active" else ", which was deleted"
            raise UsageError(
                f"study={name} rename={new}: MLflow at {uri} has an experiment of that name{state}; "
                "allowed: another name"
            )

    def do(self) -> bool:
        """Rename the experiment and its parent run; return whether there was an experiment."""
        if self.experiment is None:
            return False
        from ablate.tracking.record import of_kind

        if self.experiment.lifecycle_stage != "active":
            self.client.restore_experiment(self.experiment.experiment_id)
        self.client.rename_experiment(self.experiment.experiment_id, self.new)
        for parent in self.client.search_runs([self.experiment.experiment_id], of_kind("study")):
            self.client.update_run(parent.info.run_id, name=self.new)
        return True
