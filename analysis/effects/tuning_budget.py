"""What tuning spent and chose, and the margin as a function of the tuning budget.

The curve shows whether the conclusion is the same at every budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from ablate.core.levels import Level, show
from ablate.stats.arrays import Floats
from ablate.stats.expected_best import expected_best
from ablate.stats.multiple_testing import CONFIDENCE
from analysis.effects.chance import classes_of
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import equal
from analysis.effects.matched import MarginRow
from analysis.formats import ABSENT, shown
from analysis.sources.runs import Runs

RESAMPLES = 1000
"""Bootstrap resamples of each arm's configurations."""

WITHOUT_OUTCOME = ("running", "interrupted")
"""Configurations of which nothing is known yet, and which do not count."""


@dataclass(frozen=True)
class Counted:
    """How the configurations of a cell's two arms count that were not trained to the end.

    tried: configurations of both arms. failed: those of them that diverged, ran out of memory, were lost, or ended in
    an error, or without an accuracy. failed_acc: what they count at: chance, or where the number of `classes` is
    unknown (None) the lowest accuracy of both arms. pruned: those that count at the lowest accuracy of their own arm.
    """

    tried: int
    failed: int
    failed_acc: float
    classes: int | None
    pruned: int


@dataclass(frozen=True)
class BudgetCurve:
    """The margin that one cell would have if tuning had tried fewer configurations in each arm.

    row: the margin of the configurations chosen from all that were tried, from fresh seeds.
    budgets: 1, 2, ... configurations.
    margin_pp, low_pp, high_pp: (len(budgets),) the margin with its 95% interval, in percentage points.
    counted: how configurations count that were not trained to the end.
    """

    row: MarginRow
    budgets: Sequence[int]
    margin_pp: Floats
    low_pp: Floats
    high_pp: Floats
    counted: Counted

    @property
    def holds(self) -> bool:
        """Whether the same arm is ahead at every budget, and by fresh seeds too."""
        signs = {*np.sign(self.margin_pp).tolist(), np.sign(self.row.margin.mean_pp) if self.row.margin else 0.0}
        return len(signs - {0.0}) < 2

    @property
    def turns_at(self) -> int | None:
        """The largest budget at which the arm that is ahead with the whole budget is behind; None if it never is."""
        last = np.sign(self.margin_pp[-1])
        others = [budget for budget, pp in zip(self.budgets, self.margin_pp, strict=True) if np.sign(pp) == -last]
        return max(others, default=None)


class Tuned(Protocol):
    """A contrast of a tuned study, with a curve for each cell."""

    @property
    def contrast(self) -> Contrast: ...

    @property
    def budgets(self) -> Sequence[BudgetCurve]: ...


def spent(runs: Runs) -> pd.DataFrame:
    """Return a row for each cell.

    A row holds how many configurations were tried, how they ended, their epochs and hours, what was chosen and its
    validation accuracy. A cell that was searched several times has a row for each search.
    """
    assert runs.tried is not None
    kinds = [kind for kind in dict.fromkeys(runs.tried["outcome"]) if kind != "done"]
    rows = []
    for choice in runs.choices:
        in_cell = _of(runs.tried, choice.cell)
        if runs.searches > 1:
            in_cell = in_cell[in_cell["seed"] == runs.metadata["tune"]["seed"] + choice.search]
        counts = in_cell["outcome"].value_counts()
        chosen = _of(in_cell, choice.values)
        rows.append(
            dict(choice.cell)
            | ({"search": choice.search + 1} if runs.searches > 1 else {})
            | {"tried": len(in_cell), "done": int(counts.get("done", 0))}
            | {kind: int(counts.get(kind, 0)) for kind in kinds}
            | {"epochs": int(in_cell["epochs"].sum()), "hours": in_cell["wall_s"].sum() / 3600}
            | {"valid_acc": float(chosen["valid_acc"].iloc[0]) if choice.values and len(chosen) else np.nan}
            | {"chosen": dict(choice.values), "edges": dict(choice.edges)}
        )
    return pd.DataFrame(rows)


def curves(runs: Runs, contrast: Contrast, rows: Sequence[MarginRow]) -> list[BudgetCurve]:
    """Return the margin over the tuning budget for each row in which both arms have a configuration that is done.

    Both have two or more in all, whatever became of them.
    """
    if runs.tried is None:
        return []
    by_loss = runs.metadata.get("tune", {}).get("metric") == "valid_loss"
    ended = runs.tried[~runs.tried["outcome"].isin(WITHOUT_OUTCOME)]
    budget_curves = []
    for row in rows:
        arms = [_of(ended, row.levels | {contrast.factor: level}) for level in (contrast.first, contrast.second)]
        if any(len(arm) < 2 or not _came_through(arm).any() for arm in arms):
            continue
        counted = _counted(pd.concat(arms))
        ordered = [_ordered(arm, counted.failed_acc, by_loss=by_loss) for arm in arms]
        budget_curves.append(_curve(row, ordered[0], ordered[1], counted, runs.searches))
    return budget_curves


def _curve(row: MarginRow, first: Floats, second: Floats, counted: Counted, searches: int) -> BudgetCurve:
    """Return the curve up to the budget of one search, from the configurations of all."""
    most = max(1, min(len(first), len(second)) // searches)
    rng = np.random.default_rng(0)
    best = expected_best(first, most) - expected_best(second, most)
    first_drawn, second_drawn = (_resampled(arm, rng) for arm in (first, second))
    drawn_pp = 100 * (expected_best(first_drawn, most) - expected_best(second_drawn, most))
    low, high = np.quantile(drawn_pp, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return BudgetCurve(row, range(1, most + 1), 100 * best, low, high, counted)


def _resampled(ordered: Floats, rng: np.random.Generator) -> Floats:
    """Return (RESAMPLES, n) draws with replacement, each sorted back into the order of choice."""
    return ordered[np.sort(rng.integers(0, len(ordered), (RESAMPLES, len(ordered))), axis=1)]


def _came_through(tried: pd.DataFrame) -> pd.Series[bool]:
    """Return whether each configuration was trained to the end and has an accuracy."""
    return (tried["outcome"] == "done") & tried["acc"].notna()


def _counted(tried: pd.DataFrame) -> Counted:
    """Return how the configurations of both arms count that were not trained to the end."""
    came_through, pruned = _came_through(tried), tried["outcome"] == "pruned"
    classes = classes_of(tried)
    failed_acc = 1 / classes if classes else float(tried.loc[came_through, "acc"].min())
    return Counted(len(tried), int((~came_through & ~pruned).sum()), failed_acc, classes, int(pruned.sum()))


def _ordered(tried: pd.DataFrame, failed_acc: float, *, by_loss: bool) -> Floats:
    """Return (n,) test accuracies in the order in which they would be chosen.

    Pruned configurations come after those done, and count at the lowest accuracy of these: they lagged behind, and what
    they would have reached is unknown. To leave them out would count them at the mean. Failed ones come last.
    """
    came_through, pruned = _came_through(tried), tried["outcome"] == "pruned"
    done = tried[came_through]
    keys = ["valid_loss", "number"] if by_loss else ["worse", "valid_loss", "number"]
    ordered = done.assign(worse=-done["valid_acc"]).sort_values(keys)["acc"].to_numpy(dtype=float)
    failed = (~came_through & ~pruned).sum()
    return np.concatenate([ordered, np.full(pruned.sum(), ordered.min()), np.full(failed, failed_acc)])


def _of(frame: pd.DataFrame, levels: Mapping[str, Level]) -> pd.DataFrame:
    """Return the rows at these levels. A key that a row lacks, as bn lacks a temperature, does not exclude the row."""
    keep = pd.Series(True, index=frame.index)
    for key, level in levels.items():
        if key in frame and level is not None:
            column = frame[key].astype(object)
            keep &= column.isna() | column.map(lambda value, level=level: equal(value, level))
    return frame[keep]


def spent_in_full(runs: Runs) -> pd.DataFrame:
    """Return the table of `spent` at full precision, with a column for each chosen key."""
    table = spent(runs)
    keys = dict.fromkeys(key for values in table["chosen"] for key in values)
    for key in keys:
        table[f"chosen.{key}"] = [values.get(key) for values in table["chosen"]]
        table[f"edge.{key}"] = [edges.get(key, "") for edges in table["edges"]]
    return table.drop(columns=["chosen", "edges"])


def spent_shown(runs: Runs) -> pd.DataFrame:
    """Return the table of `spent` for people."""
    table = spent(runs)
    choices = zip(table["chosen"], table["edges"], strict=True)
    table["chosen"] = [chosen_in_words(values, edges) for values, edges in choices]
    table["hours"] = table["hours"].map(_time)
    table["valid_acc"] = table["valid_acc"].map(lambda acc: ABSENT if np.isnan(acc) else f"{100 * acc:.2f}")
    for choice in runs.choices:
        for key in choice.cell:
            table[key] = table[key].map(shown)
    return table.drop(columns=["edges"]).rename(columns={"hours": "time", "valid_acc": "validation (%)"})


def _time(hours: float) -> str:
    """Return hours as people read them.

    >>> _time(2.5), _time(0.5), _time(0.001)
    ('2.5 h', '30 min', '3.6 s')
    """
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


def curves_in_full(comparisons: Sequence[Tuned]) -> pd.DataFrame:
    """Return every curve of every contrast, with a row for each budget."""
    return pd.DataFrame(
        [
            {"contrast": str(comparison.contrast), **curve.row.levels, "budget": budget, "margin_pp": mean}
            | {"low_pp": low, "high_pp": high, "failed": curve.counted.failed, "failed_acc": curve.counted.failed_acc}
            for comparison in comparisons
            for curve in comparison.budgets
            for budget, mean, low, high in zip(curve.budgets, curve.margin_pp, curve.low_pp, curve.high_pp, strict=True)
        ]
    )


def settings_in_words(runs: Runs) -> str:
    """Return the tuning's budget, sampler, metric and spaces as a sentence; empty for a study without tuning."""
    settings = runs.metadata.get("tune")
    if not settings:
        return ""
    spaces = "; ".join(f"{key} {text}" for key, text in settings["space"].items())
    budget = f"{settings['epochs']} epochs" if settings["epochs"] else f"{settings['trials'] or 'all'} configurations"
    pruner = f", pruned by {settings['pruner']}" if settings["pruner"] != "none" else ""
    how = {"tpe": "the tree-structured Parzen estimator", "random": "random search", "grid": "a grid"}[
        settings["sampler"]
    ]
    measure = {"valid_acc": "validation accuracy", "valid_loss": "validation loss"}[settings["metric"]]
    rests = (
        f"A cell's choice rests on one search (tune.seed={settings['seed']}); another might have chosen otherwise, "
        "which tune.searches=N would show."
        if runs.searches == 1
        else f"Each cell was searched {runs.searches} times from the start, once for each seed, so that their spread "
        "holds that of the search."
    )
    return (
        f"Each cell had the same budget, {budget} of {how}{pruner}, and chose by {measure}. To choose from: {spaces}. "
        f"{rests}"
    )


def chosen_in_words(values: Mapping[str, Level], edges: Mapping[str, str]) -> str:
    """Return what tuning chose, for a table.

    Args:
        values: the chosen level of each key; empty where no configuration was done.
        edges: "lowest" or "highest" for each key whose chosen level is at an end of its space.

    >>> chosen_in_words({"recipe.lr": 0.1}, {"recipe.lr": "highest"})
    'recipe.lr 0.1 (highest allowed)'
    """
    if not values:
        return "none came through"
    return ", ".join(
        f"{key} {show(value)}" + (f" ({edges[key]} allowed)" if key in edges else "") for key, value in values.items()
    )
