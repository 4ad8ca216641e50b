"""The databases of MLflow and of Optuna. Each needs one of its own: both keep their schema's version in one table."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from ablate.core.errors import UsageError

Owner = Literal["MLflow", "Optuna"]

SQLITE_MAGIC = b"SQLite format 3\0"
"""The first bytes of a database's file."""

_MARKS: dict[Owner, str] = {"MLflow": "experiments", "Optuna": "version_info"}
"""A table that each has in its database, and the other has not."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ALIASES = {"postgres": "postgresql", "mariadb": "mysql"}
_LOOPBACK = ("", "127.0.0.1", "::1")


def owners(tables: Collection[str]) -> list[Owner]:
    """Return whose database it is that has these tables: nobody's, or one's, or after a mistake of both.

    >>> owners(["alembic_version", "experiments", "runs"])
    ['MLflow']
    """
    return [owner for owner, table in _MARKS.items() if table in tables]


def owners_of_file(path: Path) -> list[Owner]:
    """Return whose database a file is. A file that is absent, or no database, is nobody's."""
    if not is_sqlite(path):
        return []
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as database:
        try:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        except sqlite3.Error:  # whoever opens it to work with it says what is wrong
            return []
    return owners([name for (name,) in rows])


def is_sqlite(path: Path) -> bool:
    """Return whether a file is an SQLite database."""
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


def sqlite_file(address: str) -> Path | None:
    """Return the file of an SQLite address; None for another database, or one in memory.

    >>> sqlite_file("sqlite:///all.db?timeout=5"), sqlite_file("sqlite:///:memory:"), sqlite_file("mysql://host/all")
    (PosixPath('all.db'), None, None)
    """
    scheme, _, rest = address.partition("://")
    name = rest.removeprefix("/").partition("?")[0]
    return Path(name) if scheme.partition("+")[0] == "sqlite" and name not in ("", ":memory:") else None


def check_apart(tuning: str | None, tracking: str | None) -> None:
    """Raise UsageError where Optuna and MLflow are to share a database, or where one has the other's.

    Args:
        tuning: Optuna's storage: an address or a file, as typed; None for a file of its own.
        tracking: MLflow's address, as typed; None for nowhere.
    """
    if tuning is None:
        return
    if tracking is not None and (location := _location(tuning)) is not None and location == _location(tracking):
        raise UsageError(
            f"tune.storage={tuning} track.uri={tracking}: one database for both, and each of Optuna and MLflow "
            "keeps its schema's version in the same table; allowed: two databases, or without tune.storage"
        )
    path = sqlite_file(tuning) if "://" in tuning else Path(tuning)
    if path is not None:
        refuse_other("tune.storage", tuning, owners_of_file(path), "Optuna")


def refuse_other(key: str, address: str, has: Collection[Owner], wanted: Owner) -> None:
    """Raise UsageError for a database that is, also, of the other one."""
    for other in has:
        if other != wanted:
            raise UsageError(
                f"{key}={address}: it is {other}'s database, and {wanted} needs one of its own; "
                "allowed: another, or the name of a new one"
            )


def _location(address: str) -> tuple[object, ...] | None:
    """Return where a database is, however its address is written; None for what is no database of a known kind."""
    if "://" not in address:
        return "sqlite", os.path.realpath(address)
    path = sqlite_file(address)
    if path is not None:
        return "sqlite", os.path.realpath(path)
    parts = urlsplit(address)
    kind = parts.scheme.partition("+")[0]
    kind = _ALIASES.get(kind, kind)
    try:
        port = parts.port
    except ValueError:  # whoever opens it says what is wrong
        return None
    if kind not in _PORTS:
        return None
    host = "localhost" if (parts.hostname or "") in _LOOPBACK else parts.hostname
    options = parse_qs(parts.query).get("options", [])  # of PostgreSQL: another schema is another place
    return kind, host, port or _PORTS[kind], parts.path.strip("/") or parts.username, *options
