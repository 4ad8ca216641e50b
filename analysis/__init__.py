"""Margins, tables, figures and reports from the runs of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load(study: str | None = None, uri: str = "sqlite:///mlflow.db") -> pd.DataFrame:
    """Return a study's trials as a tidy frame for notebooks, one row per trial.

    Args:
        study: its name; None for the study that was requested last.
        uri: MLflow's tracking address.

    Returns:
        The factors first, then seed, outcome ("done", or how else the trial ended), acc (test accuracy in [0, 1]),
        the costs that were measured (train_s, peak_bytes, weight_bytes, multiply_adds, latency_ms, ...), run_id,
        trial_id, code_version, and every key of the config.
        `frame.attrs["factors"]` names the factors, `frame.attrs["study"]` the study.

    Raises:
        ablate.core.errors.UsageError: there is no such study; the message names those that exist.
    """
    from ablate.tracking.client import connect_to_existing
    from analysis.sources import studies
    from analysis.sources.runs import COSTS

    runs = studies.read(connect_to_existing(uri), study)
    reported = [key for key in COSTS if key in runs.frame]
    leading = [*runs.factors, "seed", "outcome", "acc", *reported, "run_id", "trial_id", "code_version"]
    frame = runs.frame[[*leading, *(column for column in runs.frame if column not in leading)]]
    frame.attrs |= {"study": runs.study, "factors": list(runs.factors)}
    return frame
