"""A study is one question: what it holds fixed stays as its first line had it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.core import requests
from ablate.core.errors import UsageError
from ablate.core.events import Done
from ablate.core.levels import show
from ablate.core.study import Trial
from ablate.core.text import counted
from ablate.planning.plan import Plan
from ablate.store import manifest
from ablate.store.run_store import RunStore


def left_out(planned: Plan, store: RunStore) -> dict[str, Any]:
    """Return what the study requested before and this line does not ask for; empty where there is none.

    A line with fewer levels makes a report of fewer, whose readers are told whether those had results by then. Seeds
    are no levels: all seeds of what a line asks for count, since dropping some after a look would bend every verdict.

    Returns:
        levels: the levels of each factor, of this line or an earlier one, that no trial of this line has, as typed.
        trials: how many trials that were requested have one of them.
        looked: whether any of these was done.
    """
    study = planned.study
    if study.name not in manifest.names(store.runs):
        return {}
    before = [trial for trial in manifest.load(study.name, store.runs).study.trials if trial.cell.levels]
    now = study.trials or [planned.factory.trial(cell, 0) for cell in planned.configs]
    factors = dict.fromkeys([*study.factors, *(name for trial in before for name, _ in trial.cell.levels)])
    levels: dict[str, list[str]] = {}
    for factor in factors:
        present = {_level(trial, factor) for trial in now}
        gone = dict.fromkeys(level for trial in before if (level := _level(trial, factor)) not in present)
        if gone and None not in present:  # what a trial does not have, such as a key of another norm, is no level
            levels[factor] = [level for level in gone if level is not None]
    levels = {factor: names for factor, names in levels.items() if names}
    trials = [trial for trial in before if any(_level(trial, factor) in names for factor, names in levels.items())]
    if not trials:
        return {}
    looked = any(isinstance(outcome, Done) for outcome in store.outcomes(trials).values())
    return {"levels": levels, "trials": len([trial for trial in trials if not trial.tuning]), "looked": looked}


def still_left_out(planned: Plan, runs: Path) -> dict[str, Any]:
    """Return what the study leaves out, as `left_out` does, after one more trial of a line without -m.

    One trial is no question: what the last line with -m left out stays so, but for the levels that the trial has.
    """
    study = planned.study
    if study.name not in manifest.names(runs):
        return {}
    before = manifest.load(study.name, runs).study.metadata.get("left_out", {})
    levels = {
        factor: [level for level in names if all(_level(trial, factor) != level for trial in study.trials)]
        for factor, names in before.get("levels", {}).items()
    }
    levels = {factor: names for factor, names in levels.items() if names}
    return {**before, "levels": levels} if levels else {}


def _level(trial: Trial, factor: str) -> str | None:
    levels = dict(trial.cell.levels)
    level = levels.get(factor, trial.params.get(factor))
    return show(level) if factor in levels or factor in trial.params else None


def left_out_in_words(left: Mapping[str, Any]) -> str:
    """Return the line that says what the report will leave out."""
    levels = ", ".join(f"{factor}={level}" for factor, names in left["levels"].items() for level in names)
    return (
        f"{levels}: {counted(left['trials'], 'trial')} that earlier lines of the study asked for and this one does "
        "not; the report leaves them out, and says so"
    )


def refuse_another(planned: Plan, runs: Path) -> None:
    """Raise UsageError where the study has been requested before with other fixed settings: one report would mix both.

    Trials without factors, of lines without -m, are no question, and stand beside each other under one name.
    """
    study = planned.study
    if not study.factors or study.name not in manifest.names(runs):
        return
    trials = study.trials or [planned.factory.trial(cell, 0) for cell in planned.configs]  # tuning finds them later
    now = dataclasses.replace(study, trials=trials)
    differing = requests.conflicts(manifest.load(study.name, runs).study, now)
    if differing:
        fixed = ", ".join(f"{key}={show(before)}" for key, (before, _) in differing.items())
        received = ", ".join(f"{key}={show(now)}" for key, (_, now) in differing.items())
        name = "-".join([study.name, *(f"{key.rpartition('.')[2]}{show(now)}" for key, (_, now) in differing.items())])
        name = re.sub(r"[^\w.-]", "", name)[:100]
        raise UsageError(
            f"study={study.name}: all its trials have {fixed}, and this line has {received}; "
            f"allowed: {fixed}, or a study of its own, as in study={name}"
        )
