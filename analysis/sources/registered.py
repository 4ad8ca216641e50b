"""What a study said before its first trial ran, and what was said later: a bound chosen after a look at the results."""

from __future__ import annotations

from typing import Any

from ablate.stats.paired import EQUIVALENCE_PP
from analysis.sources.runs import Runs


def equivalence_pp(runs: Runs) -> float:
    """Return the smallest difference of interest that a study registered, in points; the usual one where it has none.

    A metric without a unit has none: 0. What is half a point of accuracy may be all of a loss.
    """
    if not runs.measure.points:
        return 0.0
    of_seeds = runs.metadata.get("seeds", {}).get("within_pp", EQUIVALENCE_PP)  # all that older studies say of it
    return float(registered_values(runs).get("equivalence_pp", of_seeds))


def collapsed_below(runs: Runs) -> float | None:
    """Return the registered accuracy in [0, 1] below which a run counts as failed; None for near chance."""
    below = registered_values(runs).get("collapsed_below")
    return None if below is None or not runs.measure.points else float(below)


def later(runs: Runs, typed: dict[str, float | None]) -> list[str]:
    """Return a sentence for each bound that was stated after the study was first requested, and differs.

    Args:
        runs: the study.
        typed: equivalence_pp and collapsed_below as typed for this report; None for one that is not typed.
    """
    registered, requested = registered_values(runs), runs.metadata.get("registered_later", {})
    lines = []
    for key, value in registered.items():
        if key == "hypotheses":
            continue
        first = "near chance" if value is None else f"{value:g}"
        if typed.get(key) is not None and typed[key] != value:
            lines.append(
                f"Stated for this report, after the trials: {key}={typed[key]:g}; the study registered {first}."
            )
        elif requested.get(key, value) != value:
            lines.append(
                f"A later request said {key}={requested[key]}; verdicts use what the study registered first, {first}."
            )
    stated = hypotheses(runs)
    after = [repr(text) for text in requested.get("hypotheses", ()) if text not in stated]
    if after:
        lines.append(f"Stated after the study was first requested, so not decided here: {', '.join(after)}.")
    return lines


def hypotheses(runs: Runs) -> list[str]:
    """Return what the study said beforehand that its trials would show."""
    return list(registered_values(runs).get("hypotheses", ()))


def registered_values(runs: Runs) -> dict[str, Any]:
    """Return what a study registered at its first request, by name."""
    return dict(runs.metadata.get("registered", {}))
