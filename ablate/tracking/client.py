"""Connecting to MLflow, and telling an MLflow that does not answer now from one that refuses."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ablate.core import invocation
from ablate.core.errors import UsageError
from ablate.core.urls import SQLITE, absolute
from ablate.tracking import address, moved

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

READER_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
SETTINGS = {
    **READER_SETTINGS,
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the tracker itself tries again; MLflow would try for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; a server may accept a connection, and then hang
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, over the progress display
}
"""MLflow's environment variables, of a process that reads and of one that writes, where the user has not set them."""

_UNAVAILABLE = (429, 500, 502, 503, 504)  # 501 says that something other than MLflow answers
_IN_SHORT = re.compile(
    r"Connection refused|timed out|database is locked|Connection reset|Connection aborted"
    r"|error code \d+|too many \d+"
)


def connect(uri: str) -> MlflowClient:
    """Return an MLflow client that writes. A new SQLite database is made whole before it gets its name.

    A database that two processes open while it is new, or whose maker is killed, is broken for good.

    Raises:
        UsageError: there is something at the address that cannot be opened.
        Exception: one for which `is_unavailable` is true, when nothing answers at the address now.
    """
    if uri.startswith(SQLITE):
        _make_database(Path(uri.removeprefix(SQLITE)))
        moved.bring_up_to_date(Path(uri.removeprefix(SQLITE)))
    return _open(
        uri,
        SETTINGS,
        log_level=logging.CRITICAL,  # MLflow logs each error with a stack trace, and then raises it
        is_passed_on=lambda error: _is_locked(error) or (uri.startswith("http") and is_unavailable(error)),
    )


def connect_to_existing(uri: str) -> MlflowClient:
    """Return an MLflow client for reading. It makes no database where there is none.

    Raises:
        UsageError: there is nothing at the address, or it cannot be opened.
    """
    address.check(uri)
    path = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not path.is_file():
        raise UsageError(
            f"track.uri={uri}: there is no {path}; run a study first, in this folder: "
            f"{invocation.command('run')} -m norm=bn,srelu bits=1,32"
        )
    if uri.startswith(SQLITE):
        moved.bring_up_to_date(path)
    return _open(absolute(uri), READER_SETTINGS, log_level=logging.ERROR, typed=uri)


def _open(
    uri: str,
    settings: Mapping[str, str],
    *,
    log_level: int,
    typed: str | None = None,
    is_passed_on: Callable[[BaseException], bool] = lambda error: False,
) -> MlflowClient:
    """Return a client whose server or database has answered once.

    Args:
        uri: the address.
        settings: environment variables for MLflow, set where the user has not.
        log_level: of MLflow's own log.
        typed: the address for messages, where it differs from `uri`.
        is_passed_on: whether an error is raised as it is, rather than as a UsageError.
    """
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(log_level)
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
        if is_passed_on(error):
            raise
        raise UsageError(f"track.uri={typed or uri}: cannot be opened: {str(error).partition(chr(10))[0]}") from error
    return client


def _make_database(path: Path) -> None:
    """Make a new SQLite database under another name, and rename it, under a lock."""
    if _is_made(path):  # the lock may be of another user of the database
        return
    with FileLock(f"{path}.lock"):
        if _is_made(path):
            return
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        _open(f"{SQLITE}{new}", SETTINGS, log_level=logging.CRITICAL, is_passed_on=lambda error: True)
        new.replace(path)


def _is_made(path: Path) -> bool:
    """Return whether the database is there: it gets its name when it is whole."""
    return path.exists() and path.stat().st_size > 0


def is_unavailable(error: BaseException) -> bool:
    """Return whether an error says that nothing answers now (refused, timed out, 5xx, locked), so that one retries."""
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith(("requests", "urllib3")):
        return True
    status = getattr(error, "get_http_status_code", None)
    return _is_locked(error) or (status is not None and status() in _UNAVAILABLE)


def is_conflict(error: BaseException) -> bool:
    """Return whether the database refused a row because another driver wrote the same row in that moment."""
    return any(text in str(error) for text in ("IntegrityError", "UniqueViolation", "Duplicate entry"))


def why(error: BaseException) -> str:
    """Return the reason in a few words, out of MLflow's long message."""
    text = " ".join(str(error).split())
    known = _IN_SHORT.search(text) or re.search(r"(?<=Caused by )\w+", text)
    return known[0] if known else text.partition(" (")[0][:200] or type(error).__name__


def _is_locked(error: BaseException) -> bool:
    return "database is locked" in str(error)
