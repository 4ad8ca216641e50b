"""What became of a run, in one vocabulary for all sources: done, not over, or a way of failing.

A failed run is a result: it counts against its arm, whether it diverged, raised, ran out of memory, was lost, or ended
at chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from ablate.core.errors import UsageError

DONE, COLLAPSED, DIVERGED = "done", "collapsed", "diverged"

NOT_OVER = ("running", "interrupted", "pruned", "missing", "no metric")
"""Outcomes that say nothing of an arm: the run has not come to its end, or was ended for another reason."""

_SYNONYMS = {
    **dict.fromkeys(("finished", "success", "succeeded", "successful", "complete", "completed", "ok"), DONE),
    **dict.fromkeys(("nan", "inf", "-inf", "infinity", "divergence", "diverging"), DIVERGED),
    **dict.fromkeys(("failed", "fail", "failure", "crashed", "crash", "exception", "timeout", "timed out"), "error"),
    **dict.fromkeys(("out of memory", "out_of_memory", "outofmemory", "outofmemoryerror"), "oom"),
    **dict.fromkeys(("killed", "cancelled", "canceled", "stopped", "aborted", "preempted"), "interrupted"),
    **dict.fromkeys(("pending", "scheduled", "queued", "waiting", "preempting", "unfinished"), "running"),
    **dict.fromkeys(("", "na", "n/a", "none", "null", "unknown"), "missing"),
}

_OURS = (DONE, COLLAPSED, DIVERGED, "error", "oom", "lost", *NOT_OVER)

_STATES = {"finished", "crashed", "failed", "killed", "running", "scheduled", "pending", "preempted", "preempting"}
"""Words of W&B and MLflow for what became of a process, by which a column named state or status is known."""


def outcome(text: str) -> str:
    """Return a source's word for what became of a run as ours.

    >>> outcome(" Finished"), outcome("NaN"), outcome("FAILED"), outcome("OOM")
    ('done', 'diverged', 'error', 'oom')

    Raises:
        UsageError: the word is not known. To take it for a failure, or for none, would be to guess.
    """
    word = text.strip().casefold()
    if word not in _SYNONYMS and word not in _OURS:
        raise UsageError(
            f"{text.strip()}: no such outcome; allowed: {', '.join(_OURS)}; finished, crashed, failed, killed"
        )
    return _SYNONYMS.get(word, word)


def column_of(columns: Mapping[str, Iterable[str]]) -> str | None:
    """Return the column that says what became of each run: `outcome`, else W&B's State or MLflow's Status.

    >>> column_of({"State": ["Finished", "crashed"]}), column_of({"state": ["CA", "NY"]})
    ('State', None)

    Args:
        columns: the texts in each column that may be it, by its name.
    """
    name_of = {name.casefold(): name for name in columns}
    if "outcome" in name_of:
        return name_of["outcome"]
    likely = [name_of[word] for word in ("state", "status") if word in name_of]
    return next((name for name in likely if _STATES & {text.casefold() for text in columns[name]}), None)


def is_of_process(column: str) -> bool:
    """Return whether a column tells that a process ended, which says nothing of the number that it ended with."""
    return column.casefold() != "outcome"


def is_failed(word: str) -> bool:
    """Return whether the outcome counts against its arm."""
    return word != DONE and word not in NOT_OVER


def chance_limit(classes: int) -> float:
    """Return the accuracy in [0, 1] below which a run counts as collapsed: it has learned next to nothing.

    It is twice chance, and where that is much a tenth of the way from chance to 1.

    >>> [round(chance_limit(classes), 3) for classes in (2, 10, 100, 1000)]
    [0.55, 0.19, 0.02, 0.002]
    """
    chance = 1 / classes
    return min(2 * chance, chance + 0.1 * (1 - chance))


def with_collapsed(frame: pd.DataFrame, classes: Mapping[str, int], below: float | None) -> pd.DataFrame:
    """Return the frame with the outcome "collapsed" for done runs whose accuracy lies below a limit.

    Args:
        frame: one row per run, as in `Runs`.
        classes: run_id -> the number of classes, where it is known.
        below: the limit that the user states, in [0, 1]; None for `chance_limit` of each run's classes.
    """
    limits = [
        below if below is not None else chance_limit(classes[run_id]) if run_id in classes else -math.inf
        for run_id in frame["run_id"]
    ]
    collapsed = (frame["outcome"] == DONE) & (frame["acc"] < pd.Series(limits, frame.index))
    return frame.assign(outcome=frame["outcome"].mask(collapsed, COLLAPSED))
