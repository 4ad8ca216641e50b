"""Sentences on the hypotheses that a study stated beforehand."""

from __future__ import annotations

from analysis.effects.hypotheses import TestedHypothesis
from analysis.findings import Findings
from analysis.formats import p_is


def sentences(findings: Findings) -> list[str]:
    """Return what became of each hypothesis, and that all else is exploratory; nothing without a hypothesis."""
    if not findings.hypotheses:
        return []
    return [
        *(_sentence(tested, findings) for tested in findings.hypotheses),
        "Hypotheses were stated before the first trial and are adjusted among themselves (Holm). All else here is "
        "exploratory.",
    ]


def _sentence(tested: TestedHypothesis, findings: Findings) -> str:
    """Return a hypothesis with its word, and the numbers that the word rests on."""
    inside, measure = [], findings.runs.measure
    if tested.margin:
        inside.append(f"{measure.margin(tested.margin.mean_pp)}{measure.in_points}")
        if tested.margin.low_pp is not None:
            inside.append(f"95% interval {measure.interval(tested.margin.low_pp, tested.margin.high_pp)}")
        inside.append(f"n = {tested.margin.n}")
    if tested.cells > 1:
        inside.append(f"{tested.cells} cells")
    if tested.word == "denied":
        inside.append(f"of the opposite, adjusted {p_is(tested.p_deny)}")
    elif tested.p_confirm is not None:
        inside.append(f"adjusted {p_is(tested.p_confirm)}")
    if tested.failed:
        inside.append(f"{tested.failed} trials failed; it is about seeds for which both arms trained")
    why = f", since {tested.why}" if tested.why else ""
    numbers = f" ({'; '.join(inside)})" if inside else ""
    return f"Hypothesis, {tested.text}: {tested.word}{why}{numbers}."
