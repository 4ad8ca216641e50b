"""Figure of the margin at each level of each factor."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.effects.level_margins import LevelMargin
from analysis.findings import Comparison, Findings
from analysis.formats import shown
from analysis.rendering.plots.margins import axis_label, band, direction
from analysis.rendering.plots.style import WIDTH, Estimate, look, points, seed_dots

MOST_LEVELS = 40


def levels(comparison: Comparison, findings: Findings) -> Figure | None:
    """Draw a line per level with its interval and its seeds, a panel per factor; None without a second factor."""
    drawn = [at_level for at_level in comparison.levels if at_level.mean_pp is not None][:MOST_LEVELS]
    by_factor: dict[str, list[LevelMargin]] = {}
    for at_level in drawn:
        by_factor.setdefault(at_level.factor, []).append(at_level)
    if not by_factor:
        return None
    heights = [len(of_factor) for of_factor in by_factor.values()]
    with look("levels"):
        size = (WIDTH, 0.8 + sum(0.42 + 0.28 * count for count in heights))
        figure = plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False, sharex=True)
        for axes, (factor, of_factor) in zip(grid[:, 0], by_factor.items(), strict=True):
            band(axes, findings.equivalence_pp, upright=False)
            _lines(axes, of_factor)
            axes.set_title(factor, loc="left")
        left_out = len(comparison.levels) - len(drawn)
        footing = [axis_label(comparison.contrast, findings), direction(comparison.contrast, findings, "right of")]
        footing += [f"{left_out} more levels are in levels.csv"] * bool(left_out)
        figure.supxlabel("\n".join(footing), fontsize=8)
    return figure


def _lines(axes: Axes, of_factor: Sequence[LevelMargin]) -> None:
    for position, at_level in enumerate(reversed(of_factor)):
        mean = at_level.mean_pp or 0.0
        estimate: Estimate = mean, at_level.low_pp, at_level.high_pp
        seed_dots(axes, position, at_level.by_seed.tolist(), upright=False)
        points(axes, [position], [estimate], int(mean < 0), upright=False)
    axes.set_yticks(range(len(of_factor)), [shown(at_level.level) for at_level in reversed(of_factor)])
    axes.set_ylim(-0.6, len(of_factor) - 0.4)
    axes.grid(axis="y", visible=False)
