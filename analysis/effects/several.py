"""Several studies as one: their trials side by side, with what each holds fixed and another does not as a factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from ablate.core.errors import UsageError
from ablate.core.identity import ADDED_LATER
from analysis.effects.factors import factors, levels_of
from analysis.sources import origins, studies
from analysis.sources.measure import Unit
from analysis.sources.registered import registered_values
from analysis.sources.runs import BOOKKEEPING, Runs

STUDY = "study"
"""The factor that tells the studies apart."""


def read(
    client: Any,
    names: Sequence[str],
    metric: str | None,
    *,
    unit: Unit | None = None,
    lower_is_better: bool = False,
    by_study: bool = False,
) -> Runs:
    """Return the trials of several studies in MLflow as those of one, called by all their names.

    A setting that is fixed in each study and differs between them, such as the depth, is a factor like any other. A
    trial that studies share counts once. Where two trials of one seed differ in no factor, and always with `by_study`,
    the study itself is a factor, and settings that go with it are none.

    Raises:
        UsageError: a study is named twice, there is no such study, it has no trials, or none has the metric.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"study=[{','.join(names)}]: allowed: one study, or several that differ")
    each = [studies.read(client, name, metric, unit=unit, lower_is_better=lower_is_better) for name in names]
    for runs in each[1:]:
        if runs.measure != each[0].measure:
            raise UsageError(f"study=[{','.join(names)}]: their metric has two units; allowed: unit=")
    pooled = _pooled(each)
    frame = _side_by_side(each)
    once = replace(pooled, frame=frame.drop(columns=STUDY).drop_duplicates("trial_id").reset_index(drop=True))
    if not by_study and _tells_apart(once):
        return replace(once, factors=[*pooled.factors, *(key for key in factors(once) if key not in pooled.factors)])
    others = [key for key in map(str, frame) if key not in (*BOOKKEEPING, STUDY, *pooled.factors)]
    fixed = [key for key in others if _goes_with(frame, key)]
    derived = [*pooled.derived, *(key for key in fixed if key not in pooled.derived)]
    return replace(pooled, frame=frame, factors=[STUDY, *pooled.factors], derived=derived)


def _pooled(each: Sequence[Runs]) -> Runs:
    """Return what the studies have in common beside their trials, with notes on what is left to each study's report."""
    first, notes = each[0], [f"{runs.study}: {note}" for runs in each for note in runs.notes]
    registered = [registered_values(runs) for runs in each]
    common = {
        key: value for key, value in registered[0].items() if all(key in r and r[key] == value for r in registered)
    }
    for key in dict.fromkeys(key for values in registered for key in values):
        if key not in common:
            notes.append(f"Not registered alike by all of the studies, and so not used here: {key}.")
    if any(runs.tried is not None for runs in each):
        notes.append("What tuning tried is told in the report of each study.")
    metadata: dict[str, Any] = {"registered": common} if common else {}
    looks = max((list(runs.metadata.get("looks", ())) for runs in each), key=len)
    added = [runs.metadata["seeds"] for runs in each if "seeds" in runs.metadata]
    metadata |= {"looks": looks} if looks else {}
    metadata |= {"seeds": max(added, key=lambda seeds: int(seeds["most"]))} if added else {}
    return replace(
        first,
        study="+".join(runs.study for runs in each),
        factors=list(dict.fromkeys(factor for runs in each for factor in runs.factors)),
        derived=list(dict.fromkeys(key for runs in each for key in runs.derived)),
        nuisance=tuple(dict.fromkeys(key for runs in each for key in runs.nuisance)),
        metadata=metadata,
        tried=None,
        choices=(),
        parent_run_id=None,
        notes=notes,
        origin=origins.joined(runs.origin for runs in each),
    )


def _side_by_side(each: Sequence[Runs]) -> pd.DataFrame:
    frame = pd.concat([runs.frame.assign(**{STUDY: runs.study}) for runs in each], ignore_index=True)
    for key, value in ADDED_LATER.items():
        if key in frame:  # a study from before the key had this value in effect
            frame[key] = frame[key].astype(object).where(frame[key].notna(), value)
    return frame


def _tells_apart(runs: Runs) -> bool:
    """Return whether no two trials of one seed have the same level of every factor."""
    keys = [*factors(runs), "seed"]
    return not runs.frame[keys].astype(object).map(repr).duplicated().any()


def _goes_with(frame: pd.DataFrame, key: str) -> bool:
    """Return whether the key has a single value in each study, and not the same in all."""
    values = [levels_of(rows, key, absent=True) for _, rows in frame.groupby(STUDY, sort=False)]
    return all(len(levels) == 1 for levels in values) and len({repr(levels) for levels in values}) > 1
