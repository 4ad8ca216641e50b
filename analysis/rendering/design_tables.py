"""The effects of a design as tables: for people, and at full precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.effects.design_effects import Alias, DesignEffect, DesignEffects
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import in_words
from analysis.findings import Findings
from analysis.formats import ABSENT, interval, signed
from analysis.rendering import tables

LEAST_ALIAS = 0.1
"""An interaction of which less is mixed into an effect is not named in the table for people."""
MOST_ALIASES = 3

HEADINGS = {
    "one_factor": ("effect", "level", "reference"),
    "leave_one_out": ("lost", "with it", "without"),
    "add_one_in": ("gained", "with it", "bare"),
}
"""Of designs around a base cell: what the effect is called, and its two sides."""


def shown(design: DesignEffects, found: Findings) -> pd.DataFrame:
    """A row an effect, first level minus second, to two decimals."""
    measure, told = found.runs.measure, verdicts(design, found)
    effect, first, second = HEADINGS.get(design.kind, ("effect", "", ""))
    if measure.lower_is_better:
        effect = "effect"
    rows = []
    for one, words in zip(design.effects, told, strict=True):
        row, its = one.row, one.row.margin
        sides = (
            {
                measure.of(first, measure.unit): tables.percent(row.first_acc),
                measure.of(second, measure.unit): tables.percent(row.second_acc),
            }
            if design.around
            else {}
        )
        rows.append(
            {"factor": one.factor, "levels": levels(one)}
            | sides
            | {
                measure.of(effect, measure.points): signed(its.mean_pp) if its else ABSENT,
                "95% interval": interval(its.low_pp, its.high_pp) if its else ABSENT,
                "n": tables.n_of(row),
            }
            | ({} if design.around else {"aliases": aliases(one.aliases)})
            | {"verdict": words, "notes": "; ".join(row.notes)}
        )
    return pd.DataFrame(rows)


def levels(one: DesignEffect) -> str:
    return f"{one.first} minus {one.second}"


def verdicts(design: DesignEffects, found: Findings) -> list[str]:
    """Each effect's verdict in words."""
    return [
        in_words(verdict, one.first, one.second, found.within)
        for one, verdict in zip(design.effects, design.verdicts, strict=True)
    ]


def aliases(mixed: Sequence[Alias]) -> str:
    """The interactions mixed into an effect, the largest first.

    >>> aliases([Alias("norm x bits", -1.0), Alias("bits x width", 1 / 3), Alias("norm x width", 0.05)])
    '− norm x bits, + 0.33 bits x width'
    >>> aliases([])
    '–'
    """
    large = [one for one in mixed if abs(one.weight) >= LEAST_ALIAS - 1e-9]
    told = [_alias(one) for one in large[:MOST_ALIASES]]
    more = [f"{len(large) - MOST_ALIASES} more"] * (len(large) > MOST_ALIASES)
    return ", ".join([*told, *more]) or ABSENT


def _alias(one: Alias) -> str:
    size = f"{abs(one.weight):.2f} "
    return f"{'−' if one.weight < 0 else '+'} {'' if size == '1.00 ' else size}{one.name}"


def rows_with_names(design: DesignEffects) -> list[MarginRow]:
    """The effects' margins, called by factor and levels."""
    return [replace(one.row, levels={"factor": one.factor, "levels": levels(one)}) for one in design.effects]


def in_full(design: DesignEffects, found: Findings) -> pd.DataFrame:
    """The effects at full precision, with all aliases and the ids of the runs that they rest on."""
    return pd.DataFrame(record(design, found, place) for place in range(len(design.effects)))


def record(design: DesignEffects, found: Findings, place: int) -> dict[str, Any]:
    one, words = design.effects[place], verdicts(design, found)[place]
    held = {"effect_pp" if key == "margin_pp" else key: value for key, value in tables.numbers(one.row).items()}
    return (
        {"design": design.kind, "factor": one.factor, "first": one.first, "second": one.second}
        | held
        | tables.judged(design.verdicts[place], words)
        | {
            "aliases": "; ".join(f"{alias.weight:+.6g} {alias.name}" for alias in one.aliases),
            "notes": "; ".join(one.row.notes),
            "code_versions": " ".join(one.row.versions),
            "first_runs": " ".join(one.row.first_runs),
            "second_runs": " ".join(one.row.second_runs),
        }
    )
