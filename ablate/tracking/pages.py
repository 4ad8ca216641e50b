"""Pages of MLflow that show a study: their addresses, and the views of its trials that MLflow offers under "Views".

The format of views is MLflow's own and no public API: the JSON that its page "Runs" saves in a tag of the experiment.
It was checked in MLflow 3.17; a release that does not know it ignores it, and shows its usual table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.core.urls import SQLITE
from ablate.tracking.metric_names import in_mlflow

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_VIEW = "mlflow.sharedViewState."
_TRIALS, _CELLS = "ablate-trials", "ablate-cells"
_AS_TRAINING = "workflowType=machine_learning"  # else MLflow's page opens on what it shows of language models
_MOST_CHARACTERS = 5000
_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves, unless it is told otherwise."""

VISIT = {"mlflow.runType": "evaluation"}
"""Tags of trials' runs by which MLflow's page "Runs" shows them at a first visit, and not their parent run alone."""


@dataclass(frozen=True)
class StudyPage:
    """Addresses of a study's pages, from the `#` on: they hold wherever MLflow serves."""

    experiment_id: str
    parent_id: str

    @property
    def trials(self) -> str:
        """The trials, the best first, with the levels of each."""
        return f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={_TRIALS}&{_AS_TRAINING}"

    @property
    def cells(self) -> str:
        """The mean of each cell over its seeds."""
        return f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={_CELLS}&{_AS_TRAINING}"

    @property
    def parent(self) -> str:
        """The study's own run, which has its counts and margins."""
        return f"#/experiments/{self.experiment_id}/runs/{self.parent_id}?{_AS_TRAINING}"

    @property
    def report(self) -> str:
        """The copy of the report."""
        return f"#/experiments/{self.experiment_id}/runs/{self.parent_id}/artifacts/report/index.html?{_AS_TRAINING}"


def first_page(uri: str, experiment_id: str) -> str:
    """Return the address to open for a study in the MLflow at a tracking address.

    >>> first_page("http://mlflow.lab:5000/", "7")
    'http://mlflow.lab:5000/#/experiments/7/runs?viewStateShareKey=ablate-trials&workflowType=machine_learning'
    """
    server = _UI if uri.startswith(SQLITE) else uri.rstrip("/")
    return f"{server}/{StudyPage(experiment_id, '').trials}"


def write_views(client: MlflowClient, experiment_id: str, factors: Sequence[str], time_ms: int) -> None:
    """Keep the views of a study's trials and of its cells with its experiment, where they have changed."""
    there = client.get_experiment(experiment_id).tags
    for key, (name, state) in views(factors).items():
        text = json.dumps(state)
        if len(text) < _MOST_CHARACTERS and text != _state(there.get(key, "")):
            envelope = {"name": name, "createdAt": time_ms, "updatedAt": time_ms, "state": text}
            client.set_experiment_tag(experiment_id, key, json.dumps(envelope))


def views(factors: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the views of a study's runs: by tag, the view's name and its state."""
    acc, levels = f"metrics.`{in_mlflow('test_acc')}`", [f"params.`{factor}`" for factor in factors]
    rest = ["params.`seed`", "tags.`trial_id`", "tags.`outcome`"]
    state = {
        "searchFilter": "tags.kind = 'trial'",
        "orderByKey": acc,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": [acc, *levels, *rest],
    }
    grouped = [{"mode": "param", "groupByData": factor} for factor in factors]
    cells = state | {"groupBy": {"aggregateFunction": "average", "groupByKeys": grouped}}
    return {f"{_VIEW}{_TRIALS}": ("Trials", state), f"{_VIEW}{_CELLS}": ("Cells: means over seeds", cells)}


def _state(envelope: str) -> str | None:
    """Return the state in a view that is there; None where there is none, or something else."""
    try:
        return str(json.loads(envelope)["state"])
    except (ValueError, KeyError, TypeError):
        return None
