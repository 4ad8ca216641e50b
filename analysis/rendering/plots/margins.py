"""A contrast's margins: against the network's size, or a line a cell."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.core.levels import Level, is_number, show
from ablate.stats.paired import t_interval
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow, split_constants
from analysis.findings import Comparison, Findings
from analysis.formats import levels_in_words, shown
from analysis.rendering.plots.style import INK, WIDTH, colour, legend_point, look, points, seed_dots

SIZE = dict.fromkeys(("depth", "width")).keys()
"""The factors that make a network's size, in the order in which it is named."""
MOST_LINES = 40
MOST_PANELS = 8
LABEL_WIDTH = 40
"""The most characters in a line of a cell's name, beside its margin."""


@dataclass(frozen=True)
class Point:
    """A margin in a figure: of one cell, or the mean over the levels of the factors that the figure does not show."""

    panel: str
    x: str
    hue: str
    mean_pp: float | None
    low_pp: float | None
    high_pp: float | None
    by_seed: Sequence[float] = ()


@dataclass(frozen=True)
class Roles:
    """Which factors are the x axis, the colours and the panels, and which are averaged over."""

    x: tuple[str, ...]
    hue: str | None
    panel: str | None
    averaged: tuple[str, ...]


def margins(comparison: Comparison, findings: Findings) -> Figure:
    """Draw every margin of the contrast with its interval, zero, and the band of equivalence."""
    rows, _ = split_constants(comparison.rows) if len(comparison.rows) > 1 else (list(comparison.rows), {})
    sized = bool(rows) and any(key in SIZE for key in roles_of(rows, findings.runs.frame).x)
    if sized or len(rows) > MOST_LINES:
        return by_size(rows, comparison.contrast, findings)
    return lines(rows, comparison.contrast, findings)


def lines(rows: Sequence[MarginRow], contrast: Contrast, findings: Findings) -> Figure:
    """Draw one line per cell."""
    labels = [textwrap.fill(levels_in_words(row.levels), LABEL_WIDTH) for row in reversed(rows)]
    height = sum(0.19 + 0.15 * (1 + label.count("\n")) for label in labels)
    with look():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + height), layout="constrained")
        band(axes, findings.equivalence_pp, upright=False)
        for position, row in enumerate(reversed(rows)):
            if row.margin is None:
                axes.plot([0], [position], "x", color=INK, markersize=7)
                axes.annotate("no margin", (0, position), (8, -3), textcoords="offset points", fontsize=8)
                continue
            estimate = (row.margin.mean_pp, row.margin.low_pp, row.margin.high_pp)
            seed_dots(axes, position, [*row.by_seed.values()], upright=False)
            points(axes, [position], [estimate], 0 if estimate[0] >= 0 else 1, upright=False)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"{axis_label(contrast, findings)}\n{direction(contrast, findings, 'right of')}", fontsize=8)
    return figure


def by_size(rows: Sequence[MarginRow], contrast: Contrast, findings: Findings) -> Figure:
    """Draw the margin against the network's size, with a colour per number of bits and a panel per data set."""
    roles = roles_of(rows, findings.runs.frame)
    drawn = points_of(rows, roles)
    panels = _ordered(drawn, "panel")[:MOST_PANELS]
    columns = min(2, len(panels))
    count = -(-len(panels) // columns)
    xs, hues = _xs(rows, roles, findings.runs.frame), _ordered(drawn, "hue")
    with look():
        size = (WIDTH, 1.1 + 2.3 * count)
        figure, grid = plt.subplots(count, columns, figsize=size, layout="constrained", sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _panel(axes, [point for point in drawn if point.panel == panel], xs, hues, findings.equivalence_pp)
            axes.set_title(panel)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        figure.supylabel(axis_label(contrast, findings), fontsize=8)
        figure.supxlabel(
            "\n".join(_footing(rows, roles, contrast, findings, len(_ordered(drawn, "panel")))), fontsize=8
        )
        if hues != [""]:
            handles = [legend_point(index, hue) for index, hue in enumerate(hues)]
            figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def roles_of(rows: Sequence[MarginRow], frame: pd.DataFrame) -> Roles:
    """Assign a role to each factor that varies.

    Size is the x axis, bits are the colours, data sets the panels. Other factors take the roles that are left, and the
    rest are averaged over.
    """
    left = [key for key in rows[0].levels if len(levels_of(frame, key)) > 1] if rows else []
    x = tuple(key for key in SIZE if key in left and all(is_number(row.levels[key]) for row in rows))
    left = [key for key in left if key not in x]
    hue = "bits" if "bits" in left else None
    panel = "dataset" if "dataset" in left else None
    left = [key for key in left if key not in (hue, panel)]
    if not x and left:
        x = (max(left, key=lambda key: len(levels_of(frame, key))),)
        left.remove(x[0])
    if hue is None:
        hue = next((key for key in left if len(levels_of(frame, key)) <= 7), None)
        left = [key for key in left if key != hue]
    if panel is None:
        panel = next((key for key in left if len(levels_of(frame, key)) <= MOST_PANELS), None)
        left = [key for key in left if key != panel]
    return Roles(x, hue, panel, tuple(left))


def points_of(rows: Sequence[MarginRow], roles: Roles) -> list[Point]:
    """Return one point per position in the figure.

    Where several cells share a position, it is the mean over them, computed from one value per seed.
    """
    rows_at: dict[tuple[str, str, str], list[MarginRow]] = defaultdict(list)
    for row in rows:
        rows_at[_name(row.levels, roles.panel), _x(row.levels, roles.x), _name(row.levels, roles.hue)].append(row)
    return [_point(position, rows_there) for position, rows_there in rows_at.items()]


def _point(position: tuple[str, str, str], rows: Sequence[MarginRow]) -> Point:
    by_seed: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        for seed, value in row.by_seed.items():
            by_seed[seed].append(value)
    if not by_seed:
        return Point(*position, None, None, None)
    if len(rows) == 1 and (margin := rows[0].margin):
        return Point(*position, margin.mean_pp, margin.low_pp, margin.high_pp, [*rows[0].by_seed.values()])
    means = [float(np.mean(values)) for values in by_seed.values()]
    low, high = t_interval(means) or (None, None)
    return Point(*position, float(np.mean(means)), low, high, means)


def _panel(axes: Axes, drawn: Sequence[Point], xs: Sequence[str], hues: Sequence[str], within: float) -> None:
    band(axes, within, upright=True)
    shift = np.linspace(-0.28, 0.28, len(hues)) if len(hues) > 1 else [0.0]
    for index, hue in enumerate(hues):
        of_hue = [point for point in drawn if point.hue == hue]
        at: dict[bool, list[float]] = {True: [], False: []}
        for point in of_hue:
            at[point.mean_pp is None].append(xs.index(point.x) + shift[index])
        estimates = [(point.mean_pp, point.low_pp, point.high_pp) for point in of_hue if point.mean_pp is not None]
        for point in of_hue:
            seed_dots(axes, xs.index(point.x) + shift[index], point.by_seed, upright=True)
        if estimates:
            points(axes, at[False], estimates, index, upright=True)
        low = [0.03] * len(at[True])
        axes.plot(at[True], low, "x", color=colour(index), markersize=6, transform=axes.get_xaxis_transform())
    steep = max([0, *map(len, xs)]) * len(xs) > 40
    axes.set_xticks(range(len(xs)), xs, rotation=60 if steep else 0, ha="right" if steep else "center")
    axes.set_xlim(-0.6, len(xs) - 0.4)
    axes.grid(axis="x", visible=False)


def band(axes: Axes, within: float, *, upright: bool) -> None:
    """Draw zero, and around it the band of differences that are too small to be of interest."""
    span, line = (axes.axhspan, axes.axhline) if upright else (axes.axvspan, axes.axvline)
    span(-within, within, color="#808080", alpha=0.18, linewidth=0)
    line(0, color=INK, linewidth=0.9)


def axis_label(contrast: Contrast, findings: Findings) -> str:
    """Return what the axis of margins shows, with its unit."""
    unit = "points" if findings.runs.measure.points else findings.runs.measure.name
    return f"margin, {show(contrast.first)} minus {show(contrast.second)} ({unit})"


def direction(contrast: Contrast, findings: Findings, side: str = "above") -> str:
    """Return on which side of 0 which arm is better, and what the grey band is."""
    better = contrast.second if findings.runs.measure.lower_is_better else contrast.first
    grey = f"; grey: within {findings.within} of 0" if findings.equivalence_pp else ""
    return f"{side} 0: {show(better)} is better{grey}"


def _footing(rows: Sequence[MarginRow], roles: Roles, contrast: Contrast, findings: Findings, panels: int) -> list[str]:
    sized = findings.runs.ours and roles.x and set(roles.x) <= SIZE
    x_label = "network size: " + "-".join(roles.x) if sized else ", ".join(roles.x)
    lines = [x_label, direction(contrast, findings)]
    if roles.averaged:
        lines.append(f"mean over {', '.join(roles.averaged)}")
    if any(row.margin is None for row in rows):
        lines.append("×: no seed is done in both arms")
    if panels > MOST_PANELS:
        lines.append(f"{MOST_PANELS} of {panels} panels")
    return lines


def _xs(rows: Sequence[MarginRow], roles: Roles, frame: pd.DataFrame) -> list[str]:
    """Return the positions on the x axis: by the number of weights, or in the order of the levels."""
    levels_at = {_x(row.levels, roles.x): row.levels for row in rows}
    if roles.x and set(roles.x) <= SIZE and all(is_number(row.levels[key]) for row in rows for key in roles.x):
        return sorted(levels_at, key=lambda x: _weights(levels_at[x]))
    order = [[repr(level) for level in levels_of(frame, key)] for key in roles.x]
    return sorted(
        levels_at, key=lambda x: [o.index(repr(levels_at[x][k])) for o, k in zip(order, roles.x, strict=True)]
    )


def _weights(levels: Mapping[str, Level]) -> float:
    """Return a number proportional to the weights of a wide residual network."""
    depth, width = levels.get("depth", 8), levels.get("width", 1)
    assert is_number(depth)
    assert is_number(width)
    return float((depth - 2) * width**2)


def _x(levels: Mapping[str, Level], keys: Sequence[str]) -> str:
    return "-".join(shown(levels[key]) for key in keys)


def _name(levels: Mapping[str, Level], key: str | None) -> str:
    return f"{key} {shown(levels[key])}" if key else ""


def _ordered(points: Sequence[Point], role: str) -> list[str]:
    values: list[str] = [getattr(point, role) for point in points]
    return list(dict.fromkeys(values))
