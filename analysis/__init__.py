"""Margins, tables, figures and reports from the runs of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load(study: str | None = None, uri: str = "sqlite:///mlflow.db") -> pd.DataFrame:
    """A study's trials as a tidy frame, for notebooks: a row a trial.

    Args:
        study: its name; None for the one asked for last.
        uri: MLflow's tracking address.

    Returns:
        The factors first, then seed, outcome ("done" or what became of the trial), acc (test accuracy in [0, 1]),
        what of its costs was measured (train_s, peak_bytes, weight_bytes, multiply_adds, latency_ms, ...), run_id,
        trial_id, code_version, and every key of the config.
        `frame.attrs["factors"]` names the factors, `frame.attrs["study"]` the study.

    Raises:
        ablate.core.study.UsageError: no such study, naming those there are.
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
