"""A project folder that was renamed, or copied: MLflow's database holds absolute paths to the artifacts beside it.

This is all that ablate uses of MLflow's tables: experiments.artifact_location and runs.artifact_uri.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

FOLDER = "mlruns"
"""Of artifacts, beside the database."""

_READ_ONLY: dict[str, str] = {}
"""Locations in databases in which one may not write -> where the artifacts are now."""


def beside(database: Path, experiment: str) -> Path:
    """Return the folder of the artifacts of a study's experiment."""
    return database.absolute().parent / FOLDER / experiment


def bring_up_to_date(database: Path) -> None:
    """Point experiments whose artifacts came along to where they are now; nothing is written to the old place again.

    An experiment whose artifacts are still where they were, and not here, is left alone: only the database was moved.
    In a database in which one may not write nothing is changed: this process alone knows where the artifacts are.
    """
    columns = "experiment_id, name, artifact_location"
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, contextlib.suppress(sqlite3.Error):
        for experiment_id, name, location in connection.execute(f"SELECT {columns} FROM experiments").fetchall():
            now = _new_location(database, name, location or "")
            if now is None:
                continue
            try:
                _move(connection, experiment_id, location, now)
            except sqlite3.Error:
                _READ_ONLY[location] = now
        connection.commit()


def is_out_of_date(uri: str) -> bool:
    """Return whether an artifact address is of the old place, in a database in which one may not write."""
    return any(uri.startswith(f"{before}/") for before in _READ_ONLY)


def local_folder(uri: str) -> Path | None:
    """Return the folder at an artifact address; None for one that is not on this machine."""
    for before, now in _READ_ONLY.items():
        if uri.startswith(f"{before}/"):
            uri = now + uri.removeprefix(before)
    parts = urlsplit(uri)
    path = url2pathname(parts.path) if parts.scheme in ("", "file") else ""
    return Path(path) if path else None


def _new_location(database: Path, name: str, location: str) -> str | None:
    """Return where an experiment's artifacts are now; None where they are as it says, or are not ablate's."""
    before, now = local_folder(location), beside(database, name)
    if before is None or before == now or before.parts[-2:] != (FOLDER, name):
        return None
    if before.is_dir() and (not now.is_dir() or before.samefile(now)):
        return None
    return now.as_uri()


def _move(connection: sqlite3.Connection, experiment_id: int, before: str, now: str) -> None:
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
        (now, experiment_id),
    )
    connection.execute(
        "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
        "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
        (now, len(before) + 1, experiment_id, len(before) + 1, f"{before}/"),
    )
