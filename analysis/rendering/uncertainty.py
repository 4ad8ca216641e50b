"""Sentences on what a report's verdicts are about: which seeds, which test images, which trials."""

from __future__ import annotations

from collections import Counter

from ablate.core.levels import show
from ablate.stats.failures import failures_differ, share_interval
from ablate.stats.multiple_testing import ALPHA
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import Verdict
from analysis.findings import Comparison, Findings
from analysis.formats import p_is
from analysis.rendering.tables import larger_error


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
    same = sum(margin.identical for margin in known)
    if same:
        text += f". In {same} {cell}{'s' * (same != 1)} all seeds differ by the same; "
        text += "the spread is then taken from test-set sampling"
    claims = " and of claims" if findings.rulings else ""
    return f"{text}. Tests of other factors{claims} are about these images."


def _only_on_these_images(row: MarginRow, verdict: Verdict) -> bool:
    margin = row.margin
    return bool(margin and margin.p_seeds is not None and margin.p_seeds < ALPHA and verdict.word == "undecided")
