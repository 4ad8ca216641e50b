"""Addresses of servers and databases. None of them may hold a password."""

from __future__ import annotations

import re
from pathlib import Path

from ablate.core.errors import UsageError

SQLITE = "sqlite:///"

MLFLOW_DEFAULT = f"{SQLITE}mlflow.db"
"""The database that `mlflow ui` opens when it is typed without flags."""

SERVER_NOT_NAMED = "server"
"""The address in conf/track/server.yaml when MLFLOW_TRACKING_URI is not set."""

MLFLOW_CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials"


def refuse_password(key: str, uri: str) -> None:
    """Raise UsageError for an address with a password in it, since addresses are stored and shown."""
    if re.match(r"[^/]*://[^/@]*:[^/@]*@", uri):
        hidden = re.sub(r"://.*@", "://...@", uri)
        stores = (
            MLFLOW_CREDENTIALS
            if uri.startswith("http")
            else "PGPASSWORD, ~/.pgpass, or the database's own password store"
        )
        raise UsageError(f"{key}={hidden}: holds a password, which would be kept and shown; allowed: in {stores}")


def absolute(uri: str) -> str:
    """Return the address with an absolute path where it names a file.

    MLflow caches stores by their address, so a relative path would mean another file in another working directory.
    """
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri
