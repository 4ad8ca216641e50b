"""What a study says to the five claims of [SB], each with the test that decides it.

Source: McDonnell, Mostafa, Wang and van Schaik (2019), arXiv 1907.06916.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablate.stats.paired import EQUIVALENCE_PP, fails_more
from analysis import formats
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import levels_of
from analysis.effects.interaction import Difference, difference, levels_with_margins
from analysis.effects.matched import MarginRow, margins, split_constants
from analysis.paper import cheaper, ruling, small_batches
from analysis.paper.decisions import depends, falls, greater, no_consistent_advantage
from analysis.paper.ruling import Ruling
from analysis.sources.runs import Runs

BATCH_NORMS, SHIFTED = ("bn", "bn_fixed"), "srelu"
SIZE_AND_BITS = ("dataset", "width", "depth", "bits")

INTERACTION, SMALL_BATCH, RESIDUAL = (
    f"python -m ablate.run -m preset={name}" for name in ("sb_interaction", "sb_small_batch", "sb_residual")
)

Rows = Mapping[str, Sequence[MarginRow]]
"""Batch-norm arm -> its margins over shifted ReLU, a row a cell."""


def rulings(runs: Runs, negligible_pp: float = EQUIVALENCE_PP) -> list[Ruling]:
    """The five claims, in order; none for a study without both a batch-norm arm and shifted ReLU.

    A margin, or a difference of margins, below `negligible_pp` counts as none.
    """
    rows = {arm: margins(runs, Contrast("norm", arm, SHIFTED)) for arm in batch_norms(runs)}
    judges = (_advantage, _dependence, _cheaper, _small_batches, _residual) if rows else ()
    return [judge(runs, rows, negligible_pp) for judge in judges]


def batch_norms(runs: Runs) -> list[str]:
    """The batch-norm arms that the study compares with shifted ReLU."""
    held = levels_of(runs.frame, "norm")
    return [arm for arm in BATCH_NORMS if arm in held] if SHIFTED in held else []


def diverged(runs: Runs) -> str:
    """How many trials of each of the claims' arms did; empty when none."""
    told = []
    for arm in (*batch_norms(runs), SHIFTED):
        fell, of = _fell(runs.frame, norm=arm)
        told += [f"{fell} of {of} {arm}"] * bool(fell)
    return ", ".join(told)


def _advantage(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Batch norm does not consistently give a significant advantage."
    named = [
        (arm, row, ", ".join(f"{key} {formats.shown(level)}" for key, level in short.levels.items()))
        for arm, held in rows.items()
        for row, short in zip(held, split_constants(held)[0], strict=True)
        if row.margin or any(row.diverged)
    ]
    if not any(row.margin for _, row, _ in named):
        return Ruling(1, claim, "not tested", "No cell has a seed that is done in both arms.", INTERACTION)
    cells = [[*row.by_seed.values()] for _, row, _ in named]
    seen = no_consistent_advantage(cells, [row.diverged for _, row, _ in named], negligible_pp=negligible_pp)
    told = []
    for arm in rows:
        tested = [at for at, (its, _, _) in enumerate(named) if its == arm and seen.p_margin[at] is not None]
        shows = [(seen.better[at], seen.small[at]) for at in tested]
        if not shows:
            continue
        told.append(
            f"{arm} is significantly better than {SHIFTED} in {sum(better for better, _ in shows)} of {len(shows)} "
            f"cells, shown to be less than {negligible_pp:g} points better in {sum(small for _, small in shows)}, "
            f"neither in {shows.count((False, False))}."
        )
    untested = sum(p is None for p in seen.p_margin)
    told += [f"Without a test: {untested}, for want of two seeds that differ."] * bool(untested)
    told.append(
        f"Paired t over seeds, two-sided against 0 and one-sided against {negligible_pp:g}, Holm over the cells."
    )
    tests = pd.DataFrame(
        {
            "arm": arm,
            "cell": cell or "all trials",
            "margin (pp)": formats.signed(float(np.mean(values))) if values else formats.ABSENT,
            "95% interval": ruling.interval(values),
            "n": len(values),
            "p, against 0": formats.p_value(p_margin),
            f"p, below {negligible_pp:g}": formats.p_value(p_small),
        }
        for (arm, _, cell), values, p_margin, p_small in zip(named, cells, seen.p_margin, seen.p_small, strict=True)
    )
    return Ruling(1, claim, seen.word, " ".join(told), tests=tests)


def _dependence(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "The margin depends on the data set, the network's size (width, depth) and the bits per weight."
    found: list[Difference] = []
    for arm, held in rows.items():
        for moderator in SIZE_AND_BITS:
            levels = levels_with_margins(runs.frame, held, moderator)
            found += [difference(arm, held, moderator, level, levels[0]) for level in levels[1:]]
    unvaried = [moderator for moderator in SIZE_AND_BITS if all(one.moderator != moderator for one in found)]
    not_varied = f"Not varied: {', '.join(unvaried)}."
    if not found:
        return Ruling(2, claim, "not tested", not_varied, INTERACTION)
    seen = depends(
        [one.by_seed for one in found], complete=not any(one.diverged for one in found), negligible_pp=negligible_pp
    )
    strongest = ruling.strongest(found, seen, [one.moderator for one in found])
    shown = [place for place in strongest if seen.significant[place]]
    others = [text for place, text in strongest.items() if place not in shown]
    none = f"Each difference is shown to lie within {negligible_pp:g} points of none (90% interval)"
    told = [f"Shown: {' '.join(strongest[place] for place in shown)}"] * bool(shown)
    told += [f"{none if seen.word == 'denied' else 'Not shown'}: {' '.join(others)}"] * bool(others)
    about = ", ".join(found[place].moderator for place in (shown or strongest))
    told += [not_varied] * bool(unvaried)
    told += [ruling.method(seen, "two-sided")]
    return Ruling(2, claim, seen.word, " ".join(told), about=about, tests=ruling.table(found, seen.p_values))


def _cheaper(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Shifted ReLU is cheaper in speed, memory and complexity, in training and in inference."
    found = cheaper.found(runs.frame, rows)
    if not found:
        why = "No pair of trials was measured on one machine: of training times, those of two epochs or more count."
        return Ruling(3, claim, "not tested", why)
    measured = {one.line.name for one in found}
    missing = [line.name for line in cheaper.LINES if line.name not in measured]
    told = [cheaper.sentence(one, SHIFTED) for one in found]
    told += [f"Not measured: {', '.join(missing)}."] * bool(missing)
    if any(one.line.timed for one in found):
        told.append(ruling.method(cheaper.decided(found), "two-sided", cheaper.TIMES))
        told.append("Times are by the clock, so that other work on the machine counts. Counts need no test.")
    return Ruling(
        *(3, claim, cheaper.overall(found), " ".join(told)), about=cheaper.about(found), tests=cheaper.table(found)
    )


def _small_batches(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Batch norm is problematic when training batches are very small."
    found = [one for arm, held in rows.items() for one in small_batches.at_sizes(runs, arm, SHIFTED, held)]
    if not found:
        few = small_batches.VERY_SMALL
        return Ruling(4, claim, "not tested", f"No batches of {few} or fewer beside larger ones.", SMALL_BATCH)
    key = small_batches.KEY
    failing = [one for one in found if _fell(runs.frame, norm=one.arm, **{key: one.size})[0]]
    counts = [[_fell(runs.frame, norm=arm, **{key: one.size}) for arm in (one.arm, SHIFTED)] for one in failing]
    seen = falls(
        [one.own_pp for one in found],
        [one.margin_pp for one in found],
        [fails_more(*first, *second) for first, second in counts],
        complete=not any(one.diverged for one in found),
        negligible_pp=negligible_pp,
    )
    shown = [at for at in range(len(found)) if seen.significant[at]]
    told = small_batches.sentences(found, seen.p_values[: len(found)], shown)
    for one, (first, second), p in zip(failing, counts, seen.p_values[len(found) :], strict=True):
        told.append(
            f"Diverged at batches of {one.size}: {first[0]} of {first[1]} {one.arm}, {second[0]} of {second[1]} "
            f"{SHIFTED} (Fisher's exact test, one-sided, {formats.p_is(p)})."
        )
    told.append(ruling.method(seen, "one-sided", "both differences, the larger p value of the two"))
    tests = small_batches.table(found, seen.p_values[: len(found)])
    places = [*found, *failing]  # one for each test
    sizes = ", ".join(
        dict.fromkeys(formats.shown(one.size) for one, is_it in zip(places, seen.significant, strict=True) if is_it)
    )
    about = f"at batches of {sizes}" if sizes else ""
    return Ruling(4, claim, seen.word, " ".join(told), about=about, tests=tests, arms=small_batches.by_arm(runs, key))


def _residual(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Residual connections may have lessened batch norm's importance."
    key = "model.residual"
    found = [
        difference(arm, held, key, False, True)
        for arm, held in rows.items()
        if levels_with_margins(runs.frame, held, key) == [False, True]
    ]
    if not found:
        return Ruling(5, claim, "not tested", "No plain networks beside residual ones.", RESIDUAL)
    seen = greater(
        [one.by_seed for one in found], complete=not any(one.diverged for one in found), negligible_pp=negligible_pp
    )
    told = [*ruling.strongest(found, seen, [one.arm for one in found]).values()]
    told.append(ruling.method(seen, "one-sided"))
    return Ruling(5, claim, seen.word, " ".join(told), tests=ruling.table(found, seen.p_values))


def _fell(frame: pd.DataFrame, **at: object) -> tuple[int, int]:
    """How many of the trials at these levels that ended by themselves diverged, and how many ended."""
    outcomes = _at(frame, **at)["outcome"]
    fell = int((outcomes == "diverged").sum())
    return fell, fell + int((outcomes == "done").sum())


def _at(frame: pd.DataFrame, **at: object) -> pd.DataFrame:
    return frame[(frame[list(at)] == pd.Series(at)).all(axis=1)]
