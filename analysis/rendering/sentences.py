"""What a report says in plain words, on top of its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from ablate.core.levels import show
from ablate.stats.paired import Margin, t_interval
from analysis.effects.cost_ratios import LINES, ratios, shown_ratio
from analysis.effects.factors import factors
from analysis.effects.interaction import Effect
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import Verdict
from analysis.findings import Comparison, Findings
from analysis.formats import interval, p_is, shown, signed
from analysis.rendering import design_sentences
from analysis.rendering.tables import cell_names, larger_error

NORMAL_975 = 1.96
MOST_NAMES = 4


def sentences(found: Findings) -> list[str]:
    """The report's findings, the verdicts first; empty without a contrast."""
    if found.published:
        return []
    told = [
        line
        for one in found.comparisons
        for line in (_verdicts(one, found), _at_every_budget(one), _dependence(one, found))
    ]
    return [
        line
        for line in (
            *design_sentences.sentences(found),
            *told,
            _nuisance(found),
            _inference(found),
            _not_done(found),
            _importance(found),
            _test_set(found),
        )
        if line
    ]


def warnings(found: Findings, left_out: str) -> list[str]:
    """What a reader must know before believing any of it: mixed versions, keys that nobody swept, levels left out."""
    versions = sorted(set(found.runs.frame["code_version"]))
    unswept = [key for key in factors(found.runs) if key not in found.runs.factors]
    told = []
    if len(versions) > 1 and not found.published:
        told.append(f"Mixed code versions: {', '.join(versions)}.")
    if unswept and not found.published:
        told.append(
            f"Trials differ in more than the factors: {', '.join(unswept)}. "
            "Only trials that agree in all of these are paired."
        )
    if "seeds" in found.runs.terms:
        told.append(
            "Seeds were added until margins were decided: verdicts and intervals of margins and gaps hold under that, "
            "while the tests on other factors and the claims take each cell's number of seeds as fixed."
        )
    told += found.design.notes if found.design else []
    return [*told, *_edges(found), *found.runs.notes, *([left_out] if left_out else [])]


def _verdicts(one: Comparison, found: Findings) -> str:
    first, second = show(one.contrast.first), show(one.contrast.second)
    counted = Counter(verdict.word for verdict in one.verdicts)
    tested = len(one.verdicts) - counted["no margin"]
    if not tested:
        return f"{one.contrast}: no cell has a seed that is done in both arms."
    none = f" In {counted['no margin']} more no seed is done in both arms." if counted["no margin"] else ""
    if tested == 1:
        return f"{_only(one, found)}.{none}"
    parts = []
    for word, text in (("first better", f"{first} is better"), ("second better", f"{second} is better")):
        sizes = [row.margin.mean_pp for row, verdict in _cells(one) if verdict.word == word and row.margin]
        if sizes:
            span = sorted(map(abs, sizes))
            spread = f"{span[0]:.2f}" if len(span) == 1 else f"{span[0]:.2f} to {span[-1]:.2f}"
            parts.append(f"{text} in {len(sizes)} (by {spread}{_points(found)})")
    if counted["equivalent"]:
        parts.append(f"they are equivalent within {found.within} in {counted['equivalent']}")
    if counted["undecided"]:
        told = "all undecided" if counted["undecided"] == tested else f"undecided in {counted['undecided']}"
        parts.append(f"{told}{_needed(one.verdicts)}")
    return f"{first} against {second}, {tested} cells: {', '.join(parts)}.{none}"


def _at_every_budget(one: Comparison) -> str:
    """Whether the better arm is the same whatever the tuning's budget."""
    if not one.budgets:
        return ""
    most = max(curve.budgets[-1] for curve in one.budgets)
    turned = [curve for curve in one.budgets if not curve.holds]
    if not turned:
        number = len(one.budgets)
        where = f"in all {number} cells" if number > 2 else "in both cells" if number == 2 else "here"
        return f"Tuning: {where} the same arm is ahead at every budget from 1 to {most} configurations."
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
        f"Tuning: which arm is ahead depends on the budget in {len(turned)} of {len(one.budgets)} cells: "
        f"{'; '.join(parts)}{more}."
    )


def _nuisance(found: Findings) -> str:
    """What the margins average over."""
    said = found.runs.terms.get("nuisance", {})
    drawn = "; ".join(f"{key} from {text}" for key, text in said.items())
    return f"Margins average over {drawn}: drawn for each seed, the same in every arm." if drawn else ""


def _edges(found: Findings) -> list[str]:
    """What was chosen at the end of its space: a wider one might have done better."""
    said, choices = found.runs.terms.get("tune", {}), found.runs.choices
    told = []
    for key in dict.fromkeys(key for one in choices for key in one.edges):
        its = [one for one in choices if key in one.edges]
        cells = [
            f"{levels_in_words(one.cell)} ({one.edges[key]}, {shown(one.values[key])})" for one in its[:MOST_NAMES]
        ]
        more = f" and {len(its) - MOST_NAMES} more" if len(its) > MOST_NAMES else ""
        told.append(
            f"Chosen at the edge of its space, {key} from {said['space'][key]}: {'; '.join(cells)}{more}. "
            "A wider space might do better there."
        )
    return told


def _inference(found: Findings) -> str:
    """What the first contrast's first level takes beside its second, from the clock and from counts."""
    if not found.comparisons or not found.runs.ours:
        return ""
    one, told = found.comparisons[0], []
    for line in LINES:
        if not line.name.startswith("inference"):
            continue
        its = ratios(found.runs.frame, one.rows, line)
        bounds = t_interval(-its.log_by_seed) if line.timed and len(its.log_by_seed) else None
        spread = f" (95% interval {exp(bounds[0]):.2f} to {exp(bounds[1]):.2f})" if bounds else " (not tested)"
        if len(its.log_by_seed):
            told.append(f"{shown_ratio(1 / its.mean, line)} times the {line.quantity}{spread * line.timed}")
    first, second = show(one.contrast.first), show(one.contrast.second)
    return f"At inference {first} takes, beside {second}, {', '.join(told)}." if told else ""


def _only(one: Comparison, found: Findings) -> str:
    from analysis.rendering.tables import verdicts

    place = next(place for place, row in enumerate(one.rows) if row.margin)
    margin = one.rows[place].margin
    assert margin is not None
    told = interval(margin.low_pp, margin.high_pp)
    spread = f", 95% interval {told}" if margin.low_pp is not None else ""
    words = verdicts(one, found)[place]
    return f"{one.contrast}: {signed(margin.mean_pp)}{_points(found)}{spread}, n = {margin.n}: {words}"


def _needed(verdicts: Sequence[Verdict]) -> str:
    needed = [verdict.more_seeds for verdict in verdicts if verdict.word == "undecided" and verdict.more_seeds]
    if not needed:
        return ""
    least, most = min(needed), max(needed)
    if most == 1:
        return " (about 1 more seed would decide)"
    return f" (about {least if least == most else f'{least} to {most}'} more seeds would decide)"


def _dependence(one: Comparison, found: Findings) -> str:
    """Each factor on which the margin is shown to depend; and those of which it is not."""
    strongest: dict[str, Effect] = {}
    for effect in one.effects:
        held = strongest.get(effect.difference.moderator)
        if held is None or _p(effect) < _p(held):
            strongest[effect.difference.moderator] = effect
    shown_on = [effect for effect in strongest.values() if effect.shown]
    others = [effect.difference.moderator for effect in strongest.values() if not effect.shown]
    told = [
        f"The margin depends on {effect.difference.moderator}: {_sentence(effect, _points(found))}."
        for effect in shown_on
    ]
    if others:
        told.append(f"The margin is not shown to depend on {_or(others)}.")
    return " ".join(told)


def _sentence(effect: Effect, points: str) -> str:
    one, mean = effect.difference, effect.mean_pp or 0.0
    side = "above" if mean > 0 else "below"
    spread = interval(effect.low_pp, effect.high_pp)
    bracket = f"95% interval {spread}, n = {len(one.by_seed)}, adjusted {p_is(effect.p)}"
    return f"at {shown(one.level)} it is {abs(mean):.2f}{points} {side} that at {shown(one.reference)} ({bracket})"


def _not_done(found: Findings) -> str:
    """How many trials ended otherwise, and in which cells."""
    frame = found.runs.frame
    lost = frame[frame["outcome"] != "done"]
    if lost.empty:
        return ""
    counts = ", ".join(f"{count} {kind}" for kind, count in lost["outcome"].value_counts().items())
    names = list(dict.fromkeys(cell_names(found.runs)[lost.index]))
    more = f" and {len(names) - MOST_NAMES} more cells" if len(names) > MOST_NAMES else ""
    return f"Not done: {counts} of {len(frame)} trials ({', '.join(names[:MOST_NAMES])}{more})."


def _importance(found: Findings) -> str:
    if len(found.importance) < 2:
        return ""
    told = [
        f"{one.factor} ({abs(one.mean_pp):.2f}{_points(found)} between {shown(one.level)} and {shown(one.reference)})"
        for one in found.importance[:3]
        if round(abs(one.mean_pp), 2)
    ]
    if not told:
        return ""
    return f"What moves the {found.runs.measure.name} most: {', then '.join(told)}."


def _test_set(found: Findings) -> str:
    effects = list(zip(found.design.effects, found.design.verdicts, strict=True)) if found.design else []
    judged = [(one.row, verdict) for one, verdict in effects]
    judged += [pair for one in found.comparisons for pair in _cells(one)]
    cell = "effect" if effects else "cell"
    margins = [row.margin for row, _ in judged if row.margin]
    known = [one for one in margins if one.test_set]
    if not known:
        return ""
    items = sorted({one.test_set.items for one in known if one.test_set})
    size = f"{items[0]:,}" if len(items) == 1 else f"{items[0]:,} to {items[-1]:,}"
    larger = sum(larger_error(one) == "test set" for one in known)
    told = f"All of it is about these test images ({size} of them)"
    if larger:
        share = f"{larger} of {len(known)} {cell}s" if len(known) > 1 else f"this {cell}"
        told += f": in {share} their sampling error is larger than that of the seeds, "
        told += "so that other images may tell more than other seeds"
    lost = sum(_within_test_set(row.margin, verdict) for row, verdict in judged)
    if lost:
        told += f". {lost} decided {f'{cell} lies' if lost == 1 else f'{cell}s lie'} within that error (95%)"
    same = sum(one.identical for one in known)
    if same:
        told += f". In {same} {cell}{'s' * (same != 1)} all seeds differ by the same; "
        told += "the spread is then taken from test-set sampling"
    return f"{told}."


def _cells(one: Comparison) -> list[tuple[MarginRow, Verdict]]:
    return list(zip(one.rows, one.verdicts, strict=True))


def _within_test_set(one: Margin | None, verdict: Verdict) -> bool:
    """Whether an arm is called better by a margin that other test images could take away."""
    if one is None or one.test_set is None or not verdict.word.endswith("better"):
        return False
    return abs(one.mean_pp) < NORMAL_975 * one.test_set.se_pp


def _points(found: Findings) -> str:
    return " points" if found.runs.measure.points else ""


def _p(effect: Effect) -> float:
    return 1.0 if effect.p is None else effect.p


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def levels_in_words(levels: Mapping[str, Any]) -> str:
    """A cell's levels in a row.

    >>> levels_in_words({"bits": 1, "norm": "bn"})
    'bits 1, norm bn'
    """
    return ", ".join(f"{key} {shown(level)}" for key, level in levels.items() if level is not None) or "all trials"
