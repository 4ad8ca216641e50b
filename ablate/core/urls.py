"""Addresses of servers and databases: how they are written, and that none holds a password."""

from __future__ import annotations

import re
from pathlib import Path

from ablate.core.errors import UsageError

SQLITE = "sqlite:///"


MLFLOW_DEFAULT = f"{SQLITE}mlflow.db"
"""Where `mlflow ui`, typed without flags, looks."""


SERVER_NOT_NAMED = "server"
"""The address in conf/track/server.yaml where MLFLOW_TRACKING_URI names none."""


MLFLOW_CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials"


def refuse_password(key: str, uri: str) -> None:
    """Raise UsageError for an address with a password in it: addresses are kept, and shown."""
    if re.match(r"[^/]*://[^/@]*:[^/@]*@", uri):
        hidden = re.sub(r"://.*@", "://...@", uri)
        places = (
            MLFLOW_CREDENTIALS
            if uri.startswith("http")
            else "PGPASSWORD, ~/.pgpass, or the database's own place for it"
        )
        raise UsageError(f"{key}={hidden}: holds a password, which would be kept and shown; allowed: in {places}")


def absolute(uri: str) -> str:
    """The address with an absolute path where it names a file: MLflow keeps stores by their address."""
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri
