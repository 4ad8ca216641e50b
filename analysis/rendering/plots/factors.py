"""Figures over several factors: gap against error rate, heat map of margins, importance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.core.levels import show
from analysis.effects.factors import levels_of
from analysis.effects.interaction import Importance
from analysis.effects.matched import MarginRow
from analysis.findings import Comparison, Findings
from analysis.formats import shown, signed
from analysis.rendering.plots.style import INK, WIDTH, legend_point, look, points


def gaps(found: Findings) -> Figure | None:
    """The gap between most bits and fewer, against the error at most bits: a point a cell.

    Source: [WR] figure 1.
    """
    rows = [(one, row) for one in found.gaps for row in one.rows if row.margin]
    if not rows:
        return None
    key = "norm" if "norm" in rows[0][1].levels else next(iter(rows[0][1].levels), None)
    names = list(dict.fromkeys(_series(one, row, key, found) for one, row in rows))
    with look():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
        for place, name in enumerate(names):
            its = [row for one, row in rows if _series(one, row, key, found) == name]
            at = [100 - 100 * row.first_acc for row in its if row.first_acc is not None]
            estimates = [(row.margin.mean_pp, row.margin.low_pp, row.margin.high_pp) for row in its if row.margin]
            points(axes, at, estimates, place, upright=True)
        axes.axhline(0, color=INK, linewidth=0.9)
        most = show(found.gaps[0].contrast.first)
        axes.set_xlabel(f"test error at {most} bits (%)")
        axes.set_ylabel("gap in accuracy (points)")
        handles = [legend_point(at, name) for at, name in enumerate(names)]
        figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def heat_map(one: Comparison, found: Findings) -> Figure | None:
    """The margins over the two factors with most levels, the mean over the others; None with fewer than two factors."""
    frame = found.runs.frame
    keys = [key for key in (one.rows[0].levels if one.rows else ()) if len(levels_of(frame, key)) > 1]
    if len(keys) < 2 or not one.has_margin:
        return None
    across, down = sorted(keys, key=lambda key: -len(levels_of(frame, key)))[:2]
    held: dict[tuple[str, str], list[MarginRow]] = defaultdict(list)
    for row in one.rows:
        held[shown(row.levels[down]), shown(row.levels[across])].append(row)
    xs = [shown(level) for level in levels_of(frame, across) if any(shown(level) == x for _, x in held)]
    ys = [shown(level) for level in levels_of(frame, down) if any(shown(level) == y for y, _ in held)]
    means = np.array([[_mean(held.get((y, x), [])) for x in xs] for y in ys])
    most = max(float(np.nanmax(np.abs(means))), found.equivalence_pp)
    with look():
        size = (max(WIDTH, 1.6 + 0.72 * len(xs)), 1.3 + 0.55 * len(ys))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        drawn = axes.imshow(means, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
        for (y, x), value in np.ndenumerate(means):
            _square(axes, x, y, value, held.get((ys[y], xs[x]), []), most)
        axes.set_xticks(range(len(xs)), xs)
        axes.set_yticks(range(len(ys)), ys)
        axes.grid(visible=False)
        rest = [key for key in keys if key not in (across, down)]
        axes.set_xlabel(across + (f"\nmean over {', '.join(rest)}" if rest else ""))
        axes.set_ylabel(down)
        told = f"margin, {show(one.contrast.first)} minus {show(one.contrast.second)}"
        figure.colorbar(drawn, ax=axes, label=told).outline.set_visible(False)
    return figure


def importance(found: Findings) -> Figure | None:
    """How far each factor moves the accuracy, and how far it moves the margin; None with fewer than two factors."""
    parts = [(f"moves the {found.runs.measure.name} by", found.importance)]
    parts += [(f"moves the margin by\n({one.contrast})", one.importance) for one in found.comparisons[:1]]
    parts = [(title, its) for title, its in parts if its]
    if len(found.importance) < 2:
        return None
    with look():
        heights = [len(its) for _, its in parts]
        size = (WIDTH, 0.5 + sum(0.75 + 0.34 * count for count in heights))
        figure = plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(parts), 1, height_ratios=heights, squeeze=False)
        for axes, (title, its) in zip(grid[:, 0], parts, strict=True):
            _importances(axes, its)
            axes.set_title(title, loc="left")
        unit = "percentage points" if found.runs.measure.points else found.runs.measure.name
        grid[-1, 0].set_xlabel(f"{unit}, between the two levels named; 95% intervals", fontsize=8)
    return figure


def _importances(axes: Axes, its: Sequence[Importance]) -> None:
    for place, one in enumerate(reversed(its)):
        low, high = (one.low_pp, one.high_pp) if one.mean_pp >= 0 else (_minus(one.high_pp), _minus(one.low_pp))
        points(axes, [place], [(abs(one.mean_pp), low, high)], 0, upright=False)
    axes.set_yticks(range(len(its)), [_levels(one) for one in reversed(its)])
    axes.set_ylim(-0.6, len(its) - 0.4)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.grid(axis="y", visible=False)


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _levels(one: Importance) -> str:
    pair = (one.level, one.reference) if one.mean_pp >= 0 else (one.reference, one.level)
    return f"{one.factor}: {shown(pair[0])} over {shown(pair[1])}"


def _series(one: Comparison, row: MarginRow, key: str | None, found: Findings) -> str:
    named = f"{key} {shown(row.levels[key])}" if key else ""
    fewer = f"{show(one.contrast.first)} minus {show(one.contrast.second)} bits"
    return ", ".join(filter(None, [named, fewer if len(found.gaps) > 1 or not key else ""]))


def _mean(rows: Sequence[MarginRow]) -> float:
    values = [row.margin.mean_pp for row in rows if row.margin]
    return float(np.mean(values)) if values else np.nan


def _square(axes: Axes, x: int, y: int, value: float, rows: Sequence[MarginRow], most: float) -> None:
    n = sum(row.margin.n for row in rows if row.margin)
    if np.isnan(value):
        hatched = plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor="#909090", linewidth=0)
        axes.add_patch(hatched)
        what = "diverged" if any(sum(row.diverged) for row in rows) else "none"
        axes.text(x, y, what, ha="center", va="center", fontsize=7)
        return
    dark = abs(value) > 0.6 * most
    text = f"{signed(value)}\nn {n}".replace("-", "−")
    axes.text(x, y, text, ha="center", va="center", fontsize=7, color="#ffffff" if dark else "#202020")
