"""Sentences on what a report's verdicts are about: which seeds, which test images, which trials."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ablate.core.levels import show
from ablate.stats.failures import failures_differ, share_interval
from ablate.stats.multiple_testing import ALPHA
from ablate.stats.seed_rule import LATER_LEVEL
from ablate.stats.skewness import asymmetry_p
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import Verdict
from analysis.findings import Comparison, Findings
from analysis.formats import p_is
from analysis.rendering.tables import larger_error

MOST_SHOWN_DF = 1000


def failures(comparison: Comparison) -> str:
    """Return the share of trials of each arm that failed, with its interval and a test; empty where none failed."""
    rows = comparison.rows
    if not any(any(row.failed) for row in rows):
        return ""
    shares = []
    for arm, level in enumerate((comparison.contrast.first, comparison.contrast.second)):
        failed, ended = sum(row.failed[arm] for row in rows), sum(row.ended[arm] for row in rows)
        low, high = share_interval(failed, ended) if ended else (0.0, 1.0)
        shares.append(f"{show(level)} in {failed} of {ended} trials ({100 * low:.0f} to {100 * high:.0f}%)")
    by_seed: Counter[int] = Counter()
    for row in rows:
        by_seed.update(row.failed_by_seed)
    p = failures_differ([by_seed[seed] for seed in sorted(by_seed)])
    equally = f"that they fail equally often: {p_is(p)}, by seeds"
    return f"Failed: {', '.join(shares)}; {equally}. Margins are among the seeds for which both arms trained."


def test_set(findings: Findings) -> str:
    """Return whether the verdicts are about new test images too, and what the seeds alone would say."""
    effects = list(zip(findings.design.effects, findings.design.verdicts, strict=True)) if findings.design else []
    judged: list[tuple[MarginRow, Verdict]] = [(effect.row, verdict) for effect, verdict in effects]
    for comparison in findings.comparisons:
        judged += zip(comparison.rows, comparison.verdicts, strict=True)
    cell = "effect" if effects else "cell"
    margins = [row.margin for row, _ in judged if row.margin]
    known = [margin for margin in margins if margin.test_set]
    if not margins:
        return ""
    if not known:
        return "All of it is about the test items of these runs: no predictions are known to say more."
    items = sorted({margin.test_set.items for margin in known if margin.test_set})
    size = f"{items[0]:,}" if len(items) == 1 else f"{items[0]:,} to {items[-1]:,}"
    text = f"Verdicts and intervals of margins are about new seeds and new test images ({size} here)"
    text += (
        "" if len(known) == len(margins) else f" in {len(known)} of {len(margins)} {cell}s, in the others about these"
    )
    larger = sum(larger_error(margin) == "test set" for margin in known)
    if larger:
        share = f"{larger} of {len(known)} {cell}s" if len(known) > 1 else f"this {cell}"
        text += f". In {share} the images' error is larger than that of the seeds: other images may say more than seeds"
    here = sum(_only_on_these_images(row, verdict) for row, verdict in judged)
    if here:
        text += f". On these very images seeds alone show a difference in {here} undecided {cell}{'s' * (here != 1)}"
    same = sum(margin.identical and margin.moderated_sd_pp is None for margin in known)
    if same:
        text += f". In {same} {cell}{'s' * (same != 1)} all seeds differ by the same; "
        text += "the spread is then taken from test-set sampling"
    claims = " and of claims" if findings.rulings else ""
    return f"{text}. Tests of other factors{claims} are about these images."


def drawn_data(findings: Findings) -> str:
    """Return whether the spread over seeds holds that of the training images; empty where no margin has one."""
    frame = findings.runs.frame
    rows = [row for comparison in findings.comparisons for row in comparison.rows]
    if not findings.runs.ours or not any(row.margin and row.margin.n > 1 for row in rows):
        return ""
    ways = [
        ("resplit", True, "dealt training and validation images anew"),
        ("bootstrap", "train", "drew its training images with replacement"),
    ]
    drawn = [how for key, value, how in ways if key in frame and (frame[key] == value).all()]
    if not drawn and any(key in frame and (frame[key] == value).any() for key, value, _ in ways):
        return ""
    if drawn:
        return f"Each seed {' and '.join(drawn)}, so that its spread holds that of the data."
    return (
        "All seeds share their training images: what others would change, often more than a seed does, is left out. "
        "With resplit=true or bootstrap=train each seed draws its own."
    )


def skewed(findings: Findings) -> list[str]:
    """Return a warning for each contrast whose seeds look skewed, which the tests do not survive."""
    lines = []
    for comparison in findings.comparisons:
        p = None if findings.published else asymmetry_p([row.by_seed for row in comparison.rows])
        if p is not None and p < ALPHA:
            lines.append(
                f"{comparison.contrast}: the seeds' margins look skewed ({p_is(p)} for symmetry over the cells), as "
                "where a few seeds fall far from the others. Intervals of few seeds then hold the true margin less "
                "often than in 95%, and verdicts are wrong more often than in 5% (docs/errors.md)."
            )
    return lines


def seeds_added(findings: Findings) -> str:
    """Return how the study came to its number of seeds, and which statements allow for that."""
    seed_rule = findings.runs.seed_rule
    allow = (
        "The verdicts, the intervals of margins and gaps and the tests of other factors and of claims on accuracy "
        "allow for that; what compares cells rests on the seeds that all of them have, and finds less than a fixed "
        "number would. Only the intervals of what moves accuracies and margins, and the tests of costs and failures, "
        "take it as fixed."
    )
    if not seed_rule.looks:
        return f"Seeds were added until margins were decided. {allow}"
    return (
        f"Seeds were added after a look at the results: {', then '.join(map(str, seed_rule.looks))} seeds. The first "
        f"look had the usual level of 5%; all later ones share another {100 * LATER_LEVEL:g}%, by a sequential test, "
        "so that following up a study until it shows something is wrong in at most 6%. seeds=auto from the start plans "
        f"for looking, and needs fewer seeds. {allow}"
    )


def many_cells(findings: Findings) -> str:
    """Return whether the spread of cells was drawn towards that of all; empty if not."""
    lines = []
    for comparison in findings.comparisons:
        of_cells = [row.margin for row in comparison.rows if row.margin and row.margin.moderated_sd_pp is not None]
        if not of_cells:
            continue
        prior_df, seeds = float(np.median([margin.prior_df for margin in of_cells])), max(m.n for m in of_cells)
        worth = f"worth {prior_df:.0f} more seeds" if prior_df < MOST_SHOWN_DF else "which makes it as good as known"
        lines.append(
            f"{comparison.contrast}: with {len(of_cells)} cells of {seeds} seeds the spread of each is drawn towards "
            f"that of all, {worth} (moderated t, Smyth 2004)."
        )
    return " ".join(lines)


def _only_on_these_images(row: MarginRow, verdict: Verdict) -> bool:
    margin = row.margin
    return bool(margin and margin.p_seeds is not None and margin.p_seeds < ALPHA and verdict.word == "undecided")
