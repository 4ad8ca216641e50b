"""The real service on one machine: PostgreSQL, MLflow with basic auth, Ray nodes with token auth, each on a host
of its own: namespaces of network, processes, files and names. Needs root, iproute2 and PostgreSQL.

    python tests/cluster/service.py FOLDER      # starts all of it, says how to use it, ends it on Ctrl-C
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NUMBER = os.getpid() % 250
NET = f"10.77.{NUMBER}"
"""Of this process: others may have a cluster of their own."""
HOSTS = {"services": 2, "head": 10, "one": 11, "two": 12, "driver": 13}
BRIDGE = f"ablate{NUMBER}"
MLFLOW_PORT, RAY_PORT, DASHBOARD_PORT = 5000, 6379, 8265
OBJECT_STORE_BYTES = 200_000_000
ROOT = Path(__file__).parents[2]


class Network:
    """Hosts on one wire: network namespaces on a bridge, whose wires can be pulled."""

    def __enter__(self) -> Network:
        self.remove()  # what a killed run left
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for host, number in HOSTS.items():
            _ip("netns", "add", _namespace(host))
            _ip("link", "add", _wire(host), "type", "veth", "peer", "name", "eth0", "netns", _namespace(host))
            _ip("link", "set", _wire(host), "master", BRIDGE, "up")
            for words in (
                f"addr add {NET}.{number}/24 dev eth0",
                "link set eth0 up",
                "link set lo up",
                f"route add default via {NET}.1",
            ):
                _ip("-n", _namespace(host), *words.split())
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the hosts away, and end what runs on them."""
        for host in HOSTS:
            listed = subprocess.run(
                ["ip", "netns", "pids", _namespace(host)], capture_output=True, text=True, check=False
            )
            for pid in listed.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", _namespace(host)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)

    def pull(self, host: str) -> None:
        """Cut the host off; what runs on it goes on."""
        _ip("link", "set", _wire(host), "down")

    def plug(self, host: str) -> None:
        _ip("link", "set", _wire(host), "up")


@dataclass
class Service:
    """The processes, by name; the token and passwords, in files that only their owner reads."""

    folder: Path
    network: Network
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    inits: dict[str, int] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ray_starts: dict[str, tuple[list[str], dict[str, str], Path]] = field(default_factory=dict)

    @property
    def ray(self) -> str:
        return f"{NET}.{HOSTS['head']}:{RAY_PORT}"

    @property
    def jobs(self) -> str:
        return f"http://{NET}.{HOSTS['head']}:{DASHBOARD_PORT}"

    @property
    def mlflow(self) -> str:
        return f"http://{NET}.{HOSTS['services']}:{MLFLOW_PORT}"

    @property
    def token(self) -> Path:
        return self.folder / "ray_token"

    @property
    def password(self) -> str:
        return (self.folder / "mlflow_admin_password").read_text()

    def environment(self, **more: str) -> dict[str, str]:
        """What a person sets who uses the service."""
        ours = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }
        measured = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}
        return {**_plain_environment(self.folder), **measured, **ours, **more}

    def boot(self, host: str) -> None:
        """Have the host, with a /tmp/ray of its own; Ray looks for others of its kind among the processes it sees."""
        own = self.folder / "hosts" / host
        own.mkdir(parents=True, exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        setup = f"mount --bind {shlex.quote(str(own))} /tmp/ray && hostname {host}"
        script = f"{setup} && echo up && sleep infinity & wait"  # in a shell: a host's first process buries the dead
        command = ["ip", "netns", "exec", _namespace(host)]
        command += ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "bash", "-c", script]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as output:
            assert output.readline() == b"up\n"
        self.processes[host] = process
        (self.inits[host],) = _children(process.pid)

    def on(self, host: str, words: Sequence[str]) -> list[str]:
        """The command, as one that runs on a host."""
        return ["nsenter", f"--target={self.inits[host]}", "--net", "--mount", "--pid", "--uts", "--", *words]

    def popen(
        self, host: str, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                self.on(host, words), env=env, stdout=file, stderr=subprocess.STDOUT, cwd=cwd or self.folder
            )
        self.started.append(process)
        return process

    def start_postgres(self) -> None:
        data, port = self.folder / "postgres", 5432
        shutil.copytree(self.folder, data, ignore=lambda *_: os.listdir(self.folder))
        shutil.chown(data, "postgres", "postgres")
        data.chmod(0o700)
        binaries = max(Path("/usr/lib/postgresql").iterdir()) / "bin"
        password_file = data.with_name("postgres_password")
        secret = secrets.token_hex(16)
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        _write_secret(password_file, secret)
        shutil.chown(password_file, "postgres")
        initialise = [
            *as_postgres,
            str(binaries / "initdb"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "-U", "ablate", "-D", str(data)),
        ]
        subprocess.run(initialise, check=True, capture_output=True, cwd="/")
        (data / "pg_hba.conf").write_text("local all all scram-sha-256\nhost all all 10.77.0.0/16 scram-sha-256\n")
        address = f"{NET}.{HOSTS['services']}"
        words = [
            *as_postgres,
            str(binaries / "postgres"),
            *("-D", str(data), "-h", address, "-p", str(port), "-k", str(data), "-c", "fsync=off"),
        ]
        env = _plain_environment(self.folder)
        self.processes["postgres"] = self.popen("services", words, env, self.folder / "postgres.log", Path("/"))
        for name in ("mlflow", "mlflow_auth"):
            create = [str(binaries / "createdb"), "-h", address, "-p", str(port), "-U", "ablate", name]
            within = self.on("services", create)
            _until(lambda within=within: _succeeds(within, {**env, "PGPASSWORD": secret}), 30, "PostgreSQL")
        self.database = f"postgresql+psycopg2://ablate:{secret}@{address}:{port}"

    def start_mlflow(self) -> None:
        """Start, or start again, the MLflow server."""
        settings = self.folder / "basic_auth.ini"
        if not settings.exists():
            text = (
                "[mlflow]\ndefault_permission = READ\n"
                f"database_uri = {self.database}/mlflow_auth\nadmin_username = admin\n"
                f"admin_password = {self.password}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            _write_secret(settings, text)
            _write_secret(self.folder / "flask_secret", secrets.token_hex(16))
        env = {
            **_plain_environment(self.folder),
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": (self.folder / "flask_secret").read_text(),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, which ablate has no use for
        }
        words = [
            *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
            *("--backend-store-uri", f"{self.database}/mlflow"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
            *("--host", f"{NET}.{HOSTS['services']}", "--port", str(MLFLOW_PORT), "--allowed-hosts", "*"),
        ]
        self.processes["mlflow"] = self.popen("services", words, env, self.folder / "mlflow.log")
        _until(lambda: _answers(f"{self.mlflow}/health"), 180, "MLflow")

    def start_ray(self, host: str, cpus: int) -> None:
        """Have the host join the cluster, or, as the head, begin it."""
        ours = f"{NET}.{HOSTS[host]}"
        where = [f"--address={self.ray}"]
        if host == "head":
            where = [
                "--head",
                f"--port={RAY_PORT}",
                f"--dashboard-host={ours}",
                f"--dashboard-port={DASHBOARD_PORT}",
            ]
        words = [
            *(_tool("ray"), "start", *where, f"--node-ip-address={ours}", f"--num-cpus={cpus}", "--block"),
            *(f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"),
        ]
        log = self.folder / f"ray-{host}.log"
        env = {key: value for key, value in self.environment().items() if not key.startswith("COVERAGE_")}
        if host not in ("head", "driver"):  # workers need no MLflow
            env = {key: value for key, value in env.items() if not key.startswith("MLFLOW")}
        self.ray_starts[host] = (words, env, log)
        self.nodes[host] = self.popen(host, words, env, log)

    def start_ray_again(self, host: str) -> None:
        """On a busy machine Ray's processes give each other up."""
        if self.nodes[host].poll() is not None:
            self.nodes[host] = self.popen(host, *self.ray_starts[host])

    def until_nodes(self, count: int) -> None:
        """Wait for so many nodes; start those again that ended."""
        _until(lambda: any(map(self.start_ray_again, self.nodes)) or _nodes(self) == count, 180, f"node {count}")

    def kill(self, name: str) -> None:
        """kill -9 of a process, or of a host with all that runs there, as when it loses power."""
        process = self.processes.pop(name)
        for pid in [self.inits[name]] if name in self.inits else _descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        for process in self.started:
            process.wait(timeout=30)  # their hosts are gone


@contextlib.contextmanager
def running(folder: Path, *, mlflow: bool = True, cpus: Mapping[str, int] | None = None) -> Iterator[Service]:
    """All of the service; `cpus` of each Ray node, 1 unless told, none of the driver's host."""
    folder.chmod(0o755)
    cpus = cpus or {"head": 1, "one": 1, "two": 1, "driver": 0}
    with Network() as network:
        service = Service(folder, network)
        _write_secret(service.token, secrets.token_hex(32))
        _write_secret(folder / "mlflow_admin_password", secrets.token_urlsafe(16))
        try:
            for host in HOSTS:
                service.boot(host)
            if mlflow:
                service.start_postgres()
                service.start_mlflow()
            service.start_ray("head", cpus["head"])
            service.until_nodes(1)
            for host in cpus:
                if host != "head":
                    service.start_ray(host, cpus[host])
            service.until_nodes(len(cpus))
            yield service
        finally:
            service.end()


def _nodes(service: Service) -> int:
    """Return how many nodes are alive, 0 while the head does not answer: by HTTP, since Ray's command takes seconds."""
    request = urllib.request.Request(
        f"{service.jobs}/api/v0/nodes", headers={"Authorization": f"Bearer {service.token.read_text()}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            data = json.load(answer)["data"] or {}
    except OSError:
        return 0
    return sum(node["state"] == "ALIVE" for node in data.get("result", {}).get("result", []))


def _plain_environment(folder: Path) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "PYTHONPATH") if key in os.environ}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "HOME": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _namespace(host: str) -> str:
    return f"ablate{NUMBER}-{host}"


def _wire(host: str) -> str:
    return f"a{NUMBER}-{host}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _descendants(pid: int) -> list[int]:
    descendants, waiting = [], [pid]
    while waiting:
        descendants.append(waiting.pop())
        waiting += _children(descendants[-1])
    return descendants


def _children(pid: int) -> list[int]:
    children = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(entry.name))
    return children


def _succeeds(words: Sequence[str], env: Mapping[str, str]) -> bool:
    return subprocess.run(words, env=dict(env), capture_output=True, check=False).returncode == 0


def _answers(url: str, also: Collection[int] = ()) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code in also
    except OSError:
        return False


def _until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    over = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > over:
            raise TimeoutError(f"{what} did not come up within {seconds:.0f} s")
        time.sleep(0.3)


if __name__ == "__main__":
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running(folder) as started:
        for name, value in started.environment().items():
            if name.startswith(("RAY_AUTH", "MLFLOW")):
                sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.write(f'drive() {{ {shlex.join(started.on("driver", []))} "$@"; }}\n')
        sys.stdout.write(f"# up in {time.monotonic() - began:.0f} s. drive COMMAND: on a host of Ray {started.ray}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
