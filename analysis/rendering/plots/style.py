"""The style of figures. Files have it for paper; on the page a figure takes the page's own colours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B", "#8A6FBF")
"""After Okabe and Ito: colour-blind people can distinguish them, on white and on black."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")

INK, GRID = "#1b1b1b", "#d8d8d9"
"""On the page they are replaced by the page's text and line colours, which follow dark mode."""

WIDTH = 5.4
"""In inches. It is narrow, so that a phone can still show the text."""

_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a level named $x$ is no formula
}


@contextmanager
def look(name: str = "") -> Iterator[None]:
    """Apply the style. `name` seeds the ids in the figure's SVG: they are unique to it and the same each time."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"ablate {name}"}):
        yield


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write `name`.svg, .png and .pdf into the folder, close the figure, and return its SVG for a page."""
    with look(name):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what is laid out once fits every format
        figure.savefig(folder / f"{name}.png", dpi=160)
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    plt.close(figure)
    svg = text.getvalue()
    on_white = re.sub(r"<svg[^>]*>", r'\g<0><rect width="100%" height="100%" fill="#ffffff"/>', svg, count=1)
    (folder / f"{name}.svg").write_text(on_white, encoding="utf-8")
    return _for_the_page(svg, name)


def _for_the_page(svg: str, name: str) -> str:
    """Return the SVG in the page's colours. Its ids get the figure's name: several figures stand on one page."""
    svg = svg[svg.index("<svg") :]
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--line)")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r"font: ([\d.]+)px 'DejaVu Sans'[^;\"]*", r"font: \1px system-ui, sans-serif", svg)


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def dash(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]


Estimate = tuple[float, float | None, float | None]
"""A mean, and the ends of its interval if it has one."""


def points(axes: Axes, at: Sequence[float], estimates: Sequence[Estimate], index: int, *, upright: bool) -> None:
    """Draw estimates of one colour with their intervals; those without an interval are hollow.

    Args:
        axes: the axes to draw on.
        at: (n,) positions on the other axis.
        estimates: (n,) estimates.
        index: of the colour and the marker.
        upright: whether estimates are on the y axis.
    """
    means = np.array([mean for mean, _, _ in estimates])
    ends = np.array([(np.nan, np.nan) if low is None or high is None else (low, high) for _, low, high in estimates])
    alone = np.isnan(ends[:, 0])
    where = np.asarray(at, dtype=float)
    lines = axes.vlines if upright else axes.hlines
    lines(where[~alone], ends[~alone, 0], ends[~alone, 1], colors=colour(index), linewidth=1.8)
    for chosen, face in ((~alone, colour(index)), (alone, "none")):
        if chosen.any():
            xy = (where[chosen], means[chosen]) if upright else (means[chosen], where[chosen])
            axes.plot(*xy, marker(index), color=colour(index), markerfacecolor=face, markersize=5.5)


def seed_dots(axes: Axes, at: float, values: Sequence[float], *, upright: bool) -> None:
    """Draw each seed's value as a small dot, beside the estimate at the same position; nothing for a single seed."""
    if len(values) < 2:
        return
    where = [at + (0.09 if upright else -0.24)] * len(values)
    xy = (where, values) if upright else (values, where)
    axes.plot(*xy, "o", color=INK, alpha=0.6, markersize=2.6, markeredgewidth=0, zorder=3)


def legend_point(index: int, label: str) -> Line2D:
    """Return a legend's handle for `points`."""
    return Line2D([], [], color=colour(index), marker=marker(index), linewidth=1.8, markersize=5.5, label=label)
