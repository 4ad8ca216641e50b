"""Sentences on the effects of a design: which parts matter, by how much, and what the design cannot separate."""

from __future__ import annotations

from ablate.stats.margin import Margin
from analysis.effects.design_effects import DesignEffect, DesignEffects, in_words
from analysis.effects.one_factor import ALL_PARTS
from analysis.effects.verdict import Verdict, seeds_in_words
from analysis.findings import Findings
from analysis.formats import mirrored
from analysis.rendering import design_tables

MOST_NAMES = 6

TITLES = {
    "one_factor": "Effects, one factor at a time: level minus reference",
    "leave_one_out": "Effects, one factor at a time: what is lost without it (reference minus the cell without it)",
    "add_one_in": "Effects, one factor at a time: what is gained with it (the cell with it minus the bare cell)",
}

ROMAN = {3: "III", 4: "IV", 5: "V", 6: "VI", 7: "VII", 8: "VIII"}

Judged = tuple[DesignEffect, Verdict]


def title(design: DesignEffects, findings: Findings) -> str:
    if findings.runs.measure.lower_is_better and design.around:
        return TITLES[design.kind].replace("lost without it", "different without it").replace("gained", "different")
    return TITLES.get(design.kind, "Main effects: level minus reference")


def sentences(findings: Findings) -> list[str]:
    """Return the sentences on a design's effects; none without a design.

    First the effects that matter, by size, then those that are equivalent, then those that are undecided; last, what is
    mixed into main effects.
    """
    design = findings.design
    if design is None:
        return []
    judged = sorted(zip(design.effects, design.verdicts, strict=True), key=lambda pair: -design_tables.size_pp(pair[0]))
    lines = [f"{_opening(design, findings)} {_matters(judged, design, findings)}"]
    lines += [
        f"{word}: {_listed(of_word, findings)}."
        for word, of_word in (
            (f"Equivalent within {findings.within}", _with_word(judged, "equivalent")),
            ("Undecided", _with_word(judged, "undecided")),
            ("Not testable", _with_word(judged, "not testable")),
            ("No seed in both arms", _with_word(judged, "no margin")),
        )
        if of_word
    ]
    return [*lines, *([] if design.around else mixed(design))]


def base_in_words(design: DesignEffects, findings: Findings) -> str:
    """Return the cell that effects start from, with its accuracy.

    "reference: norm bn, bits 1; test accuracy 87.96%".
    """
    named = "bare cell" if design.kind == "add_one_in" else "reference"
    levels = ", ".join(f"{key} {in_words(level)}" for key, level in design.base.items())
    measure = findings.runs.measure
    acc = "" if design.base_acc is None else f"; {measure.name} {measure.figure(design.base_acc)}{measure.unit}"
    return f"{named}: {levels}{acc}"


def mixed(design: DesignEffects) -> list[str]:
    """Return sentences on the interactions that these cells cannot separate from the main effects."""
    lines = []
    aliased = [alias for effect in design.effects for alias in effect.aliases]
    order = (design.resolution or 0) - 1
    if aliased:
        whole = all(abs(abs(alias.weight) - 1) < 1e-6 for alias in aliased)
        named = "M"
        if design.resolution in ROMAN:
            lost = " in the whole fraction; in the cells that are done" if design.resolution > 3 else ":"
            named = f"Resolution {ROMAN[design.resolution]}{lost} m"
        lines.append(
            f"{named}ain effects are mixed with interactions of two factors. The number given for a factor is its main "
            "effect plus the interactions named beside it as aliases"
            f"{'' if whole else ', each times the number before it'}. An interaction that does not exist adds nothing."
        )
    elif design.resolution in ROMAN:
        lines.append(
            f"Resolution {ROMAN[design.resolution]}: no main effect is mixed with an interaction of fewer than {order} "
            f"factors." + (" Interactions of two factors are mixed with each other." if order == 3 else "")
        )
    elif design.has_effects:
        lines.append("No main effect is mixed with an interaction of two factors.")
    if not design.balanced:
        lines.append(
            "The cells are not balanced: some levels come together more often than others. All effects are estimated "
            "together, so that none contains another's, but less exactly than from as many balanced cells."
        )
    return lines


def _opening(design: DesignEffects, findings: Findings) -> str:
    number = f"{design.cells} cells, {design.seeds} seed{'s' * (design.seeds != 1)}"
    if design.around:
        return f"One factor at a time, {number}, from the {base_in_words(design, findings)}."
    return f"Main effects from {number} ({base_in_words(design, findings)})."


def _matters(judged: list[Judged], design: DesignEffects, findings: Findings) -> str:
    better = [pair for pair in judged if pair[1].word.endswith("better")]
    if all(verdict.word in ("not testable", "no margin") for _, verdict in judged):
        return "Whether a part matters is not testable."
    if not better:
        return "No part is shown to matter."
    return f"Shown to matter, the most first: {_listed(better, findings)}."


def _with_word(judged: list[Judged], word: str) -> list[Judged]:
    return [pair for pair in judged if pair[1].word == word]


def _listed(judged: list[Judged], findings: Findings) -> str:
    parts = [_sentence(effect, verdict, findings) for effect, verdict in judged[:MOST_NAMES]]
    more = f"; and {len(judged) - MOST_NAMES} more" if len(judged) > MOST_NAMES else ""
    return "; ".join(parts) + more


def _sentence(effect: DesignEffect, verdict: Verdict, findings: Findings) -> str:
    """Return what was changed, the size of the effect, and how certain it is."""
    margin = effect.row.margin
    if margin is None:
        return _change(effect, findings)
    size, turned = _size_in_words(margin, findings)
    ends = margin.low_pp, margin.high_pp
    low, high = mirrored(*ends) if turned else ends
    inside = [f"95% interval {findings.runs.measure.interval(low, high)}"] if low is not None else []
    inside += [f"by less than {findings.within}"] * verdict.small
    inside += ["where both trained"] * verdict.both_trained
    if verdict.word in ("undecided", "not testable"):
        why = verdict.why.format(first=effect.first, second=effect.second)
        inside.append(why or seeds_in_words(verdict.more_seeds))
    return f"{_change(effect, findings)}, {size}" + (f" ({'; '.join(inside)})" if inside else "")


def _size_in_words(margin: Margin, findings: Findings) -> tuple[str, bool]:
    """Return the effect in words, and whether the words reverse its sign.

    In designs that leave parts out or add them, an accuracy is "lost" or "gained".
    """
    measure = findings.runs.measure
    kind = findings.design.kind if findings.design else ""
    if measure.lower_is_better or kind not in ("leave_one_out", "add_one_in"):
        return f"{measure.margin(margin.mean_pp)}{measure.in_points}", False
    turned = margin.mean_pp < 0
    word = "lost" if (kind == "leave_one_out") != turned else "gained"
    return f"{measure.size(margin.mean_pp)}{measure.in_points} {word}", turned


def _change(effect: DesignEffect, findings: Findings) -> str:
    """Return which level replaced which."""
    if effect.factor.startswith(ALL_PARTS):
        return "all parts together"
    new, old = effect.first, effect.second
    if findings.design and findings.design.kind == "leave_one_out" and not findings.runs.measure.lower_is_better:
        new, old = old, new
    return f"{'' if effect.zipped else f'{effect.factor} '}{new} in place of {old}"
