"""What a study's design varies, trial by trial, and what a report tells of each of its factors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.core import expression
from ablate.core.errors import UsageError
from ablate.core.expression import Expression
from ablate.core.levels import same
from ablate.tracking.record import level
from analysis.effects.factors import factors
from analysis.effects.matched import MarginRow, Row, trials_of
from analysis.effects.verdict import Verdict
from analysis.formats import shown
from analysis.sources.runs import Runs

AROUND = ("one_factor", "leave_one_out", "add_one_in")
"""The designs that change one factor at a time from a base cell."""
FEW_CELLS = ("fractional", "screening", "random")
"""The designs in which few cells pair up, or none: their main effects are estimated together."""

Levels = Mapping[str, Any]
"""The factors that are set in a cell, with their levels."""


@dataclass(frozen=True)
class Axis:
    """What a design varies as one: a factor, or several zipped."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.names)

    def of(self, levels: Levels) -> tuple[tuple[str, Any], ...]:
        """Its part of a cell, (factor, level) pairs; empty where it is not set."""
        return tuple((name, levels[name]) for name in self.names if name in levels)

    def in_words(self, levels: Levels) -> str:
        """Its level in a cell.

        >>> Axis(("bits",)).in_words({"bits": 1}), Axis(("depth", "width")).in_words({"depth": 14, "width": 2})
        ('1', 'depth 14, width 2')
        """
        its = self.of(levels)
        if len(self.names) == 1:
            return in_words(its[0][1]) if its else "not set"
        return ", ".join(f"{name} {in_words(one)}" for name, one in its) or "not set"

    def differs(self, one: Levels, other: Levels) -> bool:
        """Whether it is at another level, where both cells set it."""
        return any(not same(one[name], other[name]) for name in self.names if name in one and name in other)


@dataclass(frozen=True)
class Alias:
    """A two-factor interaction that is mixed into a main effect, `weight` times.

    An interaction is half of what one factor's effect differs by between the other's level and its reference.
    """

    name: str
    weight: float


@dataclass(frozen=True)
class DesignEffect:
    """What a factor does, the level `first` minus `second`, in percentage points.

    row: its margin, a value a seed; the accuracies of both sides where they are two cells. zipped: several factors that
    go together, so that the levels name them.
    """

    factor: str
    first: str
    second: str
    row: MarginRow
    aliases: Sequence[Alias] = ()
    zipped: bool = False


@dataclass(frozen=True)
class DesignEffects:
    """The effects that a design is there to tell.

    kind: the design. base: the cell that others are compared with, or the reference cell of main effects. base_acc: its
    mean accuracy, None where no trial is done. cells, seeds: how many there are. resolution: of a regular fraction.
    balanced: whether every two factors' levels come together equally often. notes: what a reader must know.
    """

    kind: str
    base: Levels
    base_acc: float | None
    effects: Sequence[DesignEffect]
    cells: int
    seeds: int
    verdicts: Sequence[Verdict] = ()
    resolution: int | None = None
    balanced: bool = True
    notes: Sequence[str] = ()

    @property
    def around(self) -> bool:
        """Whether each effect is of two cells that differ in that alone; else they are main effects."""
        return self.kind in AROUND

    @property
    def has_effects(self) -> bool:
        return any(one.row.margin for one in self.effects)

    @property
    def knows_test_set(self) -> bool:
        return any(one.row.margin and one.row.margin.test_set for one in self.effects)


class Cells:
    """The cell of each trial of a study whose design is known.

    trials: as plain values. levels: for each trial the factors that are set in it. extras: keys that nobody swept and
    that have several values all the same.
    """

    def __init__(self, runs: Runs) -> None:
        self.design: Mapping[str, Any] = runs.terms["design"]
        typed = [key for key in runs.factors if key in runs.frame]
        self.extras = [key for key in factors(runs) if key not in (*typed, *runs.derived)]
        self.derived = [key for key in runs.derived if key in runs.frame]
        self.trials: list[Row] = trials_of(runs.frame, [*typed, *self.extras, *self.derived])
        self.axes = _axes(typed, self.design.get("zip", ()))
        self.when = _conditions(self.design.get("when", {}), typed, runs.frame)
        self.levels = [self.is_set({key: trial[key] for key in typed}) for trial in self.trials]

    def is_set(self, levels: Levels) -> dict[str, Any]:
        """Without the factors whose condition does not hold."""
        kept = dict(levels)
        for name, condition in self.when.items():
            if name in kept and not condition.holds(kept):
                del kept[name]
        return kept

    def cell(self, name: str) -> dict[str, Any]:
        """The cell that the design calls so: base, reference, bare."""
        return self.is_set(self.design.get(name) or {})

    def at(self, levels: Levels) -> list[Row]:
        """The trials of a cell."""
        return [trial for trial, its in zip(self.trials, self.levels, strict=True) if self.alike(its, levels)]

    def alike(self, one: Levels, other: Levels) -> bool:
        """Whether two cells set the same factors to the same levels."""
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)


def in_words(one: Any) -> str:
    """A level for people; null is one.

    >>> in_words(0.5), in_words(None)
    ('0.5', 'null')
    """
    return "null" if one is None else shown(one)


def mean_acc(trials: Sequence[Row]) -> float | None:
    """Over those that are done; None if none is."""
    accs = [trial["acc"] for trial in trials if trial["outcome"] == "done" and not pd.isna(trial["acc"])]
    return sum(accs) / len(accs) if accs else None


def _axes(typed: Sequence[str], zips: Sequence[Sequence[str]]) -> list[Axis]:
    of = {name: tuple(one) for one in zips for name in one}
    return [Axis(names) for names in dict.fromkeys(of.get(name, (name,)) for name in typed)]


def _conditions(said: Mapping[str, str], typed: Sequence[str], frame: pd.DataFrame) -> dict[str, Expression]:
    """What each conditional factor asks; the study's plan has put those first that others name."""
    found = {}
    for name, text in said.items():
        words = [level(word) for word in re.findall(r"[^\s()\[\],'\"=!<>]+", text)]
        levels = {key: _levels(frame[key], words) for key in typed}
        try:
            found[name] = expression.read(f"when.{name}", text, levels, said)
        except UsageError:  # it names levels that no trial has
            continue
    return found


def _levels(column: pd.Series, words: Sequence[Any]) -> list[Any]:
    """A factor's levels, and what else an expression may compare it with."""
    there = [one for one in column.astype(object).unique() if not pd.isna(one)]
    only_numbers = all(isinstance(one, int | float) for one in there)
    return [*there, *(one for one in words if isinstance(one, int | float) or not only_numbers)]
