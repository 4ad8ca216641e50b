"""The git checkout that a person works in: its commit, what differs from it, and that difference as a patch."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_BYTES_OF_DIFF = 1_000_000
"""The largest patch that is kept: more than this is data or generated files, and not what somebody edited."""

MOST_NAMES = 50
"""Changed files, and untracked ones, that are named; of more their number is kept."""

SECONDS_FOR_GIT = 10.0
OUTPUTS = ("runs", "reports", "exports", "mlruns", "mlartifacts", "mlflow.db")
"""What ablate and MLflow write where one types: it is no code, and so not named as untracked."""

_LETTERS_OF_DIGEST = 12


@dataclass(frozen=True)
class Checkout:
    """The state of a git checkout.

    Attributes:
        commit: the full hash; None in a repository without commits, and where there is none.
        changed: tracked files that differ from the commit.
        untracked: files and folders that git neither tracks nor ignores, without what ablate writes.
        diff: the patch from the commit to the files, which `git apply` takes; None without changes, or if not kept.
        note: why something is missing; empty where all is there.
    """

    commit: str | None = None
    changed: Sequence[str] = ()
    untracked: Sequence[str] = ()
    diff: bytes | None = None
    note: str = ""

    @property
    def diff_name(self) -> str | None:
        """The name of the patch's file, from its content, so that the same changes are kept once."""
        if self.diff is None:
            return None
        return f"git-{hashlib.sha256(self.diff).hexdigest()[:_LETTERS_OF_DIGEST]}.diff"

    def record(self) -> dict[str, Any]:
        """Return JSON-ready values: all but the patch, of which the file's name stands."""
        return {
            "commit": self.commit,
            "changed": _named(self.changed),
            "untracked": _named(self.untracked),
            "diff": self.diff_name,
            "note": self.note,
        }


def read(folder: Path, *, outputs: Collection[str] = ()) -> Checkout:
    """Return the state of the checkout that holds the folder. Nothing is raised and nothing is written.

    Args:
        folder: where the user works.
        outputs: names of files and folders in it that are no code, beside `OUTPUTS`.
    """
    try:
        status = _git(folder, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
    except FileNotFoundError:
        return Checkout(note="git is not installed")
    except subprocess.TimeoutExpired:
        return Checkout(note=f"git did not answer within {SECONDS_FOR_GIT:.0f} s")
    except OSError as error:
        return Checkout(note=f"git cannot be run: {error.strerror or error}")
    if status.returncode:
        reason = status.stderr.decode(errors="replace").strip().partition("\n")[0]
        return Checkout(note="no git repository" if "not a git repository" in reason else f"git: {reason[:200]}")
    commit, changed, untracked = _parsed(status.stdout.decode(errors="surrogateescape"))
    untracked = [name for name in untracked if not _is_output(name, {*OUTPUTS, *outputs})]
    diff, note = _diff(folder) if changed and commit else (None, "")
    return Checkout(commit, _printable(changed), _printable(untracked), diff, note)


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = _command(folder, words)
    return subprocess.run(command, capture_output=True, check=False, env=_quiet(), timeout=SECONDS_FOR_GIT)


def _command(folder: Path, words: Sequence[str]) -> list[str]:
    return ["git", "-C", str(folder), *words]


def _quiet() -> dict[str, str]:
    """Return the environment of a git that takes no lock, which would be in the user's way, and asks nothing."""
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _diff(folder: Path) -> tuple[bytes | None, str]:
    """Return the patch, or else why it is not kept. No program that the user configured for diffs is run."""
    words = ("diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    try:
        git = subprocess.Popen(_command(folder, words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_quiet())
    except OSError:
        return None, "the changes are not kept: git cannot be run"
    limit = threading.Timer(SECONDS_FOR_GIT, git.kill)
    limit.start()
    with git:
        assert git.stdout is not None
        patch = git.stdout.read(MOST_BYTES_OF_DIFF + 1)
        if len(patch) > MOST_BYTES_OF_DIFF:
            git.kill()
    limit.cancel()
    if len(patch) > MOST_BYTES_OF_DIFF:
        return None, f"the changes are not kept: more than {MOST_BYTES_OF_DIFF / 1e6:g} MB"
    if git.returncode:
        return None, "the changes are not kept: git did not write them"
    return patch or None, ""


def _parsed(status: str) -> tuple[str | None, list[str], list[str]]:
    """Return the commit, the changed files and the untracked ones of `git status --porcelain=v2 --branch -z`."""
    commit, changed, untracked = None, list[str](), list[str]()
    entries = iter(status.split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if entry.startswith("# branch.oid "):
            oid = entry.removeprefix("# branch.oid ")
            commit = None if oid == "(initial)" else oid
        elif kind == "?":
            untracked.append(rest)
        elif kind in ("1", "u"):
            changed.append(rest.split(" ", 7 if kind == "1" else 9)[-1])
        elif kind == "2":  # renamed: the earlier path is an entry of its own
            changed.append(rest.split(" ", 8)[-1])
            next(entries, None)
    return commit, changed, untracked


def _is_output(name: str, outputs: Collection[str]) -> bool:
    """Return whether an untracked file or folder is ablate's; beside a database are the files of its locks and log."""
    last = name.rstrip("/").rpartition("/")[2]
    return last in outputs or last.startswith("mlflow.db")


def _printable(names: Sequence[str]) -> list[str]:
    """Return the names of files as text that every encoding of a log takes."""
    return [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]


def _named(names: Sequence[str]) -> list[str]:
    more = len(names) - MOST_NAMES
    return [*names[:MOST_NAMES], *([f"and {more} more"] if more > 0 else [])]
