"""A study is one question: what it holds fixed stays as its first line had it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ablate.core import requests
from ablate.core.errors import UsageError
from ablate.core.levels import show
from ablate.planning.plan import Plan
from ablate.store import manifest


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
