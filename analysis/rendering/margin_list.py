"""The margins of a report in one list, as MLflow keeps them: those of its contrasts, and the effects of its design."""

from __future__ import annotations

from collections.abc import Mapping

from ablate.core.levels import Level
from ablate.tracking.study_metrics import Margin
from analysis.effects.matched import MarginRow
from analysis.findings import Findings


def margin_list(findings: Findings) -> list[Margin]:
    """Return every margin that the report shows, in its order. A row without a margin has none here."""
    effects = findings.design.effects if findings.design else ()
    of_design = [_margin(effect.factor, effect.first, effect.second, {}, effect.row) for effect in effects]
    of_contrasts = [
        _margin(compared.contrast.factor, compared.contrast.first, compared.contrast.second, row.levels, row)
        for compared in (*findings.comparisons, *findings.gaps)
        for row in compared.rows
    ]
    return [margin for margin in (*of_design, *of_contrasts) if margin]


def _margin(factor: str, first: Level, second: Level, levels: Mapping[str, Level], row: MarginRow) -> Margin | None:
    margin = row.margin
    return Margin(factor, first, second, levels, margin.mean_pp, margin.low_pp, margin.high_pp) if margin else None
