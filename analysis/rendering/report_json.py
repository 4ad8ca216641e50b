"""Every number of a report, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablate.stats.multiple_testing import ALPHA, CONFIDENCE
from analysis.effects import tuning_budget
from analysis.effects.hypotheses import TestedHypothesis
from analysis.effects.importance import Importance
from analysis.effects.interaction import Effect
from analysis.findings import Comparison, Findings
from analysis.paper import claims
from analysis.rendering import cost_tables, design_tables, level_tables, tables


def as_json(
    findings: Findings, sentences: list[str], warned: list[str], *, made: Mapping[str, Any], request: Mapping[str, Any]
) -> str:
    """Return the report's numbers at full precision, its sentences and its warnings as JSON; absent values are null.

    Args:
        findings: the numbers.
        sentences: the report's sentences.
        warned: its warnings.
        made: how the numbers were made, as `provenance.record` returns it.
        request: what was requested: `options` and `source`.
    """
    runs = findings.runs
    everything = {
        "study": runs.study,
        **request,
        "measure": runs.measure.name,
        "factors": list(runs.factors),
        "confidence": CONFIDENCE,
        "alpha": ALPHA,
        "equivalence_pp": findings.equivalence_pp or None,
        "summary": sentences,
        "warnings": warned,
        "outcomes": runs.frame["outcome"].value_counts().to_dict(),
        "code_versions": sorted(set(runs.frame["code_version"])),
        "hypotheses": [_hypothesis(tested) for tested in findings.hypotheses],
        "design": _design(findings),
        "margins": _records(tables.margins_in_full(findings.comparisons, findings)),
        "interactions": [
            _effect(comparison, effect) for comparison in findings.comparisons for effect in comparison.effects
        ],
        "level_margins": _records(level_tables.by_level_in_full(findings.comparisons)),
        "margin_importance": [
            _importance(importance) | {"contrast": str(comparison.contrast)}
            for comparison in findings.comparisons
            for importance in comparison.importance
        ],
        "accuracy_importance": [_importance(importance) for importance in findings.importance],
        "gaps": _records(tables.margins_in_full(findings.gaps, findings)),
        "accuracies": _records(tables.accuracies_in_full(runs)),
        "trials": [] if findings.published else _records(_finite(tables.trials_in_full(runs))),
        "costs": _records(cost_tables.in_full(runs)) if cost_tables.have_costs(runs) else [],
        "terms": dict(runs.metadata),
        "tuning": _records(tuning_budget.spent_in_full(runs)) if runs.choices else [],
        "tuning_curves": _records(tuning_budget.curves_in_full(findings.comparisons)),
        "claims": [
            {"claim": ruling.claim, "word": ruling.word, "about": ruling.about, "told": ruling.reason}
            for ruling in findings.rulings
        ],
        "provenance": made,
        "printed": _records(claims.in_full(findings.claims)) if findings.claims else [],
    }
    return json.dumps(everything, indent=1, default=_plain, allow_nan=False) + "\n"


def _hypothesis(tested: TestedHypothesis) -> dict[str, object]:
    margin = tested.margin
    return {
        "hypothesis": tested.text,
        "verdict": tested.word,
        "why": tested.why,
        "margin_pp": margin.mean_pp if margin else None,
        "low_pp": margin.low_pp if margin else None,
        "high_pp": margin.high_pp if margin else None,
        "n": margin.n if margin else 0,
        "cells": tested.cells,
        "failed": tested.failed,
        "p_confirm_holm": tested.p_confirm,
        "p_deny_holm": tested.p_deny,
    }


def _design(findings: Findings) -> dict[str, object] | None:
    """Return the effects that the study's design is meant to estimate; None without a design."""
    design = findings.design
    if design is None:
        return None
    return {
        "kind": design.kind,
        "base": dict(design.base),
        "base_acc": design.base_acc,
        "cells": design.cells,
        "seeds": design.seeds,
        "resolution": design.resolution,
        "balanced": design.balanced,
        "effects": [
            design_tables.record(design, findings, index)
            | {
                "by_seed_pp": {str(seed): pp for seed, pp in effect.row.by_seed.items()},
                "aliases": [{"interaction": alias.name, "weight": alias.weight} for alias in effect.aliases],
            }
            for index, effect in enumerate(design.effects)
        ],
    }


def _effect(comparison: Comparison, effect: Effect) -> dict[str, object]:
    difference = effect.difference
    levels = [pair.level for pair in difference.pairs]
    references = [pair.reference for pair in difference.pairs]
    together = len(levels) > 1
    return {
        "contrast": str(comparison.contrast),
        "factor": difference.moderator,
        "level": levels if together else levels[0],
        "reference": references if together else references[0],
        "difference_pp": effect.mean_pp,
        "low_pp": effect.low_pp,
        "high_pp": effect.high_pp,
        "by_seed_pp": difference.by_seed.tolist(),
        "cells": difference.cells,
        "failed": difference.failed,
        "p_adjusted": effect.p,
    }


def _importance(importance: Importance) -> dict[str, object]:
    return {
        "factor": importance.factor,
        "level": importance.level,
        "reference": importance.reference,
        "largest_pp": importance.mean_pp,
        "low_pp": importance.low_pp,
        "high_pp": importance.high_pp,
        "n": importance.n,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    plain = frame.astype(object)
    records = plain.where(plain.notna(), None).to_dict("records")
    return [{str(key): value for key, value in record.items()} for record in records]


def _finite(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without infinite numbers, as of a loss that diverged, which JSON does not have."""
    return frame.replace([np.inf, -np.inf], np.nan)


def _plain(value: np.generic) -> object:
    """Return a NumPy number as a Python number."""
    plain: object = value.item()
    return plain
