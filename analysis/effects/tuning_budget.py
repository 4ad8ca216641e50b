"""What tuning spent and chose, and the margin as a function of its budget: does the conclusion hold at every one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.core.levels import show
from ablate.stats.paired import CONFIDENCE
from analysis.effects.contrasts import Contrast
from analysis.effects.matched import MarginRow
from analysis.formats import ABSENT, shown
from analysis.sources.runs import Runs

RESAMPLES = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BudgetCurve:
    """A margin of one cell, were each arm the best of so many configurations.

    budgets: 1, 2, ... configurations. margin_pp, low_pp, high_pp: (len(budgets),) in percentage points. row: the margin
    of the configurations chosen from all of them, from fresh seeds.
    """

    row: MarginRow
    budgets: Sequence[int]
    margin_pp: Floats
    low_pp: Floats
    high_pp: Floats

    @property
    def holds(self) -> bool:
        """Whether the better arm is the same at every budget, and the one that the fresh seeds show."""
        signs = {*np.sign(self.margin_pp).tolist(), np.sign(self.row.margin.mean_pp) if self.row.margin else 0.0}
        return len(signs - {0.0}) < 2

    @property
    def turns_at(self) -> int | None:
        """The last budget at which the other arm is ahead of the one that is with all of it; None if it never is."""
        last = np.sign(self.margin_pp[-1])
        others = [budget for budget, pp in zip(self.budgets, self.margin_pp, strict=True) if np.sign(pp) == -last]
        return max(others, default=None)


def spent(runs: Runs) -> pd.DataFrame:
    """One row a cell: configurations tried and how they ended, epochs, hours, what was chosen and how good it was."""
    assert runs.tried is not None
    kinds = [kind for kind in dict.fromkeys(runs.tried["outcome"]) if kind != "done"]
    rows = []
    for choice in runs.choices:
        its = _of(runs.tried, choice.cell)
        counts = its["outcome"].value_counts()
        chosen = _of(its, choice.values)
        rows.append(
            dict(choice.cell)
            | {"tried": len(its), "done": int(counts.get("done", 0))}
            | {kind: int(counts.get(kind, 0)) for kind in kinds}
            | {"epochs": int(its["epochs"].sum()), "hours": its["wall_s"].sum() / 3600}
            | {"valid_acc": float(chosen["valid_acc"].iloc[0]) if choice.values and len(chosen) else np.nan}
            | {"chosen": dict(choice.values), "edges": dict(choice.edges)}
        )
    return pd.DataFrame(rows)


def curves(runs: Runs, contrast: Contrast, rows: Sequence[MarginRow]) -> list[BudgetCurve]:
    """The margin over the tuning's budget in each row; none where an arm has fewer than two that were done."""
    if runs.tried is None:
        return []
    by_loss = runs.terms.get("tune", {}).get("metric") == "valid_loss"
    found = []
    for row in rows:
        arms = [
            _ordered(_of(runs.tried, row.levels | {contrast.factor: level}), by_loss=by_loss)
            for level in _both(contrast)
        ]
        if any(np.isfinite(arm).sum() < 2 for arm in arms):
            continue
        found.append(_curve(row, *arms))
    return found


def expected_best(ordered: Floats, most: int) -> Floats:
    """The accuracy that tuning is expected to end with, were its budget 1, 2, ... `most` of the configurations tried.

    The mean over all subsets of that size, of those in which a configuration was done: of each the one that would be
    chosen counts.

    Args:
        ordered: (..., n) accuracies of the configurations, the one that would be chosen first; NaN, at the end, for
            those that could not be chosen.
        most: the largest budget, at most n.

    Returns:
        (..., most)

    >>> expected_best(np.array([0.9, 0.6, 0.3]), 3).round(2).tolist()
    [0.6, 0.8, 0.9]

    Source: Dodge et al. (2019), Show your work; without replacement as in Tang et al. (2020), Showing your work doesn't
    always work, and with the accuracy on the test set of what the validation set chose.
    """
    n = ordered.shape[-1]
    place, budget = np.arange(n), np.arange(1, most + 1)
    # the first of a subset of k stands at place j where all others come after it: C(n-1-j, k-1) / C(n, k)
    left = (n - 1 - place)[:, None]
    with np.errstate(divide="ignore"):
        log = _log_choose(left, budget[None, :] - 1) - _log_choose(n, budget)[None, :]
    weights = np.where(left >= budget[None, :] - 1, np.exp(log), 0.0)
    there = np.isfinite(ordered)
    with np.errstate(invalid="ignore"):
        return (np.where(there, ordered, 0.0) @ weights) / (there.astype(float) @ weights)


def _curve(row: MarginRow, first: Floats, second: Floats) -> BudgetCurve:
    most = min(len(first), len(second))
    rng = np.random.default_rng(0)
    best = expected_best(first, most) - expected_best(second, most)
    drawn = [_resampled(arm, rng) for arm in (first, second)]
    again = 100 * (expected_best(drawn[0], most) - expected_best(drawn[1], most))
    again = again[np.isfinite(again).all(axis=1)]  # without draws in which an arm has nothing to choose
    low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return BudgetCurve(row, range(1, most + 1), 100 * best, low, high)


def _resampled(ordered: Floats, rng: np.random.Generator) -> Floats:
    """(RESAMPLES, n) draws with replacement, each in the same order again."""
    return ordered[np.sort(rng.integers(0, len(ordered), (RESAMPLES, len(ordered))), axis=1)]


def _ordered(tried: pd.DataFrame, *, by_loss: bool) -> Floats:
    """(n,) accuracies on the test, what would be chosen first at the front, NaN for what could not be."""
    done = tried[tried["outcome"] == "done"]
    keys = ["valid_loss", "number"] if by_loss else ["worse", "valid_loss", "number"]
    ordered = done.assign(worse=-done["valid_acc"]).sort_values(keys)["acc"].to_numpy(dtype=float)
    return np.concatenate([ordered, np.full(len(tried) - len(done), np.nan)])


def _of(frame: pd.DataFrame, levels: Mapping[str, Any]) -> pd.DataFrame:
    """The rows at these levels; a key that a row lacks, as bn lacks a temperature, tells nothing of it."""
    keep = pd.Series(True, index=frame.index)
    for key, level in levels.items():
        if key in frame and level is not None:
            column = frame[key].astype(object)
            keep &= column.isna() | column.map(lambda value, level=level: _same(value, level))
    return frame[keep]


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _both(contrast: Contrast) -> tuple[Any, Any]:
    return contrast.first, contrast.second


def _log_choose(n: Any, k: Any) -> Floats:
    from scipy.special import gammaln

    return np.asarray(gammaln(np.asarray(n) + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(np.maximum(n - k, 0) + 1.0))


def spent_in_full(runs: Runs) -> pd.DataFrame:
    """As `spent`, at full precision, a column a chosen key."""
    table = spent(runs)
    keys = dict.fromkeys(key for values in table["chosen"] for key in values)
    for key in keys:
        table[f"chosen.{key}"] = [values.get(key) for values in table["chosen"]]
        table[f"edge.{key}"] = [edges.get(key, "") for edges in table["edges"]]
    return table.drop(columns=["chosen", "edges"])


def spent_shown(runs: Runs) -> pd.DataFrame:
    """As `spent`, for people."""
    table = spent(runs)
    table["chosen"] = [words(values, edges) for values, edges in zip(table["chosen"], table["edges"], strict=True)]
    table["hours"] = table["hours"].map(_time)
    table["valid_acc"] = table["valid_acc"].map(lambda acc: ABSENT if np.isnan(acc) else f"{100 * acc:.2f}")
    for choice in runs.choices:
        for key in choice.cell:
            table[key] = table[key].map(shown)
    return table.drop(columns=["edges"]).rename(columns={"hours": "time", "valid_acc": "validation (%)"})


def _time(hours: float) -> str:
    """Hours as people read them.

    >>> _time(2.5), _time(0.5), _time(0.001)
    ('2.5 h', '30 min', '3.6 s')
    """
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


def curves_in_full(comparisons: Sequence[Any]) -> pd.DataFrame:
    """Every margin over its budget, a row a budget."""
    return pd.DataFrame(
        [
            {"contrast": str(one.contrast), **curve.row.levels, "budget": budget, "margin_pp": mean}
            | {"low_pp": low, "high_pp": high}
            for one in comparisons
            for curve in one.budgets
            for budget, mean, low, high in zip(curve.budgets, curve.margin_pp, curve.low_pp, curve.high_pp, strict=True)
        ]
    )


def settings_in_words(runs: Runs) -> str:
    """What the tuning was told: its sampler, its budget, its spaces; empty without one."""
    said = runs.terms.get("tune")
    if not said:
        return ""
    spaces = "; ".join(f"{key} {text}" for key, text in said["space"].items())
    budget = f"{said['epochs']} epochs" if said["epochs"] else f"{said['trials'] or 'all'} configurations"
    pruner = f", pruned by {said['pruner']}" if said["pruner"] != "none" else ""
    how = {"tpe": "the tree-structured Parzen estimator", "random": "random search", "grid": "a grid"}[said["sampler"]]
    measure = {"valid_acc": "validation accuracy", "valid_loss": "validation loss"}[said["metric"]]
    return (
        f"Each cell had the same budget, {budget} of {how}{pruner}, and chose by {measure}. To choose from: {spaces}."
    )


def words(values: Mapping[str, Any], edges: Mapping[str, str]) -> str:
    """What was chosen, for a table.

    >>> words({"recipe.lr": 0.1}, {"recipe.lr": "highest"})
    'recipe.lr 0.1 (highest allowed)'
    """
    if not values:
        return "none came through"
    return ", ".join(
        f"{key} {show(value)}" + (f" ({edges[key]} allowed)" if key in edges else "") for key, value in values.items()
    )
