"""Sentences of a report, above its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp

from ablate.core.levels import show
from ablate.stats.paired import t_interval
from ablate.stats.power import MoreSeeds
from analysis.effects.cost_ratios import LINES, ratios, shown_ratio
from analysis.effects.factors import factors
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import Verdict, seeds_in_words
from analysis.findings import Comparison, Findings
from analysis.formats import levels_in_words, shown
from analysis.rendering import (
    budget_sentences,
    dependence_sentences,
    design_sentences,
    hypothesis_sentences,
    uncertainty,
)
from analysis.rendering.tables import cell_names

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
            uncertainty.failures(comparison),
            budget_sentences.at_every_budget(comparison),
            dependence_sentences.sentences(comparison, findings),
        )
    ]
    return [
        line
        for line in (
            *hypothesis_sentences.sentences(findings),
            *design_sentences.sentences(findings),
            *of_comparisons,
            _nuisance(findings),
            _inference(findings),
            _not_done(findings),
            _importance(findings),
            uncertainty.test_set(findings),
            uncertainty.many_cells(findings),
            uncertainty.drawn_data(findings),
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
    lines += [uncertainty.seeds_added(findings)] * (not findings.runs.seed_rule.is_fixed)
    lines += uncertainty.skewed(findings)
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
    parts, measure = [], findings.runs.measure
    for word, text in (("first better", f"{first} is better"), ("second better", f"{second} is better")):
        sizes = [row.margin.mean_pp for row, verdict in _cells(comparison) if verdict.word == word and row.margin]
        if sizes:
            span = sorted(map(abs, sizes))
            ends = [measure.size(size) for size in dict.fromkeys((span[0], span[-1]))]
            parts.append(f"{text} in {len(sizes)} (by {' to '.join(ends)}{measure.in_points})")
    if counted["equivalent"]:
        parts.append(f"they are equivalent within {findings.within} in {counted['equivalent']}")
    if counted["not testable"]:
        parts.append(_not_testable(comparison.verdicts, among=tested))
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
    measure = findings.runs.measure
    bounds = measure.interval(margin.low_pp, margin.high_pp)
    spread = f", 95% interval {bounds}" if margin.low_pp is not None else ""
    words = verdicts(comparison, findings)[index]
    return (
        f"{comparison.contrast}: {measure.margin(margin.mean_pp)}{measure.in_points}{spread}, n = {margin.n}: {words}"
    )


def _not_testable(verdicts: Sequence[Verdict], among: int) -> str:
    """Return in how many of so many cells nothing can be tested, and why; there is at least one."""
    whys = Counter(verdict.why for verdict in verdicts if verdict.word == "not testable")
    where = "not testable" if whys.total() == among else f"not testable in {whys.total()}"
    return f"{where} ({'; '.join(whys)})"


def _needed(verdicts: Sequence[Verdict]) -> str:
    """Return how many more seeds would decide the undecided cells, as the table says it of each."""
    needed = [verdict.more_seeds for verdict in verdicts if verdict.word == "undecided" and verdict.more_seeds]
    open_to_seeds = [more for more in needed if not more.never]
    if not open_to_seeds:
        return f" ({seeds_in_words(needed[0])})" if needed else ""
    fewest = [more.fewest for more in open_to_seeds if more.fewest is not None]
    most = [more.most for more in open_to_seeds]
    overall = MoreSeeds(min(fewest, default=None), None if None in most else max(seeds for seeds in most if seeds))
    return f" ({seeds_in_words(overall)})"


def _not_done(findings: Findings) -> str:
    """Return how many trials failed or are not over, and in which cells."""
    frame = findings.runs.frame
    lost = frame[frame["outcome"] != "done"]
    if lost.empty:
        return ""
    counts = ", ".join(f"{count} {kind}" for kind, count in lost["outcome"].value_counts().items())
    names = list(dict.fromkeys(cell_names(findings.runs)[lost.index]))
    more = f" and {len(names) - MOST_NAMES} more cells" if len(names) > MOST_NAMES else ""
    return f"Failed, or not over: {counts} of {len(frame)} trials ({', '.join(names[:MOST_NAMES])}{more})."


def _importance(findings: Findings) -> str:
    """Return the factors that are shown to move the accuracy, with the levels that differ most."""
    measure = findings.runs.measure
    parts = [
        f"{importance.factor} ({measure.size(importance.mean_pp)}{measure.in_points} "
        f"between {shown(importance.level)} and {shown(importance.reference)})"
        for importance in findings.importance
        if importance.low_pp is not None and importance.high_pp is not None
        if importance.low_pp > 0 or importance.high_pp < 0
    ]
    if not parts or len(findings.importance) < 2:
        return ""
    return f"Shown to move the {measure.name}, the largest first: {', then '.join(parts[:3])}."


def _cells(comparison: Comparison) -> list[tuple[MarginRow, Verdict]]:
    return list(zip(comparison.rows, comparison.verdicts, strict=True))
