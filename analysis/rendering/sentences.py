"""Sentences of a report, above its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp

from ablate.core.levels import show
from ablate.stats.paired import Margin, t_interval
from analysis.effects.cost_ratios import LINES, ratios, shown_ratio
from analysis.effects.factors import factors
from analysis.effects.interaction import Effect
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import Verdict
from analysis.findings import Comparison, Findings
from analysis.formats import interval, levels_in_words, p_is, shown, signed
from analysis.rendering import budget_sentences, design_sentences
from analysis.rendering.tables import cell_names, larger_error

NORMAL_975 = 1.96
MOST_NAMES = 4


def sentences(findings: Findings) -> list[str]:
    """Return the report's findings in sentences, the verdicts first; none without a contrast."""
    if findings.published:
        return []
    of_comparisons = [
        line
        for comparison in findings.comparisons
        for line in (
            _verdicts(comparison, findings),
            budget_sentences.at_every_budget(comparison),
            _dependence(comparison, findings),
        )
    ]
    return [
        line
        for line in (
            *design_sentences.sentences(findings),
            *of_comparisons,
            _nuisance(findings),
            _inference(findings),
            _not_done(findings),
            _importance(findings),
            _test_set(findings),
        )
        if line
    ]


def warnings(findings: Findings, left_out: str) -> list[str]:
    """Return what a reader must know before trusting the report: mixed versions, unswept keys, levels left out."""
    versions = sorted(set(findings.runs.frame["code_version"]))
    unswept = [key for key in factors(findings.runs) if key not in findings.runs.factors]
    lines = []
    if len(versions) > 1 and not findings.published:
        lines.append(f"Mixed code versions: {', '.join(versions)}.")
    if unswept and not findings.published:
        lines.append(
            f"Trials differ in more than the factors: {', '.join(unswept)}. "
            "Only trials that agree in all of these are paired."
        )
    if "seeds" in findings.runs.metadata:
        lines.append(
            "Seeds were added until margins were decided. The verdicts and intervals of margins and gaps allow for "
            "that; the tests on other factors and on claims do not: they take each cell's number of seeds as fixed."
        )
    lines += findings.design.notes if findings.design else []
    return [*lines, *_edges(findings), *findings.runs.notes, *([left_out] if left_out else [])]


def _verdicts(comparison: Comparison, findings: Findings) -> str:
    first, second = show(comparison.contrast.first), show(comparison.contrast.second)
    counted = Counter(verdict.word for verdict in comparison.verdicts)
    tested = len(comparison.verdicts) - counted["no margin"]
    if not tested:
        return f"{comparison.contrast}: no cell has a seed that is done in both arms."
    none = f" In {counted['no margin']} more no seed is done in both arms." if counted["no margin"] else ""
    if tested == 1:
        return f"{_only(comparison, findings)}.{none}"
    parts = []
    for word, text in (("first better", f"{first} is better"), ("second better", f"{second} is better")):
        sizes = [row.margin.mean_pp for row, verdict in _cells(comparison) if verdict.word == word and row.margin]
        if sizes:
            span = sorted(map(abs, sizes))
            spread = f"{span[0]:.2f}" if len(span) == 1 else f"{span[0]:.2f} to {span[-1]:.2f}"
            parts.append(f"{text} in {len(sizes)} (by {spread}{_points(findings)})")
    if counted["equivalent"]:
        parts.append(f"they are equivalent within {findings.within} in {counted['equivalent']}")
    if counted["undecided"]:
        undecided = "all undecided" if counted["undecided"] == tested else f"undecided in {counted['undecided']}"
        parts.append(f"{undecided}{_needed(comparison.verdicts)}")
    return f"{first} against {second}, {tested} cells: {', '.join(parts)}.{none}"


def _nuisance(findings: Findings) -> str:
    """Return a sentence on the nuisance factors that the margins average over."""
    nuisance = findings.runs.metadata.get("nuisance", {})
    drawn = "; ".join(f"{key} from {text}" for key, text in nuisance.items())
    return f"Margins average over {drawn}: drawn for each seed, the same in every arm." if drawn else ""


def _edges(findings: Findings) -> list[str]:
    """Return sentences on values that tuning chose at an end of their space: a wider space might do better."""
    tuning, choices = findings.runs.metadata.get("tune", {}), findings.runs.choices
    lines = []
    for key in dict.fromkeys(key for choice in choices for key in choice.edges):
        at_edge = [choice for choice in choices if key in choice.edges]
        cells = [
            f"{levels_in_words(choice.cell)} ({choice.edges[key]}, {shown(choice.values[key])})"
            for choice in at_edge[:MOST_NAMES]
        ]
        more = f" and {len(at_edge) - MOST_NAMES} more" if len(at_edge) > MOST_NAMES else ""
        lines.append(
            f"Chosen at the edge of its space, {key} from {tuning['space'][key]}: {'; '.join(cells)}{more}. "
            "A wider space might do better there."
        )
    return lines


def _inference(findings: Findings) -> str:
    """Return the inference costs of the first contrast's first level relative to its second: measured and counted."""
    if not findings.comparisons or not findings.runs.ours:
        return ""
    comparison, parts = findings.comparisons[0], []
    for line in LINES:
        if not line.name.startswith("inference"):
            continue
        ratio = ratios(findings.runs.frame, comparison.rows, line)
        bounds = t_interval(-ratio.log_by_seed) if line.timed and len(ratio.log_by_seed) else None
        spread = f" (95% interval {exp(bounds[0]):.2f} to {exp(bounds[1]):.2f})" if bounds else " (not tested)"
        if len(ratio.log_by_seed):
            parts.append(f"{shown_ratio(1 / ratio.mean, line)} times the {line.quantity}{spread * line.timed}")
    first, second = show(comparison.contrast.first), show(comparison.contrast.second)
    return f"At inference {first} takes, beside {second}, {', '.join(parts)}." if parts else ""


def _only(comparison: Comparison, findings: Findings) -> str:
    from analysis.rendering.tables import verdicts

    index = next(index for index, row in enumerate(comparison.rows) if row.margin)
    margin = comparison.rows[index].margin
    assert margin is not None
    bounds = interval(margin.low_pp, margin.high_pp)
    spread = f", 95% interval {bounds}" if margin.low_pp is not None else ""
    words = verdicts(comparison, findings)[index]
    return f"{comparison.contrast}: {signed(margin.mean_pp)}{_points(findings)}{spread}, n = {margin.n}: {words}"


def _needed(verdicts: Sequence[Verdict]) -> str:
    needed = [verdict.more_seeds for verdict in verdicts if verdict.word == "undecided" and verdict.more_seeds]
    if not needed:
        return ""
    least, most = min(needed), max(needed)
    if most == 1:
        return " (about 1 more seed would decide)"
    return f" (about {least if least == most else f'{least} to {most}'} more seeds would decide)"


def _dependence(comparison: Comparison, findings: Findings) -> str:
    """Return the factors on which the margin is shown to depend, and those on which it is not."""
    strongest: dict[str, Effect] = {}
    for effect in comparison.effects:
        known = strongest.get(effect.difference.moderator)
        if known is None or _p(effect) < _p(known):
            strongest[effect.difference.moderator] = effect
    shown_on = [effect for effect in strongest.values() if effect.shown]
    others = [effect.difference.moderator for effect in strongest.values() if not effect.shown]
    lines = [
        f"The margin depends on {effect.difference.moderator}: {_sentence(effect, _points(findings))}."
        for effect in shown_on
    ]
    if others:
        lines.append(f"The margin is not shown to depend on {_or(others)}.")
    return " ".join(lines)


def _sentence(effect: Effect, points: str) -> str:
    difference, mean = effect.difference, effect.mean_pp or 0.0
    side = "above" if mean > 0 else "below"
    spread = interval(effect.low_pp, effect.high_pp)
    bracket = f"95% interval {spread}, n = {len(difference.by_seed)}, adjusted {p_is(effect.p)}"
    level, reference = shown(difference.level), shown(difference.reference)
    return f"at {level} it is {abs(mean):.2f}{points} {side} that at {reference} ({bracket})"


def _not_done(findings: Findings) -> str:
    """Return how many trials are not done, and in which cells."""
    frame = findings.runs.frame
    lost = frame[frame["outcome"] != "done"]
    if lost.empty:
        return ""
    counts = ", ".join(f"{count} {kind}" for kind, count in lost["outcome"].value_counts().items())
    names = list(dict.fromkeys(cell_names(findings.runs)[lost.index]))
    more = f" and {len(names) - MOST_NAMES} more cells" if len(names) > MOST_NAMES else ""
    return f"Not done: {counts} of {len(frame)} trials ({', '.join(names[:MOST_NAMES])}{more})."


def _importance(findings: Findings) -> str:
    if len(findings.importance) < 2:
        return ""
    parts = [
        f"{importance.factor} ({abs(importance.mean_pp):.2f}{_points(findings)} "
        f"between {shown(importance.level)} and {shown(importance.reference)})"
        for importance in findings.importance[:3]
        if round(abs(importance.mean_pp), 2)
    ]
    if not parts:
        return ""
    return f"What moves the {findings.runs.measure.name} most: {', then '.join(parts)}."


def _test_set(findings: Findings) -> str:
    effects = list(zip(findings.design.effects, findings.design.verdicts, strict=True)) if findings.design else []
    judged = [(effect.row, verdict) for effect, verdict in effects]
    judged += [pair for comparison in findings.comparisons for pair in _cells(comparison)]
    cell = "effect" if effects else "cell"
    margins = [row.margin for row, _ in judged if row.margin]
    known = [margin for margin in margins if margin.test_set]
    if not known:
        return ""
    items = sorted({margin.test_set.items for margin in known if margin.test_set})
    size = f"{items[0]:,}" if len(items) == 1 else f"{items[0]:,} to {items[-1]:,}"
    larger = sum(larger_error(margin) == "test set" for margin in known)
    text = f"All of it is about these test images ({size} of them)"
    if larger:
        share = f"{larger} of {len(known)} {cell}s" if len(known) > 1 else f"this {cell}"
        text += f": in {share} their sampling error is larger than that of the seeds, "
        text += "so that other images may tell more than other seeds"
    lost = sum(_within_test_set(row.margin, verdict) for row, verdict in judged)
    if lost:
        text += f". {lost} decided {f'{cell} lies' if lost == 1 else f'{cell}s lie'} within that error (95%)"
    same = sum(margin.identical for margin in known)
    if same:
        text += f". In {same} {cell}{'s' * (same != 1)} all seeds differ by the same; "
        text += "the spread is then taken from test-set sampling"
    return f"{text}."


def _cells(comparison: Comparison) -> list[tuple[MarginRow, Verdict]]:
    return list(zip(comparison.rows, comparison.verdicts, strict=True))


def _within_test_set(margin: Margin | None, verdict: Verdict) -> bool:
    """Return whether an arm counts as better by a margin that lies within the sampling error of the test images."""
    if margin is None or margin.test_set is None or not verdict.word.endswith("better"):
        return False
    return abs(margin.mean_pp) < NORMAL_975 * margin.test_set.se_pp


def _points(findings: Findings) -> str:
    return " points" if findings.runs.measure.points else ""


def _p(effect: Effect) -> float:
    return 1.0 if effect.p is None else effect.p


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
