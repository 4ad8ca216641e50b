"""The metrics that runs recorded at each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def history(client: MlflowClient, frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the metric at every epoch of every run in `frame`, in columns run_id, epoch and value."""
    return pd.DataFrame(
        [
            (run_id, point.step, point.value)
            for run_id in frame["run_id"]
            for point in client.get_metric_history(run_id, metric)
        ],
        columns=["run_id", "epoch", "value"],
    )
