"""The metrics of a study's parent run: how many trials have which outcome, and the margins of the last report."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.core.levels import Level, show
from ablate.core.text import shortened

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SECONDS_BETWEEN_COUNTS = 10.0
_MOST_METRICS = 800  # of one log_batch, which takes 1000 things in all
_MOST_BYTES_OF_NAME = 200  # of 250, of which the group takes some


@dataclass(frozen=True)
class Margin:
    """The margin of a contrast in one cell, with its interval, in percentage points.

    factor, first, second: the contrast: the first level minus the second.
    levels: the cell's levels of the other factors.
    """

    factor: str
    first: Level
    second: Level
    levels: Mapping[str, Level]
    margin_pp: float
    low_pp: float | None
    high_pp: float | None

    @property
    def name(self) -> str:
        """Return the margin's name in the characters that MLflow allows in metrics.

        >>> Margin("norm", "bn", "srelu", {"bits": 1, "hidden": "[64, 64]"}, 2.0, None, None).name
        'norm bn minus srelu at bits 1 hidden 64 64'
        """
        cell = " ".join(f"{name} {show(level)}" for name, level in self.levels.items())
        contrast = f"{self.factor} {show(self.first)} minus {show(self.second)}"
        return metric_name(f"{contrast} at {cell}" if cell else contrast)


def metric_name(text: str) -> str:
    """Return a text in characters that MLflow allows in the name of a metric, on any system.

    >>> metric_name("optimizer=a/b, [64, 64]")
    'optimizer a b 64 64'
    """
    return shortened(" ".join(re.sub(r"[^\w.\-]", " ", text).split()), _MOST_BYTES_OF_NAME)


def of_counts(counts: Mapping[str, int]) -> dict[str, float]:
    """Return how many trials have which outcome, as metrics.

    >>> of_counts({"done": 7, "failed": 1})
    {'trials/done': 7.0, 'trials/failed': 1.0}
    """
    return {f"trials/{name}": float(count) for name, count in counts.items()}


def of_margins(margins: Iterable[Margin]) -> dict[str, float]:
    """Return margins and the ends of their intervals as metrics, where they are numbers.

    Levels that differ only in characters that MLflow does not allow are told apart by a number.

    >>> of_margins([Margin("norm", "bn", "srelu", {}, 2.0, 1.0, 3.0)])
    {'margin/norm bn minus srelu': 2.0, 'margin_low/norm bn minus srelu': 1.0, 'margin_high/norm bn minus srelu': 3.0}
    """
    metrics: dict[str, float] = {}
    times: dict[str, int] = {}
    for margin in margins:
        times[margin.name] = times.get(margin.name, 0) + 1
        name = margin.name if times[margin.name] == 1 else f"{margin.name} no. {times[margin.name]}"
        ends = {"margin": margin.margin_pp, "margin_low": margin.low_pp, "margin_high": margin.high_pp}
        known = {f"{group}/{name}": value for group, value in ends.items() if value is not None}
        metrics |= {key: value for key, value in known.items() if math.isfinite(value)}
    return metrics


class Progress:
    """Logs how many trials have which outcome to a parent run, at most once in ten seconds while they run."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._logged: Mapping[str, int] = {}
        self._logged_at = -math.inf

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._logged_at >= SECONDS_BETWEEN_COUNTS

    def log(self, counts: Mapping[str, int]) -> None:
        """Log the counts that have changed."""
        changed = {name: count for name, count in counts.items() if self._logged.get(name) != count}
        write(self._client, self._run_id, of_counts(changed))
        self._logged, self._logged_at = dict(counts), time.monotonic()


def write(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    """Log metrics to a parent run. Their step is 0, so that MLflow draws bars, and the last time counts."""
    from mlflow.entities import Metric

    now_ms = round(time.time() * 1000)
    points = [Metric(name, value, now_ms, 0) for name, value in metrics.items()]
    for start in range(0, len(points), _MOST_METRICS):
        client.log_batch(run_id, metrics=points[start : start + _MOST_METRICS])
