"""What a study says to the five claims of [SB], each with the test that decides it.

Source: McDonnell, Mostafa, Wang and van Schaik (2019), arXiv 1907.06916.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ablate.core import invocation
from ablate.core.levels import Level
from ablate.stats.paired import EQUIVALENCE_PP
from analysis import formats
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import factors, levels_of
from analysis.effects.interaction import difference, levels_with_margins
from analysis.effects.matched import MarginRow, margins
from analysis.paper import advantage, cheaper, dependence, ruling, small_batches
from analysis.paper.decisions import CHEAPER, falls, greater
from analysis.paper.ruling import Ruling
from analysis.sources.outcomes import is_failed
from analysis.sources.runs import Runs

BATCH_NORMS, SHIFTED = ("bn", "bn_fixed"), "srelu"

Rows = Mapping[str, Sequence[MarginRow]]
"""Batch-norm arm -> its margins over shifted ReLU, one row per cell."""


def _line(preset: str) -> str:
    """Return what to type for a preset's study."""
    return f"{invocation.command('run')} -m preset={preset}"


def rulings(runs: Runs, negligible_pp: float = EQUIVALENCE_PP) -> list[Ruling]:
    """Return what the study says to each of the five claims, in order.

    The list is empty for a study without both a batch-norm arm and shifted ReLU. A margin, or a difference of margins,
    below `negligible_pp` counts as none. Where the number of seeds was not fixed, what compares cells is tested on the
    seeds that all cells have: which cells have the others depends on what they showed.
    """
    if not batch_norms(runs):
        return []
    rows, complete = _rows(runs), runs if runs.seed_rule.is_fixed else runs.at_common_seeds(factors(runs))
    complete_rows = rows if complete is runs else _rows(complete)
    return [
        _advantage(runs, rows, negligible_pp),
        _dependence(complete, complete_rows, negligible_pp),
        _cheaper(runs, rows, negligible_pp),
        _small_batches(complete, complete_rows, negligible_pp),
        _residual(complete, complete_rows, negligible_pp),
    ]


def _rows(runs: Runs) -> Rows:
    return {arm: margins(runs, Contrast("norm", arm, SHIFTED)) for arm in batch_norms(runs)}


def batch_norms(runs: Runs) -> list[str]:
    """Return the batch-norm arms that the study compares with shifted ReLU."""
    norms = levels_of(runs.frame, "norm")
    return [arm for arm in BATCH_NORMS if arm in norms] if SHIFTED in norms else []


def failed(runs: Runs) -> str:
    """Return how many trials of each of the claims' arms failed; empty when none did."""
    parts = []
    for arm in (*batch_norms(runs), SHIFTED):
        count, ended = _failed(runs.frame, norm=arm)
        parts += [f"{count} of {ended} {arm}"] * bool(count)
    return ", ".join(parts)


def _advantage(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    return advantage.rule(runs, rows, SHIFTED, negligible_pp, _line("sb_interaction"))


def _dependence(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    return dependence.rule(runs, rows, negligible_pp, _line("sb_interaction"))


def _cheaper(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Shifted ReLU is cheaper in speed, memory and complexity, in training and in inference."
    results = cheaper.line_results(runs.frame, rows)
    if not results:
        why = "No pair of trials was measured on one machine: of training times, those of two epochs or more count."
        return Ruling(3, claim, "not tested", why)
    missing = cheaper.not_measured(results)
    lines = [cheaper.sentence(result, SHIFTED) for result in results]
    lines += [f"Not measured: {', '.join(missing)}."] * bool(missing)
    lines.append(f"Cheaper is {CHEAPER:g} times or less.")
    if any(result.line.timed for result in results):
        lines.append(ruling.method(cheaper.decided(results), "two-sided", cheaper.TIMES))
        lines.append("Times are by the clock, so that other work on the machine counts. Counts need no test.")
    return Ruling(
        3,
        claim,
        cheaper.overall(results),
        " ".join(lines),
        about=cheaper.about(results),
        tests=cheaper.table(results),
    )


def _small_batches(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Batch norm is problematic when training batches are very small."
    measured = [
        at_size for arm, of_arm in rows.items() for at_size in small_batches.at_sizes(runs, arm, SHIFTED, of_arm)
    ]
    if not measured:
        few = small_batches.VERY_SMALL
        return Ruling(
            4, claim, "not tested", f"No batches of {few} or fewer beside larger ones.", _line("sb_small_batch")
        )
    key = small_batches.KEY
    failing = [at_size for at_size in measured if _failed(runs.frame, norm=at_size.arm, **{key: at_size.size})[0]]
    failures = [
        [
            small_batches.failures(runs, {"norm": at_size.arm, key: at_size.size}, {"norm": arm, key: size})
            for arm, size in ((at_size.arm, at_size.largest), (SHIFTED, at_size.size))
        ]
        for at_size in failing
    ]
    decision = falls(
        [at_size.own_pp for at_size in measured],
        [at_size.margin_pp for at_size in measured],
        [max(own.p, against_other.p) for own, against_other in failures],
        complete=not any(at_size.failed for at_size in measured),
        negligible_pp=negligible_pp,
        seed_rule=runs.seed_rule,
    )
    own_p_values, failure_p_values = decision.p_values[: len(measured)], decision.p_values[len(measured) :]
    shown = [index for index in range(len(measured)) if decision.significant[index]]
    lines = small_batches.sentences(measured, own_p_values, shown)
    for at_size, (own, against_other), p in zip(failing, failures, failure_p_values, strict=True):
        lines.append(small_batches.failures_in_words(at_size, own, against_other, p))
    lines.append(ruling.method(decision, "one-sided", "both differences, the larger p value of the two"))
    tested = zip([*measured, *failing], decision.significant, strict=True)  # one for each test
    sizes = ", ".join(dict.fromkeys(formats.shown(at_size.size) for at_size, significant in tested if significant))
    return Ruling(
        4,
        claim,
        decision.word,
        " ".join(lines),
        about=f"at batches of {sizes}" if sizes else "",
        tests=small_batches.table(measured, own_p_values),
        arms=small_batches.by_arm(runs, key),
    )


def _residual(runs: Runs, rows: Rows, negligible_pp: float) -> Ruling:
    claim = "Residual connections may have lessened batch norm's importance."
    key = "model.residual"
    differences = [
        difference(arm, of_arm, key, False, True, seed_rule=runs.seed_rule)
        for arm, of_arm in rows.items()
        if levels_with_margins(runs.frame, of_arm, key) == [False, True]
    ]
    if not differences:
        return Ruling(5, claim, "not tested", "No plain networks beside residual ones.", _line("sb_residual"))
    decision = greater(
        [measured.by_seed for measured in differences],
        complete=not any(measured.failed for measured in differences),
        negligible_pp=negligible_pp,
        seed_rule=runs.seed_rule,
    )
    lines = [*ruling.strongest(differences, decision, [measured.arm for measured in differences]).values()]
    lines.append(ruling.method(decision, "one-sided"))
    return Ruling(5, claim, decision.word, " ".join(lines), tests=ruling.table(differences, decision.p_values))


def _failed(frame: pd.DataFrame, **levels: Level) -> tuple[int, int]:
    """Return how many trials at these levels failed, and how many are done or failed."""
    outcomes = frame[(frame[list(levels)] == pd.Series(levels)).all(axis=1)]["outcome"]
    count = int(outcomes.map(is_failed).sum())
    return count, count + int((outcomes == "done").sum())
