"""The metrics that runs recorded at each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ablate.tracking import metric_names

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def history(client: MlflowClient, frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the metric at every epoch of every run in `frame`, in columns run_id, epoch and value.

    Args:
        client: of MLflow.
        frame: runs, with their `run_id`.
        metric: by the name that events give it, whatever it is called in runs of this release or an earlier one.
    """
    return pd.DataFrame(
        [
            (run_id, point.step, point.value)
            for run_id in frame["run_id"]
            for name in metric_names.every(metric)
            for point in client.get_metric_history(run_id, name)
        ],
        columns=["run_id", "epoch", "value"],
    )
