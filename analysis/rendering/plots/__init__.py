"""Figures of a report: each is a function from findings to a matplotlib figure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.findings import Findings
from analysis.rendering.plots import budgets, costs, effects, epochs, factors, margins
from analysis.rendering.plots.style import save


@dataclass(frozen=True)
class Drawn:
    """A figure that stands in the folder, and its SVG for the page."""

    name: str
    svg: str


def save_all(found: Findings, folder: Path) -> list[Drawn]:
    """Draw every figure that there is something for, and save each in the folder."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|.*does not have a glyph|.*constrained_layout")  # odd names
        return [Drawn(name, save(figure, folder, name)) for name, figure in _figures(found).items() if figure]


def _figures(found: Findings) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    if found.design and found.design.has_effects:
        figures["effects"] = effects.effects(found.design, found)
    for place, one in enumerate(found.comparisons):
        if one.has_margin:
            figures[f"margins{f'-{place + 1}' * (place > 0)}"] = margins.margins(one, found)
        figures[f"budgets{f'-{place + 1}' * (place > 0)}"] = budgets.budgets(one, found)
    figures["gaps"] = factors.gaps(found)
    if found.comparisons and not found.published:
        figures["heatmap"] = factors.heat_map(found.comparisons[0], found)
        figures["importance"] = factors.importance(found)
    if found.runs.ours:
        figures |= costs.figures(found)
    if found.histories and len(found.histories.restarts):
        figures["restarts"] = epochs.restarts(found.histories)
    if found.histories and len(found.histories.curves):
        figures["curves"] = epochs.curves(found.histories)
    return figures
