"""Starts the services of docker/compose.yaml for real, without Docker, as `docker compose up --wait` would.

Each service gets its own network, mount and process namespaces, the writable layer over its image's folder, its user,
environment, secrets, volumes and command that the resolved file tells, and starts when what it depends on is healthy.
As root, with folders that stand for the images, the first made by run_dockerfile.py:

    python -m tests.cluster.run_compose scratch --image ablate:cpu=built/cpu \\
        --image postgres:17-bookworm=debian-postgres --scale worker=2 \\
        --then client 'python -m ablate.run -m norm=bn,srelu bits=1,32'

The second is a Debian with PostgreSQL, the official image's docker-entrypoint.sh in /usr/local/bin, its folders with
their owners and modes, and its ENV as NAME=VALUE lines in /etc/environment.d/*.conf.

Not shown by this: limits of memory and cores, published ports, restarts, and the official images themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.run_dockerfile import CHECKOUT, PYTHON_IMAGE_PATH, Stage, stages

COMPOSE = CHECKOUT / "docker" / "compose.yaml"
SECONDS_TO_BE_HEALTHY = 240
OURS = f"c{os.getpid()}"
"""Begins the name of everything made on the machine, so that nothing of anybody else's is met or taken away."""

START = r"""
mount --make-rprivate /
layer=$1 image=$2 mounts=$3 user=$4 folder=$5
shift 5
root=$layer/root
mkdir -p "$layer/upper" "$layer/work" "$root"
mount -t overlay overlay -o "lowerdir=$image,upperdir=$layer/upper,workdir=$layer/work" "$root"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
rm -f "$root/etc/hosts" "$root/etc/resolv.conf"
cp "$layer/hosts" "$root/etc/hosts"
while IFS='|' read -r source target; do
  if [ -d "$source" ]; then mkdir -p "$root$target"; else mkdir -p "$(dirname "$root$target")"; touch "$root$target"; fi
  mount --bind "$source" "$root$target"
done < "$mounts"
chroot --userspec="$user" "$root" env -i -C "$folder" "$@"
exit $?
"""


class Container:
    """One started service."""

    def __init__(self, name: str, service: dict[str, Any], image: Path, scratch: Path) -> None:
        self.name = name
        self.service = service
        self.image = image
        self.layer = scratch / "layers" / name
        self.layer.mkdir(parents=True)
        self.folder = "/"
        self.env = {"PATH": PYTHON_IMAGE_PATH, "HOME": "/"}
        if "build" in service:
            self.folder, self.env = image_settings(service["build"]["target"], self.env)
        for file in sorted((image / "etc/environment.d").glob("*.conf")):  # what stands for another image's ENV
            self.env |= dict(line.split("=", 1) for line in file.read_text().splitlines())
        self.env |= {key: str(value) for key, value in (service.get("environment") or {}).items()}

    def start(self, mounts: list[tuple[str, str]], hosts: str) -> None:
        (self.layer / "hosts").write_text(hosts)
        (self.layer / "mounts").write_text("".join(f"{source}|{target}\n" for source, target in mounts))
        entrypoint = self.service.get("entrypoint") or image_entrypoint(self.image)
        words = [str(word).replace("$$", "$") for word in [*entrypoint, *(self.service.get("command") or ["postgres"])]]
        inside = [*(f"{key}={value}" for key, value in self.env.items()), *words]
        where = [str(self.layer), str(self.image), str(self.layer / "mounts"), self.service["user"], self.folder]
        apart = ["ip", "netns", "exec", netns(self.name), "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        self.log = (self.layer / "log").open("wb")
        self.process = subprocess.Popen(
            [*apart, "bash", "-euc", START, "bash", *where, *inside], stdout=self.log, stderr=subprocess.STDOUT
        )

    def enter(self, words: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in it, as `docker compose exec` does."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            return subprocess.CompletedProcess(words, 1)  # it is about to start, or has ended
        inside = ["env", "-i", "-C", self.folder, *(f"{key}={value}" for key, value in self.env.items()), *words]
        apart = ["nsenter", "--target", children[0], "--mount", "--net", "--pid"]
        chroot = ["chroot", f"--userspec={self.service['user']}", str(self.layer / "root")]
        return subprocess.run([*apart, *chroot, *inside], check=False, **options)

    def wait(self, condition: str) -> None:
        """Until it is as another service needs it.

        Raises:
            SystemExit: it ended, or is not healthy in time.
        """
        started = time.monotonic()
        while time.monotonic() - started < SECONDS_TO_BE_HEALTHY:
            ended = self.process.poll()
            if condition == "service_completed_successfully":
                if ended == 0:
                    return
            elif ended is None:
                test = self.service["healthcheck"]["test"]
                if self.enter(test[1:], capture_output=True).returncode == 0:
                    return
            if ended is not None:
                sys.exit(f"{self.name} ended with {ended}:\n{(self.layer / 'log').read_text()[-3000:]}")
            time.sleep(1)
        sys.exit(f"{self.name}: not {condition}:\n{(self.layer / 'log').read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)  # of unshare, which takes the whole namespace with it
        self.process.wait()
        self.log.close()


def netns(name: str) -> str:
    return f"{OURS}-{name}"


def image_settings(target: str, env: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The working folder and the environment of an image of docker/Dockerfile."""
    chain, stage = [target], Stage(Path(), dict(env))
    while (source := stages()[chain[0]][0][1].split()[0]) in stages():
        chain.insert(0, source)
    for name in chain:
        for instruction, value in stages()[name]:
            stage.apply(instruction, value, {})
    return stage.folder, stage.env


def image_entrypoint(image: Path) -> list[str]:
    return ["docker-entrypoint.sh"] if (image / "usr/local/bin/docker-entrypoint.sh").exists() else []


def ordered(services: dict[str, Any]) -> list[str]:
    order: list[str] = []

    def visit(name: str) -> None:
        for needed in services[name].get("depends_on") or {}:
            visit(needed)
        if name not in order:
            order.append(name)

    for name in services:
        visit(name)
    return order


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def network(
    names: dict[str, list[str]], networks: dict[str, dict[str, Any]], undo: contextlib.ExitStack
) -> dict[str, str]:
    """A namespace for each container, a bridge for each network, a cable between; each container's /etc/hosts."""
    for name in names:
        ip("netns", "add", netns(name))
        undo.callback(ip, "netns", "del", netns(name))
        ip("-n", netns(name), "link", "set", "lo", "up")
    addresses: dict[str, dict[str, str]] = {}
    for number, (net, how) in enumerate(sorted(networks.items())):
        bridge, subnet = f"{OURS}b{number}", f"10.213.{number}"
        ip("link", "add", bridge, "type", "bridge")
        undo.callback(ip, "link", "del", bridge)
        ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        members = [name for name, nets in names.items() if net in nets]
        addresses[net] = {name: f"{subnet}.{10 + index}" for index, name in enumerate(members)}
        for index, name in enumerate(members):
            near, far = f"{OURS}v{number}x{index}", f"eth{number}"
            ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", netns(name))
            undo.callback(ip, "link", "del", near)
            ip("link", "set", near, "master", bridge, "up")
            ip("-n", netns(name), "addr", "add", f"{addresses[net][name]}/24", "dev", far)
            ip("-n", netns(name), "link", "set", far, "up")
            if not how.get("internal"):
                ip("-n", netns(name), "route", "add", "default", "via", f"{subnet}.1")
    return {
        name: "127.0.0.1 localhost\n"
        + "".join(f"{address} {other}\n" for net in nets for other, address in addresses[net].items())
        for name, nets in names.items()
    }


def volume(scratch: Path, name: str, image: Path, target: str) -> Path:
    """A named volume; a new one has the owner and mode of the folder that it covers, as Docker does it."""
    path = scratch / "volumes" / name
    if not path.exists():
        path.mkdir(parents=True)
        covered = image / target.lstrip("/")
        os.chown(path, covered.stat().st_uid, covered.stat().st_gid)
        path.chmod(covered.stat().st_mode & 0o7777)
    return path


def mounts_of(container: Container, composed: dict[str, Any], scratch: Path) -> list[tuple[str, str]]:
    mounts = []
    for mount in container.service.get("volumes") or []:
        mounts.append((str(volume(scratch, mount["source"], container.image, mount["target"])), mount["target"]))
    for kind in ("secrets", "configs"):
        for mount in container.service.get(kind) or []:
            mounts.append((composed[kind][mount["source"]]["file"], mount["target"]))
    return mounts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--image", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--scale", default="worker=1", metavar="worker=N")
    parser.add_argument("--then", action="append", nargs=2, default=[], metavar=("SERVICE", "LINE"))
    given = parser.parse_args()
    images = {name: Path(path).absolute() for name, path in (image.rsplit("=", 1) for image in given.image)}
    completed = subprocess.run(
        ["docker-compose", "--file", str(COMPOSE), "config", "--format", "json"], check=True, capture_output=True
    )
    composed = json.loads(completed.stdout)  # nothing at all where the file is wrong: its status gets lost on the way
    workers = int(given.scale.removeprefix("worker="))
    scratch = given.scratch.absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch / "layers", ignore_errors=True)

    services = composed["services"]
    for number in range(1, workers):
        services[f"worker{number + 1}"] = services["worker"]
    names = {name: sorted(service["networks"]) for name, service in services.items()}
    running: dict[str, Container] = {}
    failed = 0
    with contextlib.ExitStack() as undo:
        hosts = network(names, composed["networks"], undo)
        for name in ordered(services):
            service = services[name]
            for needed, how in (service.get("depends_on") or {}).items():
                running[needed].wait(how["condition"])
            running[name] = Container(name, service, images[service["image"]], scratch)
            running[name].start(mounts_of(running[name], composed, scratch), hosts[name])
            undo.callback(running[name].stop)
            tell(f"{name} started")
        for name, container in running.items():
            if "healthcheck" in services[name]:
                container.wait("service_healthy")
                tell(f"{name} healthy")
        for name, line in given.then:
            tell(f"{name}$ {line}")
            status = running[name].enter(["bash", "-c", line]).returncode
            tell(f"exit status {status}")
            failed |= status
    sys.exit(failed)


def tell(text: str) -> None:
    print(f"{time.strftime('%X')} {text}", flush=True)


if __name__ == "__main__":
    main()
