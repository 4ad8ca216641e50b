"""Tables beside the margins: the margin at each level of each factor, and how often each arm wins and fails."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ablate.core.levels import show
from ablate.stats.failures import share_interval
from ablate.stats.superiority import Superiority, superiority
from analysis.effects.matched import MarginRow
from analysis.findings import Comparison, Findings
from analysis.formats import ABSENT, shown


def by_level(comparison: Comparison, findings: Findings) -> pd.DataFrame:
    """Return the margin at each level of each factor, for people."""
    measure = findings.runs.measure
    return pd.DataFrame(
        {
            "factor": at_level.factor,
            "level": shown(at_level.level),
            measure.of("margin", measure.points): measure.margin(at_level.mean_pp),
            "95% interval": measure.interval(at_level.low_pp, at_level.high_pp),
            "n": _of(len(at_level.by_seed), at_level.planned),
            "cells": _of(at_level.cells, at_level.cells + at_level.cells_without),
        }
        for at_level in comparison.levels
    )


def by_level_in_full(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return the margin at each level of each factor at full precision."""
    return pd.DataFrame(
        {
            "contrast": str(comparison.contrast),
            "factor": at_level.factor,
            "level": at_level.level,
            "margin_pp": at_level.mean_pp,
            "low_pp": at_level.low_pp,
            "high_pp": at_level.high_pp,
            "n": len(at_level.by_seed),
            "planned": at_level.planned,
            "cells": at_level.cells,
            "cells_without": at_level.cells_without,
            "by_seed_pp": " ".join(map(repr, at_level.by_seed.tolist())),
        }
        for comparison in comparisons
        for at_level in comparison.levels
    )


def how_often(comparison: Comparison, findings: Findings) -> pd.DataFrame:
    """Return for each cell how often the first arm is the better one, and how often each arm fails."""
    first, second = show(comparison.contrast.first), show(comparison.contrast.second)
    return pd.DataFrame(
        {key: shown(level) for key, level in row.levels.items()}
        | {
            f"P({first} better)": _in_words(superiority_of(row, findings)),
            "n": len(row.by_seed),
            f"{first} failed": _share(row.failed[0], row.ended[0]),
            f"{second} failed": _share(row.failed[1], row.ended[1]),
        }
        for row in comparison.rows
    )


def superiority_of(row: MarginRow, findings: Findings) -> Superiority | None:
    """Return how often the first arm of a row is better; None where no seed is done in both arms."""
    return superiority(list(row.by_seed.values()), lower_is_better=findings.runs.measure.lower_is_better)


def _in_words(wins: Superiority | None) -> str:
    return f"{wins.probability:.2f} ({wins.low:.2f} to {wins.high:.2f})" if wins else ABSENT


def _share(failed: int, ended: int) -> str:
    if not ended:
        return ABSENT
    low, high = share_interval(failed, ended)
    return f"{failed} of {ended} ({100 * low:.0f} to {100 * high:.0f}%)"


def _of(count: int, planned: int) -> str:
    return str(count) if count == planned else f"{count} of {planned}"
