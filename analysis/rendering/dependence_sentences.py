"""Sentences on what the margin depends on: single factors, and several together."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.effects.interaction import Dependence, Effect
from analysis.findings import Comparison, Findings
from analysis.formats import p_is, shown
from analysis.sources.measure import Measure

MOST_TOGETHER = 3
"""The interactions that sentences name; the others are counted."""


def sentences(comparison: Comparison, findings: Findings) -> str:
    """Return on which factors the margin is shown to depend, alone or together, on which not, and what is untested."""
    dependence = comparison.dependence
    if dependence is None:
        return ""
    measure = findings.runs.measure
    strongest: dict[tuple[str, ...], Effect] = {}
    for effect in sorted(dependence.effects, key=_p):
        strongest.setdefault(effect.difference.moderators, effect)
    alone = {key[0]: effect for key, effect in strongest.items() if len(key) == 1}
    varying = [key for key in dependence.moderators if key in alone]
    lines = [f"The margin depends on {key}: {_alone(alone[key], measure)}." for key in varying if alone[key].shown]
    together = [effect for key, effect in strongest.items() if len(key) > 1 and effect.shown]
    lines += [_together(effect, measure) for effect in together[:MOST_TOGETHER]]
    if len(together) > MOST_TOGETHER:
        lines.append(f"It depends on {len(together) - MOST_TOGETHER} more sets of factors together.")
    named = {key for key in varying if alone[key].shown} | {key for e in together for key in e.difference.moderators}
    others = [key for key in varying if key not in named]
    untested = [key for key in others if alone[key].p is None]
    others = [key for key in others if key not in untested]
    if untested:
        why = "with one seed or without a spread between seeds"
        lines.append(f"Whether the margin depends on {_or(untested)} is not testable, {why}.")
    if others:
        tested_together = any(len(key) > 1 and {*key} & {*others} for key in strongest)
        lines.append(f"The margin is not shown to depend on {_or(others)}{', alone or together' * tested_together}.")
    return " ".join([*lines, *_untested(dependence)])


def _alone(effect: Effect, measure: Measure) -> str:
    (pair,) = effect.difference.pairs
    side = "above" if (effect.mean_pp or 0.0) > 0 else "below"
    other, tested = shown(pair.reference), _tested(effect, measure)
    return f"at {shown(pair.level)} it is {_size(effect, measure)} {side} that at {other} {tested}"


def _together(effect: Effect, measure: Measure) -> str:
    pairs = effect.difference.pairs
    side = "above" if (effect.mean_pp or 0.0) > 0 else "below"
    levels = ", ".join(shown(pair.level) for pair in pairs)
    references = ", ".join(shown(pair.reference) for pair in pairs)
    return (
        f"The margin depends on {effect.difference.moderator} together: at ({levels}), and where an even number of "
        f"these change to ({references}), it is {_size(effect, measure)} {side} that where an odd number do "
        f"{_tested(effect, measure)}."
    )


def _size(effect: Effect, measure: Measure) -> str:
    return f"{measure.size(effect.mean_pp or 0.0)}{measure.in_points}"


def _tested(effect: Effect, measure: Measure) -> str:
    spread = measure.interval(effect.low_pp, effect.high_pp)
    return f"(95% interval {spread}, n = {len(effect.difference.by_seed)}, adjusted {p_is(effect.p)})"


def _untested(dependence: Dependence) -> list[str]:
    """Return what could not be tested, for want of complete blocks of cells or because there is too much of it."""
    lines = []
    if dependence.incomplete:
        names = [" x ".join(key) for key in dependence.incomplete]
        more = f" and {len(names) - MOST_TOGETHER} more" if len(names) > MOST_TOGETHER else ""
        lines.append(f"Left out, for want of cells that agree in all else: {', '.join(names[:MOST_TOGETHER])}{more}.")
    if 0 < dependence.order < dependence.varying and not dependence.incomplete:
        lines.append(f"Interactions of more than {dependence.order} factors are too many to be tested.")
    return lines


def _p(effect: Effect) -> float:
    return 1.0 if effect.p is None else effect.p


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
