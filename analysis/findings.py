"""Compute everything that a report states about a study, once; page, tables, figures and JSON only show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.core.errors import UsageError
from ablate.core.levels import show
from ablate.stats.moderated import moderated
from analysis.effects import main_effects, one_factor, tuning_budget
from analysis.effects.contrasts import Contrast
from analysis.effects.design_effects import AROUND, FEW_CELLS, DesignEffects
from analysis.effects.factors import factors, levels_of
from analysis.effects.hypotheses import TestedHypothesis, decided_hypotheses
from analysis.effects.importance import Importance, accuracy_importance, margin_importance
from analysis.effects.interaction import Dependence, Effect, dependences
from analysis.effects.level_margins import LevelMargin, level_margins
from analysis.effects.matched import MarginRow, margins
from analysis.effects.tuning_budget import BudgetCurve
from analysis.effects.verdict import Failures, Verdict, verdicts
from analysis.paper import claims, rulings
from analysis.paper.ruling import Ruling
from analysis.sources.runs import Runs

Right = Mapping[str, NDArray[np.bool_]]
"""run_id -> (items,) whether the trial classified each test item correctly."""


@dataclass(frozen=True)
class Comparison:
    """A contrast with its margins, a verdict for each, and how the margin depends on the other factors.

    dependence: None where it was not asked for, as of papers.
    levels: the margin at each level of each factor; empty for papers, and where nothing else varies.
    budgets: in a tuned study, the margin as a function of the tuning budget, for the cells in which both arms were
    tuned.
    """

    contrast: Contrast
    rows: Sequence[MarginRow]
    verdicts: Sequence[Verdict]
    dependence: Dependence | None = None
    importance: Sequence[Importance] = ()
    levels: Sequence[LevelMargin] = ()
    budgets: Sequence[BudgetCurve] = ()

    @property
    def effects(self) -> Sequence[Effect]:
        return self.dependence.effects if self.dependence else ()

    @property
    def has_margin(self) -> bool:
        return any(row.margin for row in self.rows)

    @property
    def knows_test_set(self) -> bool:
        return any(row.margin and row.margin.test_set for row in self.rows)


@dataclass(frozen=True)
class Histories:
    """The values that the runs of the first cells recorded at each epoch.

    labels: run_id -> the cell's name. curves: columns run_id, epoch and value of `metric`. restarts: the same columns,
    with the test accuracy at the end of each cycle of the learning rate; empty if no run has had two cycles. left_out:
    the number of cells that are not included.
    """

    labels: Mapping[str, str]
    metric: str
    curves: pd.DataFrame
    restarts: pd.DataFrame
    left_out: int = 0


@dataclass(frozen=True)
class Findings:
    """Everything that a report states.

    design: the effects that the study's design is meant to estimate; None for a full grid, and if other contrasts were
    requested. comparisons: empty if nothing varies or nothing is matched. gaps: the most bits minus fewer, if the bits
    vary and are not a contrast themselves. importance: each factor's importance for the accuracy; empty if there is a
    design. rulings: on the paper's claims, if the study has its arms. claims: the printed numbers. histories: None for
    papers. hypotheses: what the study stated beforehand, decided. equivalence_pp: the smallest difference of interest;
    0 where there is none, so that nothing is equivalent.
    """

    runs: Runs
    equivalence_pp: float
    comparisons: Sequence[Comparison] = ()
    gaps: Sequence[Comparison] = ()
    importance: Sequence[Importance] = ()
    rulings: Sequence[Ruling] = ()
    claims: Sequence[claims.Claim] = ()
    histories: Histories | None = None
    design: DesignEffects | None = None
    hypotheses: Sequence[TestedHypothesis] = ()

    @property
    def tested(self) -> int:
        """The number of verdicts that the report adjusts together."""
        of_design = len(self.design.effects) if self.design else 0
        return sum(len(comparison.rows) for comparison in self.comparisons) + of_design

    @property
    def published(self) -> bool:
        """Whether these are a paper's printed numbers, one number per arm."""
        return self.runs.kind == "printed"

    @property
    def within(self) -> str:
        """The smallest difference of interest, in words."""
        return f"{self.equivalence_pp:g}{self.runs.measure.in_points}"


def find(
    runs: Runs,
    contrasts: Sequence[Contrast],
    *,
    equivalence_pp: float,
    right: Right | None = None,
    histories: Histories | None = None,
    by_design: bool = True,
    on_claims: bool = False,
    hypotheses: Sequence[str] = (),
) -> Findings:
    """Compute margins, verdicts and interactions and, where they are asked for, rulings on the paper's claims.

    Args:
        runs: the study.
        contrasts: the pairs of levels to compare.
        equivalence_pp: the smallest difference of interest; 0 for none.
        right: for the trials whose predictions are stored.
        histories: the values that the first runs recorded at each epoch.
        by_design: whether the effects that the study's design is meant to estimate come first, if it has a design. The
            contrasts then keep only their matched pairs; a design that changes one factor at a time replaces them.
        on_claims: whether to rule on the paper's claims, and to compare with the printed numbers.
        hypotheses: what the study stated beforehand.

    Raises:
        UsageError: the runs are a paper's or made elsewhere, and no two of them can be compared.
    """
    rows = [margins(runs, contrast, equivalence_pp=equivalence_pp, right=right) for contrast in contrasts]
    design = _design_effects(runs, rows, equivalence_pp, right or {}) if by_design else None
    if design:
        contrasts, rows = _matched(contrasts, rows) if not design.around else ((), [])
    elif not runs.ours:
        _check_paired(runs, contrasts, rows)
    rows = [_moderated(_of_papers(runs, in_contrast), equivalence_pp) for in_contrast in rows]
    design_rows = [effect.row for effect in design.effects] if design else []
    judged = _judged(runs, [*design_rows, *(row for in_contrast in rows for row in in_contrast)], equivalence_pp)
    design_verdicts, margin_verdicts = judged[: len(design_rows)], judged[len(design_rows) :]
    gaps = _gaps(runs, contrasts, equivalence_pp, right)
    return Findings(
        runs,
        equivalence_pp,
        _comparisons(runs, contrasts, rows, margin_verdicts),
        [replace(gap, rows=[row for row in gap.rows if row.margin]) for gap in gaps] if design else gaps,
        () if design else accuracy_importance(runs.frame, factors(runs)),
        rulings.rulings(runs, equivalence_pp) if on_claims else (),
        claims.claims(runs) if on_claims else (),
        histories,
        replace(design, verdicts=design_verdicts) if design else None,
        decided_hypotheses(runs, hypotheses, equivalence_pp=equivalence_pp, right=right),
    )


def _design_effects(
    runs: Runs, rows: Sequence[Sequence[MarginRow]], equivalence_pp: float, right: Right
) -> DesignEffects | None:
    """Return the effects that fit the design; None if there are none.

    A part of a grid that leaves most margins unmatched has main effects too.
    """
    design = runs.metadata.get("design")
    if not design or runs.kind == "printed":
        return None
    cells = [row for in_contrast in rows for row in in_contrast]
    if design["kind"] in AROUND:
        of_design = one_factor.effects(runs, equivalence_pp=equivalence_pp, right=right)
    elif design["kind"] in FEW_CELLS or 2 * sum(row.margin is not None for row in cells) < len(cells):
        of_design = main_effects.effects(runs, equivalence_pp=equivalence_pp, right=right)
    else:
        return None
    return of_design if of_design.effects or of_design.notes else None


def _matched(
    contrasts: Sequence[Contrast], rows: Sequence[Sequence[MarginRow]]
) -> tuple[list[Contrast], list[list[MarginRow]]]:
    """Return the contrasts that have a matched pair, each with the rows whose cells are both in the design."""
    matched = [[row for row in in_contrast if not row.lacks_an_arm] for in_contrast in rows]
    indices = [index for index, in_contrast in enumerate(matched) if in_contrast]
    return [contrasts[index] for index in indices], [matched[index] for index in indices]


def _judged(runs: Runs, rows: Sequence[MarginRow], equivalence_pp: float) -> list[Verdict]:
    return verdicts(
        [row.margin for row in rows],
        equivalence_pp,
        failures=[Failures(row.failed, row.ended) for row in rows],
        lower_is_better=runs.measure.lower_is_better,
    )


def _comparisons(
    runs: Runs, contrasts: Sequence[Contrast], rows: Sequence[Sequence[MarginRow]], judged: Sequence[Verdict]
) -> list[Comparison]:
    all_verdicts = iter(judged)
    arms = [(str(contrast), in_contrast) for contrast, in_contrast in zip(contrasts, rows, strict=True)]
    of_arms = [None] * len(arms) if runs.kind == "printed" else dependences(arms, runs.frame, seed_rule=runs.seed_rule)
    return [
        Comparison(
            contrast,
            in_contrast,
            [next(all_verdicts) for _ in in_contrast],
            dependence,
            margin_importance(in_contrast, runs.frame),
            () if runs.kind == "printed" else level_margins(in_contrast, runs.frame, runs.seed_rule),
            tuning_budget.curves(runs, contrast, in_contrast),
        )
        for contrast, in_contrast, dependence in zip(contrasts, rows, of_arms, strict=True)
    ]


def _gaps(runs: Runs, contrasts: Sequence[Contrast], equivalence_pp: float, right: Right | None) -> list[Comparison]:
    """Return the most bits minus each smaller number of bits. They stand beside the margins and have no verdict."""
    if "bits" not in runs.frame or any(contrast.factor == "bits" for contrast in contrasts) or not contrasts:
        return []
    *fewer, most = levels_of(runs.frame, "bits")
    pairs = [Contrast("bits", most, bits) for bits in fewer]
    rows = [_of_papers(runs, margins(runs, pair, equivalence_pp=equivalence_pp, right=right)) for pair in pairs]
    return [
        Comparison(pair, in_pair, ())
        for pair, in_pair in zip(pairs, rows, strict=True)
        if any(row.margin for row in in_pair)
    ]


def _of_papers(runs: Runs, rows: list[MarginRow]) -> list[MarginRow]:
    """Return the rows; for a paper only those with a margin, since it may have printed a number for one arm alone."""
    return [row for row in rows if row.margin] if runs.kind == "printed" else rows


def _moderated(rows: Sequence[MarginRow], equivalence_pp: float) -> list[MarginRow]:
    """Return the rows, where there are many cells with the spread of each drawn towards that of all."""
    known = [row.margin for row in rows if row.margin]
    drawn = iter(moderated(known, [row.by_seed for row in rows if row.margin], equivalence_pp))
    return [replace(row, margin=next(drawn)) if row.margin else row for row in rows]


def _check_paired(runs: Runs, contrasts: Sequence[Contrast], rows: Sequence[Sequence[MarginRow]]) -> None:
    for contrast, in_contrast in zip(contrasts, rows, strict=True):
        if any(row.margin for row in in_contrast):
            continue
        if runs.kind == "printed":
            raise UsageError(f"source=published, contrast {contrast}: no two numbers differ in that alone")
        seeds = []
        for level in (contrast.first, contrast.second):
            arm = runs.frame[runs.frame[contrast.factor].astype(object).map(lambda value, level=level: value == level)]
            done_seeds = sorted(set(arm.loc[arm["outcome"] == "done", "seed"]))
            seeds.append(f"{contrast.factor}={show(level)} has {', '.join(map(str, done_seeds[:8])) or 'none'}")
        raise UsageError(
            f"contrast {contrast}: no two finished runs differ in that alone and share a seed; "
            f"seeds: {'; '.join(seeds)}"
        )
