"""Figure of the effects of a design, the largest first, with the band of equivalence."""

from __future__ import annotations

import textwrap

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis.effects.design_effects import DesignEffect, DesignEffects
from analysis.findings import Findings
from analysis.rendering.design_tables import levels, size_pp
from analysis.rendering.plots.margins import LABEL_WIDTH, MOST_LINES, band
from analysis.rendering.plots.style import INK, WIDTH, look, points, seed_dots

BETTER = {
    "one_factor": "the level is better than the reference",
    "leave_one_out": "better with it than without",
    "add_one_in": "better with it than in the bare cell",
}


def effects(design: DesignEffects, findings: Findings) -> Figure:
    """Draw one line per effect, with its interval, zero, and the band of equivalence."""
    ordered = sorted(design.effects, key=size_pp, reverse=True)
    drawn = ordered[:MOST_LINES][::-1]
    labels = [textwrap.fill(_label(effect), LABEL_WIDTH) for effect in drawn]
    height = sum(0.19 + 0.15 * (1 + label.count("\n")) for label in labels)
    with look("effects"):
        figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + height), layout="constrained")
        band(axes, findings.equivalence_pp, upright=False)
        for position, effect in enumerate(drawn):
            margin = effect.row.margin
            if margin is None:
                axes.plot([0], [position], "x", color=INK, markersize=7)
                axes.annotate("no seed in both arms", (0, position), (8, -3), textcoords="offset points", fontsize=8)
                continue
            seed_dots(axes, position, [*effect.row.by_seed.values()], upright=False)
            points(
                axes,
                [position],
                [(margin.mean_pp, margin.low_pp, margin.high_pp)],
                int(margin.mean_pp < 0),
                upright=False,
            )
        axes.set_yticks(range(len(drawn)), labels)
        axes.set_ylim(-0.6, len(drawn) - 0.4)
        axes.grid(axis="y", visible=False)
        figure.supxlabel("\n".join(_footing(design, findings, len(ordered) - len(drawn))), fontsize=8)
    return figure


def _footing(design: DesignEffects, findings: Findings, left_out: int) -> list[str]:
    unit = "points" if findings.runs.measure.points else findings.runs.measure.name
    side = "left" if findings.runs.measure.lower_is_better else "right"
    better = BETTER.get(design.kind, "the first level is better")
    lines = [
        f"effect, first level minus second ({unit})",
        f"{side} of 0: {better}" + (f"; grey: within {findings.within} of 0" if findings.equivalence_pp else ""),
    ]
    return [*lines, *[f"{left_out} smaller ones are in effects.csv"] * bool(left_out)]


def _label(effect: DesignEffect) -> str:
    return levels(effect) if effect.zipped else f"{effect.factor}: {levels(effect)}"
