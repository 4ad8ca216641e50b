"""Figures over several factors: gap against error rate, heat map of margins, importance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablate.core.levels import show
from analysis.effects.factors import levels_of
from analysis.effects.importance import Importance
from analysis.effects.matched import MarginRow
from analysis.findings import Comparison, Findings
from analysis.formats import mirrored, shown
from analysis.rendering.plots.style import INK, WIDTH, legend_point, look, points


def gaps(findings: Findings) -> Figure | None:
    """Draw the gap between the most bits and fewer against the test error at the most bits, one point per cell.

    Source: [WR] figure 1.
    """
    rows = [(gap, row) for gap in findings.gaps for row in gap.rows if row.margin]
    if not rows or not findings.runs.measure.points:
        return None
    key = "norm" if "norm" in rows[0][1].levels else next(iter(rows[0][1].levels), None)
    names = list(dict.fromkeys(_series(gap, row, key, findings) for gap, row in rows))
    with look():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
        for index, name in enumerate(names):
            in_series = [row for gap, row in rows if _series(gap, row, key, findings) == name]
            at = [100 - 100 * row.first_acc for row in in_series if row.first_acc is not None]
            estimates = [(row.margin.mean_pp, row.margin.low_pp, row.margin.high_pp) for row in in_series if row.margin]
            points(axes, at, estimates, index, upright=True)
        axes.axhline(0, color=INK, linewidth=0.9)
        most = show(findings.gaps[0].contrast.first)
        axes.set_xlabel(f"test error at {most} bits (%)")
        axes.set_ylabel("gap in accuracy (points)")
        handles = [legend_point(index, name) for index, name in enumerate(names)]
        figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def heat_map(comparison: Comparison, findings: Findings) -> Figure | None:
    """Draw the margins over the two factors with the most levels, the mean over all others.

    None with fewer than two factors.
    """
    measure = findings.runs.measure
    frame = findings.runs.frame
    keys = [key for key in (comparison.rows[0].levels if comparison.rows else ()) if len(levels_of(frame, key)) > 1]
    if len(keys) < 2 or not comparison.has_margin:
        return None
    across, down = sorted(keys, key=lambda key: -len(levels_of(frame, key)))[:2]
    rows_at: dict[tuple[str, str], list[MarginRow]] = defaultdict(list)
    for row in comparison.rows:
        rows_at[shown(row.levels[down]), shown(row.levels[across])].append(row)
    xs = [shown(level) for level in levels_of(frame, across) if any(shown(level) == x for _, x in rows_at)]
    ys = [shown(level) for level in levels_of(frame, down) if any(shown(level) == y for y, _ in rows_at)]
    means = np.array([[_mean(rows_at.get((y, x), [])) for x in xs] for y in ys])
    most = max(float(np.nanmax(np.abs(means))), findings.equivalence_pp)
    with look():
        size = (max(WIDTH, 1.6 + 0.72 * len(xs)), 1.3 + 0.55 * len(ys))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        drawn = axes.imshow(means, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
        for (y, x), value in np.ndenumerate(means):
            _square(axes, (x, y), measure.margin(value), rows_at.get((ys[y], xs[x]), []), dark=abs(value) > 0.6 * most)
        axes.set_xticks(range(len(xs)), xs)
        axes.set_yticks(range(len(ys)), ys)
        axes.grid(visible=False)
        rest = [key for key in keys if key not in (across, down)]
        axes.set_xlabel(across + (f"\nmean over {', '.join(rest)}" if rest else ""))
        axes.set_ylabel(down)
        label = f"margin, {show(comparison.contrast.first)} minus {show(comparison.contrast.second)}"
        figure.colorbar(drawn, ax=axes, label=label).outline.set_visible(False)
    return figure


def importance(findings: Findings) -> Figure | None:
    """Draw how far each factor moves the accuracy and the margin; None with fewer than two factors."""
    parts = [(f"moves the {findings.runs.measure.name} by", findings.importance)]
    parts += [
        (f"moves the margin by\n({comparison.contrast})", comparison.importance)
        for comparison in findings.comparisons[:1]
    ]
    parts = [(title, importances) for title, importances in parts if importances]
    if len(findings.importance) < 2:
        return None
    with look():
        heights = [len(importances) for _, importances in parts]
        size = (WIDTH, 0.5 + sum(0.75 + 0.34 * count for count in heights))
        figure = plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(parts), 1, height_ratios=heights, squeeze=False)
        for axes, (title, importances) in zip(grid[:, 0], parts, strict=True):
            _importances(axes, importances)
            axes.set_title(title, loc="left")
        unit = "percentage points" if findings.runs.measure.points else findings.runs.measure.name
        grid[-1, 0].set_xlabel(f"{unit}, between the two levels named; 95% intervals", fontsize=8)
    return figure


def _importances(axes: Axes, importances: Sequence[Importance]) -> None:
    for position, importance in enumerate(reversed(importances)):
        ends = importance.low_pp, importance.high_pp
        low, high = ends if importance.mean_pp >= 0 else mirrored(*ends)
        points(axes, [position], [(abs(importance.mean_pp), low, high)], 0, upright=False)
    axes.set_yticks(range(len(importances)), [_levels(importance) for importance in reversed(importances)])
    axes.set_ylim(-0.6, len(importances) - 0.4)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.grid(axis="y", visible=False)


def _levels(importance: Importance) -> str:
    better, worse = importance.level, importance.reference
    if importance.mean_pp < 0:
        better, worse = worse, better
    return f"{importance.factor}: {shown(better)} over {shown(worse)}"


def _series(gap: Comparison, row: MarginRow, key: str | None, findings: Findings) -> str:
    named = f"{key} {shown(row.levels[key])}" if key else ""
    fewer = f"{show(gap.contrast.first)} minus {show(gap.contrast.second)} bits"
    return ", ".join(filter(None, [named, fewer if len(findings.gaps) > 1 or not key else ""]))


def _mean(rows: Sequence[MarginRow]) -> float:
    values = [row.margin.mean_pp for row in rows if row.margin]
    return float(np.mean(values)) if values else np.nan


def _square(axes: Axes, at: tuple[int, int], margin: str, rows: Sequence[MarginRow], *, dark: bool) -> None:
    """Write a square's margin and its number of seeds, in white where the square is dark."""
    n = sum(row.margin.n for row in rows if row.margin)
    if not n:
        corner = (at[0] - 0.5, at[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor="#909090", linewidth=0))
        what = "failed" if any(sum(row.failed) for row in rows) else "none"
        axes.text(*at, what, ha="center", va="center", fontsize=7)
        return
    text = f"{margin}\nn {n}".replace("-", "−")
    axes.text(*at, text, ha="center", va="center", fontsize=7, color="#ffffff" if dark else "#202020")
