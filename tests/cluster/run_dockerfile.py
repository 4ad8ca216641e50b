"""Runs every RUN line of docker/Dockerfile for real, without Docker: each stage in a folder of its own, by chroot.

As root, from a Debian bookworm with Python 3.11 in a folder, which is left as it is:

    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm base
    python -m tests.cluster.run_dockerfile base scratch cpu
    chroot --userspec=1000:1000 scratch/cpu bash      # or: --then 'the line to run as the image would'

FROM is a copy of another stage's folder, COPY one of the checkout's files that .dockerignore lets in, or of a stage's.
--arg NAME=VALUE is docker's --build-arg; --env NAME=VALUE and --bind FOLDER give a machine's own way to its packages.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILE = CHECKOUT / "docker" / "Dockerfile"
PYTHON_IMAGE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

MOUNTS = """
mount --make-rprivate /
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
root=$1 user=$2 folder=$3
shift 3
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  shift
done
shift
exec chroot --userspec="$user" "$root" env -i -C "$folder" "$@"
"""
"""In a mount namespace of its own, so that nothing stays mounted."""


@dataclass
class Stage:
    """A stage as it is before its next instruction."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PYTHON_IMAGE_PATH})
    args: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    folder: str = "/"

    def filled(self, text: str) -> str:
        """The text with $NAME and ${NAME} replaced as Docker does outside RUN."""
        values = {**self.args, **self.env}
        return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), text)

    def copied(self, root: Path) -> Stage:
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.root), str(root)], check=True)
        return Stage(root, dict(self.env), {}, self.user, self.folder)

    def apply(self, instruction: str, value: str, build_args: dict[str, str]) -> None:
        """An instruction that changes what the next ones see, and no file."""
        if instruction == "ENV":
            self.env |= {key: self.filled(text) for key, text in (pair.split("=", 1) for pair in shlex.split(value))}
        elif instruction == "ARG":
            key, _, default = value.partition("=")
            self.args[key] = build_args.get(key, default)
        elif instruction == "USER":
            self.user = self.filled(value)
        elif instruction == "WORKDIR":
            self.folder = value

    def run(self, line: str, extra: dict[str, str], binds: list[str]) -> None:
        """Run a shell line as the stage's user.

        Raises:
            CalledProcessError: it failed.
        """
        environment = [f"{name}={value}" for name, value in {**self.args, **self.env, **extra}.items()]
        inside = [*environment, "/bin/sh", "-c", line]
        words = ["sh", "-euc", MOUNTS, "sh", str(self.root), self.user, self.folder, *binds, "--", *inside]
        subprocess.run(["unshare", "--mount", *words], check=True)


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile and its value, continued lines joined."""
    with DOCKERFILE.open("rb") as file:
        parsed = DockerfileParser(fileobj=file, env_replace=False).structure
    return [
        (instruction["instruction"], instruction["value"])
        for instruction in parsed
        if instruction["instruction"] != "COMMENT"
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage's instructions by its name, its FROM first."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for instruction, value in instructions():
        if instruction == "FROM":
            name = value.split()[-1]
            stages[name] = []
        stages[name].append((instruction, value))
    return stages


def needed(target: str) -> list[str]:
    """The stages that a target is built from, each after those that it needs."""
    known = stages()
    order: list[str] = []

    def visit(name: str) -> None:
        for instruction, value in known[name]:
            source = value.split()[0]
            if instruction == "FROM" and source in known:
                visit(source)
            elif instruction == "COPY" and source.startswith("--from="):
                visit(source.removeprefix("--from="))
        if name not in order:
            order.append(name)

    visit(target)
    return order


def context() -> list[str]:
    """The checkout's files that .dockerignore lets in: it refuses everything, and names the exceptions."""
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    files = [path for name in allowed for path in sorted([CHECKOUT / name, *(CHECKOUT / name).rglob("*")])]
    return [str(path.relative_to(CHECKOUT)) for path in files if path.is_file() and "__pycache__" not in path.parts]


def copy(stage: Stage, value: str, built: dict[str, Stage]) -> None:
    *sources, to = value.split()
    target = stage.root / os.path.join(stage.folder, to).lstrip("/")
    if sources[0].startswith("--from="):
        source = built[sources[0].removeprefix("--from=")].root / sources[1].lstrip("/")
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)
        return
    for name in context():
        if sources == ["."] or name in sources:
            path = target / (name if sources == ["."] else Path(name).name)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, path)


def as_python_image(stage: Stage) -> None:
    """Debian's Python where python:3.11-slim-bookworm has its own, /usr/local/bin; and the network's names."""
    for name in ("python", "python3"):
        link = stage.root / "usr/local/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/usr/bin/python3.11")
    shutil.copy("/etc/resolv.conf", stage.root / "etc/resolv.conf")


def build(base: Path, scratch: Path, target: str, given: argparse.Namespace) -> Stage:
    built: dict[str, Stage] = {}
    build_args = dict(pair.split("=", 1) for pair in given.arg)
    extra = dict(pair.split("=", 1) for pair in given.env)
    for name in needed(target):
        for instruction, value in stages()[name]:
            started = time.monotonic()
            if instruction == "FROM":
                source = built.get(value.split()[0], Stage(base))
                built[name] = source.copied(scratch / name)
                if value.split()[0] not in built:
                    as_python_image(built[name])
            stage = built[name]
            if instruction == "RUN":
                stage.run(value, extra, given.bind)
            elif instruction == "COPY":
                copy(stage, value, built)
            else:
                stage.apply(instruction, value, build_args)
                (stage.root / stage.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            print(f"{name} | {time.monotonic() - started:6.1f} s | {instruction} {value[:90]}", flush=True)
    return built[target]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a folder with Debian bookworm and Python 3.11")
    parser.add_argument("scratch", type=Path, help="an empty folder for the stages")
    parser.add_argument("target", choices=("cpu", "cuda"))
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--bind", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--then", action="append", default=[], metavar="LINE", help="run in the image, as its user")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    if any(given.scratch.iterdir()):
        sys.exit(f"{given.scratch}: not empty; allowed: an empty or a new folder")
    stage = build(given.base, given.scratch, given.target, given)
    print(f"{stage.root}: {size_mb(stage.root)} MB, of which Debian {size_mb(given.base)}", flush=True)
    for line in given.then:
        stage.run(line, {}, [])


def size_mb(folder: Path) -> int:
    completed = subprocess.run(["du", "-smx", str(folder)], check=True, capture_output=True, text=True)
    return int(completed.stdout.split()[0])


if __name__ == "__main__":
    main()
