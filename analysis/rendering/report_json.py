"""Every number of a report, as JSON."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from ablate.stats.paired import ALPHA, CONFIDENCE
from analysis.effects import tuning_budget
from analysis.effects.interaction import Effect, Importance
from analysis.findings import Comparison, Findings
from analysis.paper import claims
from analysis.rendering import cost_tables, design_tables, tables


def as_json(found: Findings, told: list[str], warned: list[str]) -> str:
    """The report's numbers at full precision, its sentences and its warnings; what is absent is null."""
    runs = found.runs
    everything = {
        "study": runs.study,
        "measure": runs.measure.name,
        "factors": list(runs.factors),
        "confidence": CONFIDENCE,
        "alpha": ALPHA,
        "equivalence_pp": found.equivalence_pp,
        "summary": told,
        "warnings": warned,
        "outcomes": runs.frame["outcome"].value_counts().to_dict(),
        "code_versions": sorted(set(runs.frame["code_version"])),
        "design": _design(found),
        "margins": _records(tables.margins_in_full(found.comparisons, found)),
        "interactions": [_effect(one, effect) for one in found.comparisons for effect in one.effects],
        "margin_importance": [
            _importance(one) | {"contrast": str(c.contrast)} for c in found.comparisons for one in c.importance
        ],
        "accuracy_importance": [_importance(one) for one in found.importance],
        "gaps": _records(tables.margins_in_full(found.gaps, found)),
        "accuracies": _records(tables.accuracies_in_full(runs)),
        "costs": _records(cost_tables.in_full(runs)) if cost_tables.have_costs(runs) else [],
        "terms": dict(runs.terms),
        "tuning": _records(tuning_budget.spent_in_full(runs)) if runs.choices else [],
        "tuning_curves": _records(tuning_budget.curves_in_full(found.comparisons)),
        "claims": [
            {"claim": one.claim, "word": one.word, "about": one.about, "told": one.reason} for one in found.rulings
        ],
        "printed": _records(claims.in_full(found.claims)) if found.claims else [],
    }
    return json.dumps(everything, indent=1, default=_plain, allow_nan=False) + "\n"


def _design(found: Findings) -> dict[str, Any] | None:
    """The effects that the study's design is there to tell; null without one."""
    design = found.design
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
            design_tables.record(design, found, place)
            | {
                "by_seed_pp": {str(seed): pp for seed, pp in one.row.by_seed.items()},
                "aliases": [{"interaction": alias.name, "weight": alias.weight} for alias in one.aliases],
            }
            for place, one in enumerate(design.effects)
        ],
    }


def _effect(one: Comparison, effect: Effect) -> dict[str, Any]:
    difference = effect.difference
    return {
        "contrast": str(one.contrast),
        "factor": difference.moderator,
        "level": difference.level,
        "reference": difference.reference,
        "difference_pp": effect.mean_pp,
        "low_pp": effect.low_pp,
        "high_pp": effect.high_pp,
        "by_seed_pp": difference.by_seed.tolist(),
        "cells": difference.cells,
        "diverged": difference.diverged,
        "p_holm": effect.p,
    }


def _importance(one: Importance) -> dict[str, Any]:
    return {
        "factor": one.factor,
        "level": one.level,
        "reference": one.reference,
        "largest_pp": one.mean_pp,
        "low_pp": one.low_pp,
        "high_pp": one.high_pp,
        "n": one.n,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object)
    return plain.where(plain.notna(), None).to_dict("records")


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item()
