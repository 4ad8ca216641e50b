"""Names of experiments on a server with several users: two of them may give their studies one name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablate.core import provenance
from ablate.tracking.record import OWNER, of_kind

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def experiment_name(client: MlflowClient, uri: str, study: str) -> str:
    """Return the study's name; on a server where another user has that experiment, with the own user name appended."""
    if not uri.startswith("http"):
        return study
    from mlflow.exceptions import MlflowException

    try:
        experiment = client.get_experiment_by_name(study)
    except MlflowException as error:
        if error.get_http_status_code() != 403:
            raise
        return f"{study}@{provenance.name()}"  # another user's, which we may not read
    is_own = experiment is None or experiment.tags.get(OWNER, provenance.name()) == provenance.name()
    return study if is_own else f"{study}@{provenance.name()}"


def is_of_a_study(client: MlflowClient, experiment_id: str) -> bool:
    """Return whether the experiment has the parent run of a study, deleted or not; else it is somebody else's."""
    from mlflow.entities import ViewType

    return bool(client.search_runs([experiment_id], of_kind("study"), ViewType.ALL, max_results=1))
