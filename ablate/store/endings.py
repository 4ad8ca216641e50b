"""How an attempt at a trial ends: whatever its code raises becomes an outcome with a reason."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from ablate.core.config import Config
from ablate.core.errors import Diverged, ProcessLost, Pruned, Stopped, UsageError
from ablate.core.events import Done, Event, Failed


def ending_in_an_outcome(
    run: Callable[[Config, Path], Iterator[Event]], config: Config, directory: Path, *, alone: bool
) -> Iterator[Event]:
    """Yield the run's events; where it raises, a failure in place of the error.

    Raises:
        ProcessLost: a process that trained the trial together with others died.
        OSError: the disk is full.
    """
    try:
        last: Event | None = None
        for last in run(config, directory):
            yield last
        if not isinstance(last, Done | Failed):
            yield Failed(kind="error", reason="the trial ended without saying Done or Failed")
    except ProcessLost:
        raise
    except Stopped:
        return
    except Pruned as error:
        yield Failed(kind="pruned", reason=str(error))
    except Diverged as error:
        yield Failed(kind="diverged", reason=str(error))
    except Exception as error:
        if full_disk(error):
            raise
        out_of_memory = (
            isinstance(error, MemoryError)
            or type(error).__name__ == "OutOfMemoryError"
            or "can't allocate memory" in str(error)  # torch on a CPU raises a bare RuntimeError
        )
        yield Failed(
            kind="oom" if out_of_memory else "error",
            reason=_reason(error),
            traceback=traceback.format_exc(),
            alone=alone,
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, UsageError):
        return str(error)
    if type(error).__name__ == "InstantiationException" and error.__cause__:  # Hydra's says which part failed, not why
        return _reason(error.__cause__)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def full_disk(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk, or of a used-up quota, behind this one; torch hides it behind one of its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None
