"""The margins of a report, which are left in MLflow as metrics of the study's parent run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ablate.core import provenance
from ablate.tracking import encoding, study_metrics
from ablate.tracking.record import requested_by

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def keep(client: MlflowClient, run_id: str | None, margins: Iterable[study_metrics.Margin]) -> str | None:
    """Log the margins that MLflow lacks, or has otherwise, and return a line that says so.

    Return None, and write nothing, where there is none, or where another user requested the study last.

    Args:
        client: of MLflow.
        run_id: of the study's parent run; None for several studies, whose margins belong to none of them.
        margins: of the report.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    if run_id is None:
        return None
    metrics = study_metrics.of_margins(margins)
    try:
        run = client.get_run(run_id)
        if not metrics or requested_by(run.data.tags) != provenance.name():
            return None
        there = {name: encoding.metric(value) for name, value in run.data.metrics.items()}
        study_metrics.write(client, run_id, {name: at for name, at in metrics.items() if there.get(name) != at})
    except (MlflowException, RequestException, OSError) as error:
        return f"MLflow does not take the margins: {str(error).partition(chr(10))[0][:200]}"
    return "MLflow has the margins: metrics of the study's own run."
