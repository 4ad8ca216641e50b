from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from requests.exceptions import ConnectionError as NotReached
from requests.exceptions import HTTPError

from analysis.sources import studies


class Server:
    """An MLflow server that stores artifacts, or raises."""

    def __init__(self, error=None):
        self.error, self.taken = error, []

    def log_artifacts(self, run_id, folder, name):
        if self.error:
            raise self.error
        self.taken.append((run_id, folder, name))


def refusal(status):
    return HTTPError("no", response=SimpleNamespace(status_code=status))


def test_the_studys_parent_run_keeps_a_copy_of_the_report():
    server = Server()
    assert studies.keep_copy(server, "r1", Path("reports/s")) is None
    assert server.taken == [("r1", "reports/s", "report")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refusal(403), "the study is another person's"),
        (refusal(500), "no"),
        (NotReached("gone"), "gone"),
    ],
)
def test_a_server_that_refuses_costs_the_copy_and_not_the_report(error, reason):
    assert studies.keep_copy(Server(error), "r1", Path("reports/s")) == reason
