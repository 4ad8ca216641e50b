from __future__ import annotations

from types import SimpleNamespace

import pytest

from ablate.core import provenance
from ablate.tracking.owner import experiment_name
from ablate.tracking.record import OWNER

SERVER = "http://mlflow:5000"


class Server:
    """An MLflow server's experiments, by name: their tags, or the status with which it refuses."""

    def __init__(self, **experiments):
        self.experiments = experiments

    def get_experiment_by_name(self, name):
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, PERMISSION_DENIED

        experiment = self.experiments.get(name)
        if experiment in (403, 500):
            raise MlflowException("no", PERMISSION_DENIED if experiment == 403 else INTERNAL_ERROR)
        return None if experiment is None else SimpleNamespace(tags=experiment)


@pytest.fixture(autouse=True)
def mia(monkeypatch):
    monkeypatch.setenv(provenance.USER, "mia")


@pytest.mark.parametrize(
    ("experiments", "name"),
    [(None, "study"), ({OWNER: "mia"}, "study"), ({}, "study"), ({OWNER: "noa"}, "study@mia"), (403, "study@mia")],
)
def test_a_study_has_its_name_unless_that_is_another_persons(experiments, name):
    assert experiment_name(Server(study=experiments), SERVER, "study") == name


def test_a_database_of_ones_own_is_nobody_elses():
    assert experiment_name(Server(study={OWNER: "noa"}), "sqlite:///mlflow.db", "study") == "study"


def test_a_server_that_fails_is_no_reason_for_another_name():
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        experiment_name(Server(study=500), SERVER, "study")
