"""The way into MLflow, and which of its errors mean that it is away, not that it refuses."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.core.errors import UsageError
from ablate.core.urls import SQLITE

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the tracker itself tries again; MLflow would for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; a server may accept, and then hang
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, over the progress display
}
"""MLflow's environment, where the user has not set it."""

_AWAY = (429, 500, 502, 503, 504)  # 501 says that something else answers
_IN_SHORT = re.compile(
    r"Connection refused|timed out|database is locked|Connection reset|Connection aborted"
    r"|error code \d+|too many \d+"
)


def connect(uri: str) -> Any:
    """An MLflow client; a new SQLite database is made whole before it gets its name.

    A database that two processes open while it is new, or whose maker is killed, is broken for good.

    Raises:
        UsageError: there is something at the address that cannot be opened.
        Exception: one that is `away`, when nobody answers there now.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it logs each error with a stack, then raises it

    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        with FileLock(f"{path}.lock"):
            if not path.exists() or not path.stat().st_size:
                new = path.with_name(f"{path.name}.new")
                new.unlink(missing_ok=True)
                MlflowClient(f"{SQLITE}{new}").search_experiments(max_results=1)
                new.replace(path)
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if _is_locked(error) or (uri.startswith("http") and away(error)):
            raise
        raise UsageError(f"track.uri={uri}: cannot be opened: {str(error).splitlines()[0]}") from error
    return client


def away(error: BaseException) -> bool:
    """Whether the error says that nobody answers now (refused, timed out, 5xx, locked), so that one tries again."""
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith(("requests", "urllib3")):
        return True
    status = getattr(error, "get_http_status_code", None)
    return _is_locked(error) or (status is not None and status() in _AWAY)


def is_conflict(error: BaseException) -> bool:
    """Whether the database refused a row because another driver had put the same there in that moment."""
    return any(text in str(error) for text in ("IntegrityError", "UniqueViolation", "Duplicate entry"))


def why(error: BaseException) -> str:
    """The reason in a few words, out of MLflow's many."""
    text = " ".join(str(error).split())
    known = _IN_SHORT.search(text) or re.search(r"(?<=Caused by )\w+", text)
    return known[0] if known else text.partition(" (")[0][:200] or type(error).__name__


def _is_locked(error: BaseException) -> bool:
    return "database is locked" in str(error)
