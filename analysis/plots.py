"""Figures of a report. Each function returns a matplotlib figure; `save` writes it as SVG and PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ablate.design import show
from analysis.contrasts import Contrast
from analysis.findings import Findings
from analysis.formats import shown
from analysis.matched import MarginRow

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart by the colour-blind and in print."""

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "ablate",  # the same figure gives the same bytes
    "svg.fonttype": "none",
}
MOST_CURVES = 12
WIDTH = 5.4
"""Inches: narrow, so that a phone can still show the text."""
LABEL_WIDTH = 40
"""Characters of a line of a cell's name beside its margin."""


def margins(rows: Sequence[MarginRow], contrast: Contrast) -> Figure:
    """One line a cell: the margin with its interval, and zero to hold it against."""
    drawn = [row for row in rows if row.margin is not None]
    with mpl.rc_context(STYLE):
        labels = [textwrap.fill(_label(row.levels), LABEL_WIDTH) for row in reversed(drawn)]
        height = sum(0.19 + 0.15 * (1 + label.count("\n")) for label in labels)
        figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + height), layout="constrained")
        for place, row in enumerate(reversed(drawn)):
            assert row.margin is not None
            colour = COLOURS[0] if row.margin.mean_pp >= 0 else COLOURS[1]
            if row.margin.low_pp is not None and row.margin.high_pp is not None:
                axes.plot([row.margin.low_pp, row.margin.high_pp], [place, place], color=colour, linewidth=2)
            axes.plot(row.margin.mean_pp, place, "o", color=colour, markersize=6)
        axes.axvline(0, color="#444444", linewidth=1)
        axes.set_yticks(range(len(drawn)), labels)
        axes.set_ylim(-0.6, len(drawn) - 0.4)
        axes.grid(axis="y", visible=False)
        first, second = show(contrast.first), show(contrast.second)
        axes.set_xlabel(
            f"margin, {first} minus {second}\n(percentage points; right of 0: {first} is better)", fontsize=8
        )
    return figure


def curves(history: pd.DataFrame, labels: Mapping[str, str], metric: str) -> Figure:
    """Learning curves: a thin line a seed, a thick one for their mean.

    Args:
        history: columns run_id, epoch, value in [0, 1].
        labels: run_id -> the cell's name.
        metric: what the value is, for the axis.
    """
    cells = list(dict.fromkeys(labels.values()))
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3 + 0.17 * len(cells)), layout="constrained")
        named = history.assign(cell=history["run_id"].map(labels), pct=100 * history["value"])
        for index, cell in enumerate(cells):
            colour, dash = _look(index)
            here = named[named["cell"] == cell]
            for _, run in here.groupby("run_id"):
                axes.plot(run["epoch"], run["pct"], color=colour, linewidth=0.6, alpha=0.4)
            mean = here.groupby("epoch")["pct"].mean()
            marker = "o" if len(mean) == 1 else None
            axes.plot(mean.index, mean, color=colour, linestyle=dash, linewidth=1.8, label=cell, marker=marker)
        if len(history):
            axes.set_ylim(bottom=max(0.0, float(named["pct"].quantile(0.05)) - 5))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(f"{metric} (%)")
        figure.legend(fontsize=8, loc="outside lower left")
    return figure


def restarts(history: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Test accuracy when a cycle of the learning rate has ended, the mean over seeds, epochs on a log axis.

    Args:
        history: columns run_id, epoch, value in [0, 1]; an epoch is the last of a cycle.
        labels: run_id -> the cell's name.

    Source: [WR] figure 5.
    """
    named = history.assign(cell=history["run_id"].map(labels), pct=100 * history["value"])
    with_points = set(named["cell"])  # a schedule without restarts has none
    cells = [cell for cell in dict.fromkeys(labels.values()) if cell in with_points]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3 + 0.17 * len(cells)), layout="constrained")
        for index, cell in enumerate(cells):
            colour, dash = _look(index)
            mean = named[named["cell"] == cell].groupby("epoch")["pct"].mean()
            axes.plot(mean.index, mean, color=colour, linestyle=dash, marker="o", markersize=5, label=cell)
        axes.set_xscale("log")
        axes.set_xticks(sorted(set(history["epoch"])), labels=[str(epoch) for epoch in sorted(set(history["epoch"]))])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("epoch, the last before each restart (log scale)")
        axes.set_ylabel("test accuracy (%)")
        figure.legend(fontsize=8, loc="outside lower left")
    return figure


@dataclass(frozen=True)
class Drawn:
    """A figure that stands in the folder, and the SVG's text for the page."""

    name: str
    svg: str


def save_all(found: Findings, folder: Path) -> list[Drawn]:
    """Draw every figure that there is something for, and save each in the folder."""
    figures: dict[str, Figure] = {}
    for place, one in enumerate(found.comparisons):
        if one.has_margin:
            figures[f"margins{f'-{place + 1}' * (place > 0)}"] = margins(one.rows, one.contrast)
    if found.histories and len(found.histories.restarts):
        figures["restarts"] = restarts(found.histories.restarts, found.histories.labels)
    if found.histories and len(found.histories.curves):
        figures["curves"] = curves(found.histories.curves, found.histories.labels, found.histories.metric)
    return [Drawn(name, save(figure, folder, name)) for name, figure in figures.items()]


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write `name`.svg and `name`.png into the folder; return the SVG's text for a page, and close it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    (folder / f"{name}.svg").write_text(text.getvalue(), encoding="utf-8")
    figure.savefig(folder / f"{name}.png", dpi=160)
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _look(index: int) -> tuple[str, str]:
    """A curve's colour and dash."""
    return COLOURS[index % len(COLOURS)], ("-", "--", ":")[index // len(COLOURS) % 3]


def _label(levels: Mapping[str, Any]) -> str:
    told = [f"{key} {shown(level)}" for key, level in levels.items() if level is not None and not pd.isna(level)]
    return ", ".join(told) or "all trials"
