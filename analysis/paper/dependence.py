"""Claim 2: does the margin depend on the data set, the network's size and the bits, alone or together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ablate.stats.arrays import Floats
from analysis.effects.interaction import Dependence, Effect, dependences
from analysis.effects.matched import MarginRow
from analysis.paper import ruling
from analysis.paper.decisions import Decision, depends
from analysis.paper.ruling import Ruling
from analysis.sources.runs import Runs

SIZE_AND_BITS = ("dataset", "width", "depth", "bits")
CLAIM = "The margin depends on the data set, the network's size (width, depth) and the bits per weight."
SHARES = ", half of the level for single factors, half of the rest for pairs of factors, and so on"
MOST_SENTENCES, MOST_ROWS = 3, 20
"""The interactions in the text and in the table: those with the smallest p values."""


def rule(runs: Runs, rows: Mapping[str, Sequence[MarginRow]], negligible_pp: float, command: str) -> Ruling:
    """Return what the study says to claim 2.

    Every pair of levels and every order of interaction that any of the four factors takes part in is tested; the claim
    is denied only where all cells are shown to have the same margin, but for less than `negligible_pp`.

    Args:
        runs: the study.
        rows: batch-norm arm -> its margins over shifted ReLU.
        negligible_pp: a difference below this counts as none, in percentage points.
        command: what to type to run a study that tests the claim.
    """
    of_arms = dependences([*rows.items()], runs.frame, SIZE_AND_BITS, seed_rule=runs.seed_rule)
    varied = [key for key in SIZE_AND_BITS if any(key in of_arm.moderators for of_arm in of_arms)]
    unvaried = [key for key in SIZE_AND_BITS if key not in varied]
    not_varied = f"Not varied: {', '.join(unvaried)}."
    if not varied:
        return Ruling(2, CLAIM, "not tested", not_varied, command)
    effects = [effect for of_arm in of_arms for effect in of_arm.effects]
    decision = depends(
        [effect.p for effect in effects],
        [group for of_arm in rows.values() for group in groups(of_arm)],
        complete=all(_is_complete(row) for of_arm in rows.values() for row in of_arm),
        negligible_pp=negligible_pp,
        seed_rule=runs.seed_rule,
    )
    differences = [effect.difference for effect in effects]
    strongest = ruling.strongest(differences, decision, [measured.moderator for measured in differences])
    shown = _shown(effects, strongest)
    named = {key for index in shown for key in differences[index].moderators}
    others = [
        text
        for index, text in strongest.items()
        if len(differences[index].pairs) == 1 and differences[index].moderator not in named
    ]
    none = f"Every two cells are shown to lie within {negligible_pp:g} points of each other (90% intervals)"
    lines = [f"Shown: {' '.join(strongest[index] for index in shown)}"] * bool(shown)
    lines += [f"{none if decision.word == 'denied' else 'Not shown'}: {' '.join(others)}"] * bool(others)
    lines += _left_out(of_arms)
    lines += [not_varied] * bool(unvaried)
    lines += [_method(effects, decision)]
    about = ", ".join(dict.fromkeys(differences[index].moderator for index in shown)) or ", ".join(varied)
    listed = _listed(effects)
    tests = ruling.table([effect.difference for effect in listed], [effect.p for effect in listed])
    return Ruling(2, CLAIM, decision.word, " ".join(lines), about=about, tests=tests)


def groups(rows: Sequence[MarginRow]) -> list[Floats]:
    """Return the margins of the cells that differ in `SIZE_AND_BITS` alone, (n, cells) for each group of them."""
    by_others: dict[str, list[MarginRow]] = {}
    for row in rows:
        others = repr({key: level for key, level in row.levels.items() if key not in SIZE_AND_BITS})
        if row.by_seed:
            by_others.setdefault(others, []).append(row)
    matrices = []
    for group in by_others.values():
        seeds = sorted({seed for row in group for seed in row.by_seed})
        matrices.append(np.array([[row.by_seed.get(seed, np.nan) for row in group] for seed in seeds]))
    return matrices


def _is_complete(row: MarginRow) -> bool:
    """Return whether nothing is missing in a cell that the study has in both arms."""
    return row.lacks_an_arm or (row.margin is not None and not any(row.failed))


def _shown(effects: Sequence[Effect], strongest: Mapping[int, str]) -> list[int]:
    """Return the indices of the strongest effects that are shown: of single factors all, of several together a few."""
    shown = [index for index in strongest if effects[index].shown]
    together = [index for index in shown if len(effects[index].difference.pairs) > 1]
    together = sorted(together, key=lambda index: _p(effects[index]))[:MOST_SENTENCES]
    return [index for index in shown if len(effects[index].difference.pairs) == 1] + together


def _listed(effects: Sequence[Effect]) -> list[Effect]:
    alone = [effect for effect in effects if len(effect.difference.pairs) == 1]
    together = [effect for effect in effects if len(effect.difference.pairs) > 1]
    return [*alone, *sorted(together, key=_p)[:MOST_ROWS]]


def _left_out(of_arms: Sequence[Dependence]) -> list[str]:
    """Return a sentence on what is not tested: for want of complete blocks of cells, or because it is too much."""
    names = list(dict.fromkeys(" x ".join(key) for of_arm in of_arms for key in of_arm.incomplete))
    more = f" and {len(names) - MOST_SENTENCES} more" if len(names) > MOST_SENTENCES else ""
    text = f"Left out, for want of cells that agree in all else: {', '.join(names[:MOST_SENTENCES])}{more}."
    order, most = (min(of_arm.order for of_arm in of_arms), max(of_arm.varying for of_arm in of_arms))
    many = f"Interactions of more than {order} factors are too many to be tested."
    return [text] * bool(names) + [many] * (not names and 0 < order < most)


def _method(effects: Sequence[Effect], decision: Decision) -> str:
    together = any(len(effect.difference.pairs) > 1 for effect in effects)
    return ruling.method(decision, "two-sided", shares=SHARES * together)


def _p(effect: Effect) -> float:
    return 1.0 if effect.p is None else effect.p
