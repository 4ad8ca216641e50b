"""What became of a run, in one vocabulary for all sources: done, not over, or a way of failing.

A failed run is a result: it counts against its arm, whether it diverged, raised, ran out of memory, was lost, or ended
at chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

DONE, COLLAPSED, DIVERGED = "done", "collapsed", "diverged"

NOT_OVER = ("running", "interrupted", "pruned", "missing", "no metric")
"""Outcomes that say nothing of an arm: the run has not come to its end, or was ended for another reason."""

_SYNONYMS = {
    **dict.fromkeys(("finished", "success", "succeeded", "successful", "complete", "completed", "ok"), DONE),
    **dict.fromkeys(("nan", "inf", "-inf", "infinity", "divergence"), DIVERGED),
    **dict.fromkeys(("failed", "failure", "crashed", "crash", "exception"), "error"),
    **dict.fromkeys(("killed", "cancelled", "canceled", "stopped"), "interrupted"),
    **dict.fromkeys(("pending", "scheduled", "queued"), "running"),
}


def outcome(text: str) -> str:
    """Return a source's word for what became of a run as ours. A word that is not known is a way of failing.

    >>> outcome(" Finished"), outcome("NaN"), outcome("FAILED"), outcome("OOM")
    ('done', 'diverged', 'error', 'oom')
    """
    word = text.strip().casefold()
    return _SYNONYMS.get(word, word)


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
