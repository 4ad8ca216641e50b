"""Figures of accuracy against cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.findings import Findings
from analysis.formats import shown
from analysis.rendering import cost_tables
from analysis.rendering.plots.style import INK, WIDTH, colour, legend_point, look, marker
from analysis.sources.runs import OTHER_OPS

MOST_NAMES = 16
"""The most cells in a figure that are drawn with their names."""


@dataclass(frozen=True)
class Against:
    """One figure: the cost on its horizontal axis is the sum over the columns `keys`, times `factor`."""

    name: str
    label: str
    keys: Sequence[str]
    factor: float


FIGURES = (
    Against("pareto-weights", "weights (kB)", ["weight_bytes"], 1e-3),
    Against("pareto-operations", "operations an image (millions)", ["multiply_adds", *OTHER_OPS], 1e-6),
    Against("pareto-latency", "latency of one image (ms)", ["latency_ms"], 1),
)


def figures(findings: Findings) -> dict[str, Figure | None]:
    """Draw a figure for each cost that the trials report."""
    full = cost_tables.in_full(findings.runs)
    return {figure.name: _drawn(findings, full, figure) for figure in FIGURES}


def front(at: Sequence[float], acc: Sequence[float]) -> list[int]:
    """Return the indices of the points on the Pareto front, the cheapest first.

    No other point is as cheap and better, or cheaper and as good.


    >>> front([1, 2, 3, 1], [0.5, 0.4, 0.6, 0.3])
    [0, 2]
    """
    best, best_indices = -np.inf, []
    for index in sorted(range(len(at)), key=lambda index: (at[index], -acc[index])):
        if acc[index] > best:
            best = acc[index]
            best_indices.append(index)
    return best_indices


def _drawn(findings: Findings, full: pd.DataFrame, against: Against) -> Figure | None:
    if not all(key in full for key in against.keys):
        return None
    value = full[list(against.keys)].sum(axis=1, skipna=False) * against.factor
    cells = full.assign(at=value)[value.notna() & full["acc"].notna()].reset_index(drop=True)
    if len(cells) < 2:
        return None
    factor = findings.comparisons[0].contrast.factor if findings.comparisons else ""
    arm_of = list(map(shown, cells[factor])) if factor in cells else [""] * len(cells)
    arms = list(dict.fromkeys(arm_of))
    others = [key for key in _levels(cells, full) if key != factor]
    names = [
        ", ".join(f"{key} {shown(level)}" for key, level in zip(others, levels, strict=True))
        for levels in zip(*(cells[key] for key in others), strict=True)
    ]
    percent = 100 * cells["acc"]
    with look(against.name):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
        best = front(cells["at"].tolist(), percent.tolist())
        axes.step(cells["at"][best], percent[best], where="post", color=INK, linewidth=0.9, linestyle="--", zorder=1)
        for index, (x, y) in enumerate(zip(cells["at"], percent, strict=True)):
            arm = arms.index(arm_of[index])
            face = colour(arm) if index in best else "none"
            axes.plot(x, y, marker(arm), color=colour(arm), markerfacecolor=face, markersize=6, zorder=2)
            if len(cells) <= MOST_NAMES and names:
                axes.annotate(names[index], (x, y), xytext=(5, 4), textcoords="offset points", fontsize=6.5)
        if cells["at"].max() > 5 * cells["at"].min() > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel(against.label)
        axes.set_ylabel(findings.runs.measure.of(findings.runs.measure.name, findings.runs.measure.unit))
        handles = [legend_point(index, arm) for index, arm in enumerate(arms) if arm]
        none = "no other is cheaper and better"
        handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle="--", label=none))
        figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _levels(cells: pd.DataFrame, full: pd.DataFrame) -> list[str]:
    """Return the factors that vary in these cells. In `full`, the columns before n are the factors."""
    keys = list(full.columns[: full.columns.get_loc("n")])
    return [key for key in keys if cells[key].astype(object).map(repr).nunique() > 1]
