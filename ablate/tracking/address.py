"""Checking MLflow's tracking address before anything starts, without importing MLflow."""

from __future__ import annotations

import base64
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from ablate.core import databases, folders, provenance
from ablate.core.errors import UsageError
from ablate.core.urls import MLFLOW_CREDENTIALS, SERVER_NOT_NAMED, SQLITE, refuse_password

ALLOWED = "sqlite:///FILE, http://HOST:PORT, https://HOST, postgresql://..., mysql://..."
SECONDS_TO_ANSWER = 5.0
"""How long a server may take to accept a connection, and to answer."""

_DATABASES = ("postgresql", "mysql", "mssql")


def check(uri: str, *, writing: bool = False) -> None:
    """Raise UsageError for a tracking address that cannot work, with `writing` for one that cannot be written to.

    Nothing is created at the address.
    """
    if uri == SERVER_NOT_NAMED:
        raise UsageError(
            "track=server: MLFLOW_TRACKING_URI is not set; allowed: MLFLOW_TRACKING_URI=http://SERVER:5000"
        )
    refuse_password("track.uri", uri)
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        _check_file(uri, path)
        if writing:
            check_writable(uri)
    elif uri.startswith(("http://", "https://")):
        _check_server(uri)
    elif uri.startswith(_DATABASES):
        _check_driver(uri)
    else:
        raise UsageError(f"track.uri={uri}: allowed: {ALLOWED}")


def _check_file(uri: str, path: Path) -> None:
    if path.is_dir() or not path.name:
        raise UsageError(f"track.uri={uri}: {path} is a folder; allowed: {ALLOWED}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"track.uri={uri}: {path.absolute().parent} is not a folder; allowed: {ALLOWED}")
    if path.is_file() and path.stat().st_size:
        if not databases.is_sqlite(path):
            raise UsageError(f"track.uri={uri}: {path} is a file, but not an SQLite database")
        databases.refuse_other("track.uri", uri, databases.owners_of_file(path), "MLflow")


def check_writable(uri: str) -> None:
    """Raise UsageError for a file of a database in which nothing can be written: SQLite needs its folder, too."""
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    for needed in (path.absolute().parent, path.absolute()):
        if needed.exists() and (why := folders.refusal(needed)):
            raise UsageError(f"track.uri={uri}: {why}: {needed}; allowed: a database to which you may write")


def _check_driver(uri: str) -> None:
    """Raise UsageError for a database whose driver is missing, before tracking starts."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ArgumentError as error:
        raise UsageError(f"track.uri={uri}: not a database's address; allowed: {ALLOWED}") from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"track.uri={uri}: its driver {error.name} is not installed; allowed: a database whose driver is"
        ) from error


def _check_server(uri: str) -> None:
    """Raise UsageError where no server answers or it refuses the credentials; MLflow would retry for minutes."""
    try:
        parts = urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"track.uri={uri}: no server answers there ({reason}); allowed: a running MLflow server, or {SQLITE}FILE"
        ) from error
    _check_credentials(uri)


def _check_credentials(uri: str) -> None:
    """Raise UsageError where the server refuses a small request for lack of rights.

    Every other failure of the server is left to the tracker, which retries.
    """
    user, password = provenance.credentials()
    request = urllib.request.Request(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    if user and password:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {encoded}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in (401, 403):
            return
        if "Authorization" not in request.headers:
            why = f"it wants a user and a password, and there are none; allowed: {MLFLOW_CREDENTIALS}"
        else:
            why = f"it refused {f'user {user}' if user else 'the token'}; allowed: a user and a password that it knows"
        raise UsageError(f"track.uri={uri}: {why}") from None
    except OSError:
        return
