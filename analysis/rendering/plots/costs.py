"""Accuracy against what a network costs, with the front of those that nothing beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis.findings import Findings
from analysis.formats import shown
from analysis.rendering import cost_tables
from analysis.rendering.plots.style import INK, WIDTH, colour, legend_point, look, marker
from analysis.sources.runs import OTHER_OPS

MOST_NAMES = 16
"""More cells than these stand without their names."""


@dataclass(frozen=True)
class Against:
    """One figure: the cost on the horizontal axis, its columns summed and scaled."""

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
    """A figure for each cost that the trials tell."""
    full = cost_tables.in_full(findings.runs)
    return {figure.name: _drawn(findings, full, figure) for figure in FIGURES}


def front(at: Sequence[float], acc: Sequence[float]) -> list[int]:
    """Places of the points that no other beats: none is as cheap and better, or cheaper and as good; cheapest first.

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
    arms = list(dict.fromkeys(map(shown, cells[factor]))) if factor in cells else [""]
    others = [key for key in _levels(cells, full) if key != factor]
    percent = 100 * cells["acc"]
    with look(against.name):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
        best = front(cells["at"].tolist(), percent.tolist())
        axes.step(cells["at"][best], percent[best], where="post", color=INK, linewidth=0.9, linestyle="--", zorder=1)
        for index, (x, y) in enumerate(zip(cells["at"], percent, strict=True)):
            arm = arms.index(shown(cells.at[index, factor])) if factor in cells else 0
            face = colour(arm) if index in best else "none"
            axes.plot(x, y, marker(arm), color=colour(arm), markerfacecolor=face, markersize=6, zorder=2)
            if len(cells) <= MOST_NAMES and others:
                name = ", ".join(f"{key} {shown(cells.at[index, key])}" for key in others)
                axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=6.5)
        if cells["at"].max() > 5 * cells["at"].min() > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel(against.label)
        axes.set_ylabel(findings.runs.measure.of(findings.runs.measure.name, findings.runs.measure.unit))
        handles = [legend_point(index, arm) for index, arm in enumerate(arms) if arm]
        none = "no other is cheaper and better"
        handles.append(plt.Line2D([], [], color=INK, linewidth=0.9, linestyle="--", label=none))
        figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _levels(cells: pd.DataFrame, full: pd.DataFrame) -> list[str]:
    """The factors that vary, which stand before n."""
    keys = list(full.columns[: full.columns.get_loc("n")])
    return [key for key in keys if cells[key].astype(object).map(repr).nunique() > 1]
