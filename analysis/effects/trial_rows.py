"""Trials as plain values, in place of rows of a pandas frame: comparing those one by one is slow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ablate.core.levels import Level
from analysis.sources import outcomes


@dataclass(frozen=True)
class TrialRow:
    """A trial of the frame as plain values.

    acc: NaN where there is none.
    levels: the trial's levels of the keys that the caller asked for; None for an absent one.
    items: the size of the test set, of which `acc` is a count; None where it is not known.
    """

    seed: int
    outcome: str
    acc: float
    run_id: str
    code_version: str
    levels: Mapping[str, Level]
    items: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether the trial is done and has an accuracy."""
        return self.outcome == outcomes.DONE and not math.isnan(self.acc)

    @property
    def is_failed(self) -> bool:
        return outcomes.is_failed(self.outcome)

    @property
    def has_ended(self) -> bool:
        """Whether the trial counts for or against its arm."""
        return self.is_done or self.is_failed


Arms = tuple[Sequence[TrialRow], Sequence[TrialRow]]
"""The trials of the first and of the second arm."""


def trials_of(arm: pd.DataFrame, keys: Sequence[str]) -> list[TrialRow]:
    """Return the trials as plain values, with their levels of these keys; a key that the frame lacks is left out."""
    levels = arm[[key for key in dict.fromkeys(keys) if key in arm]].astype(object)
    levels[levels.isna()] = None
    columns = {str(key): levels[key].tolist() for key in levels.columns}
    versions = arm["code_version"].tolist() if "code_version" in arm else ["unknown"] * len(arm)
    accs = arm["acc"].astype(float).tolist()
    items = [None if pd.isna(size) else int(size) for size in arm["items"]] if "items" in arm else [None] * len(arm)
    rows = zip(arm["seed"].tolist(), arm["outcome"].tolist(), accs, arm["run_id"].tolist(), versions, strict=True)
    return [
        TrialRow(*row, {key: column[index] for key, column in columns.items()}, items[index])
        for index, row in enumerate(rows)
    ]
