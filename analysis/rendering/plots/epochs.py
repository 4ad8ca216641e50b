"""Figures over epochs: learning curves, and the test accuracy at the end of each cycle of the learning rate."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from analysis.findings import Histories
from analysis.rendering.plots.style import INK, WIDTH, colour, dash, look, marker

MOST_CURVES = 12
"""The most cells that are drawn."""


def curves(histories: Histories) -> Figure:
    """Draw learning curves: the mean over seeds, in a band of their range; restarts are dotted lines."""
    labels = histories.labels
    names = list(dict.fromkeys(labels.values()))
    points = histories.curves.assign(cell=histories.curves["run_id"].map(labels), pct=100 * histories.curves["value"])
    with look():
        figure, axes = plt.subplots(figsize=(WIDTH, 3 + 0.17 * len(names)), layout="constrained")
        for index, name in enumerate(names):
            _series(axes, points[points["cell"] == name], name, index)
        if len(points):
            axes.set_ylim(bottom=max(0.0, float(points["pct"].quantile(0.05)) - 5))
        for epoch in sorted(set(histories.restarts["epoch"]))[:-1]:
            axes.axvline(epoch, color=INK, linewidth=0.7, linestyle=(0, (1, 3)))
        marked = "\ndotted: the learning rate restarts" if len(histories.restarts) else ""
        axes.set_xlabel(f"epoch{marked}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(f"{histories.metric} (%)")
        figure.legend(loc="outside lower left", ncols=2 if max(map(len, names), default=0) < 26 else 1)
    return figure


def restarts(histories: Histories) -> Figure:
    """Draw the test accuracy at the end of each cycle of the learning rate: mean and range over seeds.

    The axis of epochs is logarithmic.

    Source: [WR] figure 5.
    """
    points = histories.restarts.assign(
        cell=histories.restarts["run_id"].map(histories.labels), pct=100 * histories.restarts["value"]
    )
    with_points = set(points["cell"])  # a schedule without restarts has none
    names = [name for name in dict.fromkeys(histories.labels.values()) if name in with_points]
    epochs = sorted(set(points["epoch"]))
    with look():
        figure, axes = plt.subplots(figsize=(WIDTH, 3 + 0.17 * len(names)), layout="constrained")
        for index, name in enumerate(names):
            _series(axes, points[points["cell"] == name], name, index)
        axes.set_xscale("log")
        axes.set_xticks(epochs, labels=[str(epoch) for epoch in epochs])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("epoch, the last before each restart (log scale)")
        axes.set_ylabel("test accuracy (%)")
        figure.legend(loc="outside lower left", ncols=2 if max(map(len, names), default=0) < 26 else 1)
    return figure


def _series(axes: Axes, points: pd.DataFrame, name: str, index: int) -> None:
    over = points.groupby("epoch")["pct"]
    mean, tint = over.mean(), colour(index)
    axes.fill_between(mean.index, over.min(), over.max(), color=tint, alpha=0.16, linewidth=0)
    every = max(1, len(mean) // 8)
    axes.plot(
        mean.index,
        mean,
        color=tint,
        linestyle=dash(index),
        linewidth=1.6,
        label=name,
        marker=marker(index),
        markersize=4.5,
        markevery=(index % every, every),
    )
