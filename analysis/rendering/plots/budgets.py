"""Figure of the margin against the tuning budget of each arm: does the conclusion hold at every budget?"""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.effects.tuning_budget import BudgetCurve
from analysis.findings import Comparison, Findings
from analysis.formats import levels_in_words, shown
from analysis.rendering.plots.style import INK, WIDTH, Estimate, colour, look, points

MOST_PANELS = 8


def budgets(comparison: Comparison, findings: Findings) -> Figure | None:
    """Draw one panel per cell: the expected margin of the best of k configurations, for each k.

    On the right stands the margin from fresh seeds. None if the study was not tuned.
    """
    if not comparison.budgets:
        return None
    drawn = comparison.budgets[:MOST_PANELS]
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    first, second = shown(comparison.contrast.first), shown(comparison.contrast.second)
    with look("budgets"):
        size = (WIDTH, 0.9 + 1.9 * rows)
        figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", sharey=True, squeeze=False)
        for axes, curve in zip(grid.flat, drawn, strict=False):
            _panel(axes, curve)
        for axes in grid.flat[len(drawn) :]:
            axes.set_visible(False)
        points_of = f" ({findings.runs.measure.points})" if findings.runs.measure.points else ""
        figure.supylabel(f"margin, {comparison.contrast}{points_of}", fontsize=8)
        more = len(comparison.budgets) - len(drawn)
        footing = [f"configurations that each arm tries; above 0 {first} is better, below it {second}"]
        footing += [f"{more} more cells are in tuning-curves.csv"] * (more > 0)
        figure.supxlabel("\n".join(footing), fontsize=8)
    return figure


def _panel(axes: Axes, curve: BudgetCurve) -> None:
    at = np.asarray(curve.budgets)
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.fill_between(at, curve.low_pp, curve.high_pp, color=colour(0), alpha=0.18, linewidth=0)
    axes.plot(at, curve.margin_pp, color=colour(0), linewidth=1.6)
    margin = curve.row.margin
    if margin is not None:
        estimate: Estimate = margin.mean_pp, margin.low_pp, margin.high_pp
        points(axes, [at[-1] + max(0.6, 0.06 * len(at))], [estimate], 1, upright=True)
    axes.set_title(levels_in_words(curve.row.levels))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
