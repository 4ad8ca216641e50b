"""Figures of a report. Each is a function from findings to a matplotlib figure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.findings import Findings
from analysis.rendering.plots import budgets, costs, effects, epochs, factors, levels, margins
from analysis.rendering.plots.style import save


@dataclass(frozen=True)
class Drawn:
    """The name of a figure that is saved in the folder, and its SVG for the page."""

    name: str
    svg: str


def save_all(findings: Findings, folder: Path) -> list[Drawn]:
    """Draw every figure for which there is data, and save each in the folder."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|.*does not have a glyph|.*constrained_layout")  # odd names
        return [Drawn(name, save(figure, folder, name)) for name, figure in _figures(findings).items() if figure]


def _figures(findings: Findings) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    if findings.design and findings.design.has_effects:
        figures["effects"] = effects.effects(findings.design, findings)
    for index, comparison in enumerate(findings.comparisons):
        if comparison.has_margin:
            figures[f"margins{f'-{index + 1}' * (index > 0)}"] = margins.margins(comparison, findings)
        if not findings.published:
            figures[f"levels{f'-{index + 1}' * (index > 0)}"] = levels.levels(comparison, findings)
        figures[f"budgets{f'-{index + 1}' * (index > 0)}"] = budgets.budgets(comparison, findings)
    figures["gaps"] = factors.gaps(findings)
    if findings.comparisons and not findings.published:
        figures["heatmap"] = factors.heat_map(findings.comparisons[0], findings)
        figures["importance"] = factors.importance(findings)
    if findings.runs.ours:
        figures |= costs.figures(findings)
    if findings.histories and len(findings.histories.restarts):
        figures["restarts"] = epochs.restarts(findings.histories)
    if findings.histories and len(findings.histories.curves):
        figures["curves"] = epochs.curves(findings.histories)
    return figures
