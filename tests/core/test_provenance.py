from __future__ import annotations

import datetime
import getpass
import http.server
import json
import threading

import pytest

from ablate.core import provenance
from ablate.core.errors import UsageError
from ablate.tracking import address


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    for name in (*("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"), provenance.USER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_name_is_the_submitters_or_mlflows_users_or_this_machines(monkeypatch):
    assert provenance.name() == getpass.getuser()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "mia")
    assert provenance.name() == "mia"
    monkeypatch.setenv(provenance.USER, "noa")
    assert provenance.name() == "noa"


def test_a_user_without_a_name_is_their_number(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: {}["uid"])
    assert provenance.name().isdigit()


def test_credentials_are_read_from_mlflows_file_where_its_variables_lack_them(monkeypatch, tmp_path):
    assert provenance.credentials() == (None, None)
    (tmp_path / ".mlflow").mkdir()
    file = tmp_path / ".mlflow" / "credentials"
    file.write_text("[mlflow]\nmlflow_tracking_username = mia\nmlflow_tracking_password = a%b\n")
    assert provenance.credentials() == ("mia", "a%b")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "noa")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert provenance.credentials() == ("noa", "secret")


class Server(http.server.BaseHTTPRequestHandler):
    """MLflow's door: it knows mia, whose password is right."""

    def do_GET(self):
        self.send_response(200 if self.headers.get("Authorization") == "Basic bWlhOnJpZ2h0" else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_a_server_with_logins_distinguishes_a_missing_password_from_a_wrong_one(server, monkeypatch):
    with pytest.raises(
        UsageError, match="it wants a user and a password, and there are none; allowed: MLFLOW_TRACKING"
    ):
        address.check(server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "mia")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(UsageError, match="it refused user mia") as refused:
        address.check(server)
    assert "wrong" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right")
    address.check(server)


@pytest.mark.parametrize("uri", ["http://mia:s3cret@host:5000", "postgresql://mia:s3cret@host/db"])
def test_a_password_in_an_address_is_refused_and_not_shown(uri):
    with pytest.raises(UsageError, match="holds a password, which would be kept and shown") as refused:
        address.check(uri)
    assert "s3cret" not in str(refused.value)


def test_the_command_line_can_be_pasted(monkeypatch):
    monkeypatch.setattr(
        "sys.orig_argv", ["/opt/env/bin/python3", "-m", "ablate.run", "-m", "contrast.levels=[a,b]", "a b"]
    )
    assert provenance.command_line() == "python3 -m ablate.run -m 'contrast.levels=[a,b]' 'a b'"
    monkeypatch.setattr("sys.orig_argv", ["/opt/env/bin/python", "/opt/env/bin/ablate", "run", "-m", "norm=bn"])
    assert provenance.command_line() == "ablate run -m norm=bn"


@pytest.mark.parametrize(
    "word",
    [
        "track.uri=postgresql://mia:s3cret@host/db",
        "track.uri=postgresql://mia:s3/cret@host/db",
        "track.uri=postgresql://host/db?password=s3cret&x=1",
        "dataset.api_key=s3cret",
    ],
)
def test_a_command_line_is_kept_without_passwords(word, monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "ablate.run", word, "seeds=3"])
    line = provenance.command_line()
    assert "cret" not in line
    assert line.endswith("seeds=3")


def test_a_request_names_who_when_where_and_which_versions(folder, monkeypatch):
    monkeypatch.delenv(provenance.REQUEST, raising=False)
    request = provenance.request(provenance.checkouts(folder), {"mnist": "c1"})
    assert request["user"] == getpass.getuser()
    assert request["data"] == {"mnist": "c1"}
    assert request["git"]["note"] == "no git repository"
    assert {"ablate", "python", "torch", "numpy"} <= request["versions"].keys()
    (date,) = request["dates"]
    assert datetime.datetime.fromisoformat(date).tzinfo is not None
    assert json.loads(json.dumps(request)) == request


def test_a_submitted_study_keeps_what_was_typed_where_it_was_submitted(folder, monkeypatch):
    typed = {"command": "python -m ablate.submit -m", "dates": ["2026-01-01T09:00:00+00:00"], "user": "mia", "git": {}}
    monkeypatch.setenv(provenance.REQUEST, json.dumps(typed))
    request = provenance.request(provenance.checkouts(folder), {})
    assert {key: request[key] for key in typed} == typed
    assert "torch" in request["versions"]


def test_a_trials_machine_has_its_cpu_and_versions():
    machine = provenance.machine()
    assert machine["cpu"]
    assert "gpu" not in machine
    assert provenance.machine("H100")["gpu"] == "H100"
    assert machine["torch"]
