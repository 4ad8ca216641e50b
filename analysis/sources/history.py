"""What runs recorded by epoch."""

from __future__ import annotations

from typing import Any

import pandas as pd


def history(client: Any, frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Columns run_id, epoch and value: the metric at every epoch of every run in `frame`."""
    return pd.DataFrame(
        [
            (run_id, point.step, point.value)
            for run_id in frame["run_id"]
            for point in client.get_metric_history(run_id, metric)
        ],
        columns=["run_id", "epoch", "value"],
    )
