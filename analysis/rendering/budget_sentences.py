"""Sentences on the margin at every tuning budget, and on what the curve assumes."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.effects.tuning_budget import BudgetCurve
from analysis.findings import Comparison, Findings
from analysis.formats import levels_in_words

MOST_NAMES = 4

EXCHANGEABLE = {
    "random": "The line takes configurations as exchangeable, as random search draws them.",
    "grid": "The line takes configurations as exchangeable, as if part of the grid were drawn at random.",
    "tpe": (
        "The line takes configurations as exchangeable. Those of the tree-structured Parzen estimator are not: it "
        "proposes later ones near the best so far. Below the whole budget the line therefore tends to overstate what "
        "each arm would have reached, most where the estimator improved an arm most."
    ),
}
"""sampler -> what the curve assumes of it."""


def assumptions(findings: Findings) -> list[str]:
    """Return what the curves over the tuning budget assume, for the page; empty without a curve."""
    curves = [curve for comparison in findings.comparisons for curve in comparison.budgets]
    if not curves:
        return []
    exchangeable = EXCHANGEABLE.get(findings.runs.metadata.get("tune", {}).get("sampler", ""), "")
    searches = findings.runs.searches
    of_searches = (
        "what one search chose, and does not cover other searches"
        if searches == 1
        else f"what {searches} searches of each cell chose, and covers others"
    )
    lines = [exchangeable, f"The point's interval is of fresh seeds of {of_searches}."]
    if any(curve.counted.failed for curve in curves):
        lines.append(
            f"Configurations that failed count as {_counted_as(curves)}: it is what a search ends with that tries no "
            "others."
        )
    if any(curve.counted.pruned for curve in curves):
        lines.append(
            "Pruned ones count as the lowest accuracy of their arm's that were trained to the end; what they would "
            "have reached is unknown."
        )
    return [line for line in lines if line]


def at_every_budget(comparison: Comparison) -> str:
    """Return whether the better arm is the same at every tuning budget, as a sentence."""
    if not comparison.budgets:
        return ""
    most = max(curve.budgets[-1] for curve in comparison.budgets)
    turned = [curve for curve in comparison.budgets if not curve.holds]
    if not turned:
        number = len(comparison.budgets)
        where = f"in all {number} cells" if number > 2 else "in both cells" if number == 2 else "here"
        ahead = f"Tuning: {where} the same arm is ahead at every budget from 1 to {most} configurations"
        return f"{ahead}{_failed(comparison)}."
    parts = []
    for curve in turned[:MOST_NAMES]:
        at = curve.turns_at
        how = (
            "by fresh seeds the other arm is ahead"
            if at is None
            else f"up to {at} of {curve.budgets[-1]} configurations"
        )
        parts.append(f"{levels_in_words(curve.row.levels)} ({how})")
    more = f" and {len(turned) - MOST_NAMES} more" if len(turned) > MOST_NAMES else ""
    return (
        f"Tuning: which arm is ahead depends on the budget in {len(turned)} of {len(comparison.budgets)} cells: "
        f"{'; '.join(parts)}{more}{_failed(comparison)}."
    )


def _failed(comparison: Comparison) -> str:
    """Return how many configurations failed and what they count as, as the end of a sentence; empty if none did."""
    with_failed = [curve for curve in comparison.budgets if curve.counted.failed]
    if not with_failed:
        return ""
    failed = sum(curve.counted.failed for curve in with_failed)
    tried = sum(curve.counted.tried for curve in comparison.budgets)
    return f"; {failed} of {tried} configurations failed and count as {_counted_as(with_failed)}"


def _counted_as(curves: Sequence[BudgetCurve]) -> str:
    """Return what the failed configurations of curves count as, in words."""
    failed = [curve.counted for curve in curves if curve.counted.failed]
    classes = sorted({counted.classes for counted in failed if counted.classes})
    parts = [f"chance, {100 / number:g}% with {number} classes" for number in classes]
    if any(counted.classes is None for counted in failed):
        parts.append("the lowest accuracy of both arms where the number of classes is unknown")
    return ", or ".join(parts)
