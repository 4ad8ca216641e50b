"""The artifacts of a study's runs in MLflow: their names and contents."""

from __future__ import annotations

import json
from collections.abc import Sequence

CONFIG_FILE = "config.json"
PREDICTIONS_FILE = "predictions.json"
TRACEBACK_FILE = "traceback.txt"
REPORT_FOLDER = "report"
PROVENANCE_FILE = "provenance.json"
"""Names of artifacts: three of a trial's run, and two of the parent run."""


def predictions(predicted: Sequence[int], labels: Sequence[int]) -> dict[str, Sequence[int]]:
    """Return the content of the artifact `PREDICTIONS_FILE`: (items,) classes of the test items, in one order."""
    return {"predicted": predicted, "labels": labels}


def read_predictions(text: str) -> tuple[list[int], list[int]]:
    """Return the predicted classes and the labels that the artifact `PREDICTIONS_FILE` holds.

    Raises:
        ValueError, KeyError, TypeError: the text is not such an artifact.
    """
    content = json.loads(text)
    return content["predicted"], content["labels"]
