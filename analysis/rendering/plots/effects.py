"""The effects of a design, the largest first, beside what counts as none of interest."""

from __future__ import annotations

import textwrap

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis.effects.design_effects import DesignEffect, DesignEffects
from analysis.findings import Findings
from analysis.rendering.design_tables import levels
from analysis.rendering.plots.margins import LABEL_WIDTH, MOST_LINES, band
from analysis.rendering.plots.style import INK, WIDTH, look, points

BETTER = {
    "one_factor": "the level is better than the reference",
    "leave_one_out": "better with it than without",
    "add_one_in": "better with it than in the bare cell",
}


def effects(design: DesignEffects, found: Findings) -> Figure:
    """A line an effect, with its interval, zero, and the band of equivalence."""
    ordered = sorted(design.effects, key=_size, reverse=True)
    drawn = ordered[:MOST_LINES][::-1]
    labels = [textwrap.fill(_label(one), LABEL_WIDTH) for one in drawn]
    height = sum(0.19 + 0.15 * (1 + label.count("\n")) for label in labels)
    with look("effects"):
        figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + height), layout="constrained")
        band(axes, found.equivalence_pp, upright=False)
        for place, one in enumerate(drawn):
            its = one.row.margin
            if its is None:
                axes.plot([0], [place], "x", color=INK, markersize=7)
                axes.annotate("no seed tells it", (0, place), (8, -3), textcoords="offset points", fontsize=8)
                continue
            points(axes, [place], [(its.mean_pp, its.low_pp, its.high_pp)], int(its.mean_pp < 0), upright=False)
        axes.set_yticks(range(len(drawn)), labels)
        axes.set_ylim(-0.6, len(drawn) - 0.4)
        axes.grid(axis="y", visible=False)
        figure.supxlabel("\n".join(_footing(design, found, len(ordered) - len(drawn))), fontsize=8)
    return figure


def _footing(design: DesignEffects, found: Findings, left_out: int) -> list[str]:
    unit = "points" if found.runs.measure.points else found.runs.measure.name
    side = "left" if found.runs.measure.lower_is_better else "right"
    better = BETTER.get(design.kind, "the first level is better")
    told = [f"effect, first level minus second ({unit})", f"{side} of 0: {better}; grey: within {found.within} of none"]
    return [*told, *[f"{left_out} smaller ones are in effects.csv"] * bool(left_out)]


def _label(one: DesignEffect) -> str:
    return levels(one) if one.zipped else f"{one.factor}: {levels(one)}"


def _size(one: DesignEffect) -> float:
    return abs(one.row.margin.mean_pp) if one.row.margin else -1.0
