"""Tables of the effects of a design, for people and at full precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis.effects.design_effects import Alias, DesignEffect, DesignEffects
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import in_words
from analysis.findings import Findings
from analysis.formats import ABSENT
from analysis.rendering import tables

LEAST_ALIAS = 0.1
"""The table for people does not name an interaction whose weight in an effect is smaller."""
MOST_ALIASES = 3

HEADINGS = {
    "one_factor": ("effect", "level", "reference"),
    "leave_one_out": ("lost", "with it", "without"),
    "add_one_in": ("gained", "with it", "bare"),
}
"""For designs around a base cell: the headings of the effect and of its two sides."""


def shown(design: DesignEffects, findings: Findings) -> pd.DataFrame:
    """Return one row per effect, first level minus second."""
    measure, in_words_of_each = findings.runs.measure, verdicts(design, findings)
    heading, first, second = HEADINGS.get(design.kind, ("effect", "", ""))
    if measure.lower_is_better:
        heading = "effect"
    rows = []
    for effect, words in zip(design.effects, in_words_of_each, strict=True):
        row, margin = effect.row, effect.row.margin
        sides = (
            {
                measure.of(first, measure.unit): measure.figure(row.first_acc),
                measure.of(second, measure.unit): measure.figure(row.second_acc),
            }
            if design.around
            else {}
        )
        rows.append(
            {"factor": effect.factor, "levels": levels(effect)}
            | sides
            | {
                measure.of(heading, measure.points): measure.margin(margin.mean_pp if margin else None),
                "95% interval": measure.interval(margin.low_pp, margin.high_pp) if margin else ABSENT,
                "n": tables.n_of(row),
            }
            | ({} if design.around else {"aliases": aliases(effect.aliases)})
            | {"verdict": words, "notes": "; ".join(row.notes)}
        )
    return pd.DataFrame(rows)


def levels(effect: DesignEffect) -> str:
    return f"{effect.first} minus {effect.second}"


def size_pp(effect: DesignEffect) -> float:
    """Return how large an effect is, in percentage points; -1 if it has no margin, so that it sorts as the smallest."""
    return abs(effect.row.margin.mean_pp) if effect.row.margin else -1.0


def verdicts(design: DesignEffects, findings: Findings) -> list[str]:
    """Return the verdict on each effect in words."""
    return [
        in_words(verdict, effect.first, effect.second, findings.within)
        for effect, verdict in zip(design.effects, design.verdicts, strict=True)
    ]


def aliases(mixed: Sequence[Alias]) -> str:
    """Return the interactions mixed into an effect in words, in the order given.

    >>> aliases([Alias("norm x bits", -1.0), Alias("bits x width", 1 / 3), Alias("norm x width", 0.05)])
    '− norm x bits, + 0.33 bits x width'
    >>> aliases([])
    '–'
    """
    large = [alias for alias in mixed if abs(alias.weight) >= LEAST_ALIAS - 1e-9]
    named = [_alias(alias) for alias in large[:MOST_ALIASES]]
    more = [f"{len(large) - MOST_ALIASES} more"] * (len(large) > MOST_ALIASES)
    return ", ".join([*named, *more]) or ABSENT


def _alias(alias: Alias) -> str:
    size = f"{abs(alias.weight):.2f} "
    return f"{'−' if alias.weight < 0 else '+'} {'' if size == '1.00 ' else size}{alias.name}"


def rows_with_names(design: DesignEffects) -> list[MarginRow]:
    """Return the effects' margins, each named by its factor and levels."""
    return [
        replace(effect.row, levels={"factor": effect.factor, "levels": levels(effect)}) for effect in design.effects
    ]


def in_full(design: DesignEffects, findings: Findings) -> pd.DataFrame:
    """Return the effects at full precision, with all aliases and the ids of the runs behind them."""
    return pd.DataFrame(record(design, findings, index) for index in range(len(design.effects)))


def record(design: DesignEffects, findings: Findings, index: int) -> dict[str, object]:
    """Return one effect at full precision: a row of effects.csv."""
    effect, words = design.effects[index], verdicts(design, findings)[index]
    in_row = tables.numbers(effect.row, lower_is_better=findings.runs.measure.lower_is_better)
    numbers = {"effect_pp" if key == "margin_pp" else key: value for key, value in in_row.items()}
    return (
        {"design": design.kind, "factor": effect.factor, "first": effect.first, "second": effect.second}
        | numbers
        | tables.judged(design.verdicts[index], words)
        | {
            "aliases": "; ".join(f"{alias.weight:+.6g} {alias.name}" for alias in effect.aliases),
            "notes": "; ".join(effect.row.notes),
            "code_versions": " ".join(effect.row.versions),
            "first_runs": " ".join(effect.row.first_runs),
            "second_runs": " ".join(effect.row.second_runs),
        }
    )
