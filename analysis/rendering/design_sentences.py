"""The effects of a design in plain words: which parts matter, by how much, and what the design cannot tell."""

from __future__ import annotations

from ablate.stats.paired import Margin
from analysis.effects.design_effects import DesignEffect, DesignEffects, in_words
from analysis.effects.one_factor import ALL_PARTS
from analysis.effects.verdict import Verdict, seeds_in_words
from analysis.findings import Findings
from analysis.formats import interval, signed

MOST_NAMES = 6

TITLES = {
    "one_factor": "Effects, one factor at a time: level minus reference",
    "leave_one_out": "Effects, one factor at a time: what is lost without it (reference minus the cell without it)",
    "add_one_in": "Effects, one factor at a time: what is gained with it (the cell with it minus the bare cell)",
}

ROMAN = {3: "III", 4: "IV", 5: "V", 6: "VI", 7: "VII", 8: "VIII"}

Judged = tuple[DesignEffect, Verdict]


def title(design: DesignEffects, found: Findings) -> str:
    if found.runs.measure.lower_is_better and design.around:
        return TITLES[design.kind].replace("lost without it", "different without it").replace("gained", "different")
    return TITLES.get(design.kind, "Main effects: level minus reference")


def sentences(found: Findings) -> list[str]:
    """What matters, by size; what is equivalent; what is undecided; what is mixed into it. Empty without a design."""
    design = found.design
    if design is None:
        return []
    judged = sorted(zip(design.effects, design.verdicts, strict=True), key=lambda one: -_size(one[0]))
    told = [f"{_opening(design, found)} {_matters(judged, design, found)}"]
    told += [
        f"{word}: {_listed(its, found)}."
        for word, its in (
            (f"Equivalent within {found.within}", _of(judged, "equivalent")),
            ("Undecided", _of(judged, "undecided")),
            ("Without a seed to tell by", _of(judged, "no margin")),
        )
        if its
    ]
    return [*told, *([] if design.around else mixed(design))]


def base_in_words(design: DesignEffects, found: Findings) -> str:
    """The cell that effects start from, with its accuracy.

    "reference: norm bn, bits 1; test accuracy 87.96%".
    """
    named = "bare cell" if design.kind == "add_one_in" else "reference"
    levels = ", ".join(f"{key} {in_words(level)}" for key, level in design.base.items())
    measure = found.runs.measure
    acc = "" if design.base_acc is None else f"; {measure.name} {100 * design.base_acc:.2f}{measure.unit}"
    return f"{named}: {levels}{acc}"


def mixed(design: DesignEffects) -> list[str]:
    """What the main effects of these cells cannot be told from."""
    told = []
    aliased = [alias for one in design.effects for alias in one.aliases]
    order = (design.resolution or 0) - 1
    if aliased:
        whole = all(abs(abs(one.weight) - 1) < 1e-6 for one in aliased)
        named = "M"
        if design.resolution in ROMAN:
            lost = " in the whole fraction; in the cells that are done" if design.resolution > 3 else ":"
            named = f"Resolution {ROMAN[design.resolution]}{lost} m"
        told.append(
            f"{named}ain effects are mixed with interactions of two factors. What stands for a factor is its main "
            "effect plus those named beside it as aliases, if there are such interactions"
            f"{'' if whole else ', so many times each'}."
        )
    elif design.resolution in ROMAN:
        told.append(
            f"Resolution {ROMAN[design.resolution]}: no main effect is mixed with an interaction of fewer than {order} "
            f"factors." + (" Interactions of two factors are mixed with each other." if order == 3 else "")
        )
    elif design.has_effects:
        told.append("No main effect is mixed with an interaction of two factors.")
    if not design.balanced:
        told.append(
            "The cells are not balanced: some levels come together more often than others. Effects are estimated "
            "together, each with the others alike, and less exactly than from as many balanced cells."
        )
    return told


def _opening(design: DesignEffects, found: Findings) -> str:
    number = f"{design.cells} cells, {design.seeds} seed{'s' * (design.seeds != 1)}"
    if design.around:
        return f"One factor at a time, {number}, from the {base_in_words(design, found)}."
    return f"Main effects from {number} ({base_in_words(design, found)})."


def _matters(judged: list[Judged], design: DesignEffects, found: Findings) -> str:
    its = [one for one in judged if one[1].word.endswith("better")]
    if not its:
        return "No part is shown to matter."
    return f"Shown to matter, the most first: {_listed(its, found)}."


def _of(judged: list[Judged], word: str) -> list[Judged]:
    return [one for one in judged if one[1].word == word]


def _listed(its: list[Judged], found: Findings) -> str:
    told = [_one(one, verdict, found) for one, verdict in its[:MOST_NAMES]]
    more = f"; and {len(its) - MOST_NAMES} more" if len(its) > MOST_NAMES else ""
    return "; ".join(told) + more


def _one(one: DesignEffect, verdict: Verdict, found: Findings) -> str:
    """What was done, what it did, and how certain that is."""
    its = one.row.margin
    if its is None:
        return _what(one, found)
    size, turned = _told(its, found)
    low, high = (its.low_pp, its.high_pp) if not turned else (_minus(its.high_pp), _minus(its.low_pp))
    inside = [f"95% interval {interval(low, high)}"] if low is not None else []
    inside += [f"by less than {found.within}"] * verdict.small
    if verdict.word == "undecided":
        inside.append(verdict.why or f"{seeds_in_words(verdict.more_seeds)} would decide")
    return f"{_what(one, found)}, {size}" + (f" ({'; '.join(inside)})" if inside else "")


def _told(its: Margin, found: Findings) -> tuple[str, bool]:
    """The effect in words, lost or gained where that is what it is; and whether the word turns its sign."""
    points = " points" if found.runs.measure.points else ""
    kind = found.design.kind if found.design else ""
    if found.runs.measure.lower_is_better or kind not in ("leave_one_out", "add_one_in"):
        return f"{signed(its.mean_pp)}{points}", False
    turned = its.mean_pp < 0
    word = "lost" if (kind == "leave_one_out") != turned else "gained"
    return f"{abs(its.mean_pp):.2f}{points} {word}", turned


def _what(one: DesignEffect, found: Findings) -> str:
    """Which level stood in the place of which."""
    if one.factor.startswith(ALL_PARTS):
        return "all parts together"
    here, there = one.first, one.second
    if found.design and found.design.kind == "leave_one_out" and not found.runs.measure.lower_is_better:
        here, there = there, here
    return f"{'' if one.zipped else f'{one.factor} '}{here} in place of {there}"


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _size(one: DesignEffect) -> float:
    return abs(one.row.margin.mean_pp) if one.row.margin else 0.0
