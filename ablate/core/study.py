"""A study, its cells and its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.core.config import Config
from ablate.core.levels import Level, show

PREFERRED = ("norm", ("bn", "srelu"))
"""The factor and levels that a report compares when neither the study nor the report's user names any."""


@dataclass(frozen=True)
class Cell:
    """One level of every factor, as (factor, level) pairs in the order typed."""

    levels: tuple[tuple[str, Level], ...]

    def __str__(self) -> str:
        """Return the cell as a user would type it.

        >>> str(Cell((("norm", "bn"), ("recipe.lr", 0.1))))
        'norm=bn recipe.lr=0.1'
        """
        return " ".join(f"{factor}={show(level)}" for factor, level in self.levels)


@dataclass(frozen=True)
class Trial:
    """One cell x one seed: the unit of work.

    `config` is all that a worker needs, as a plain dict, the seed included. `params` holds the same values for people
    to search: flat, with dotted keys, and with a group's choice under the group's name. `values` are the keys that were
    chosen for this trial beyond its cell, by tuning or by drawing nuisance factors, with their values. `tuning` says
    that tuning tries this trial to choose a configuration; no margin is made of it.
    """

    cell: Cell
    seed: int
    config: Config
    params: Mapping[str, Level]
    trial_id: str
    values: tuple[tuple[str, Level], ...] = ()
    tuning: bool = False

    def __str__(self) -> str:
        seed = "(tuning)" if self.tuning else f"seed={self.seed}"
        return " ".join(part for part in (str(self.cell), str(Cell(self.values)), seed) if part)


@dataclass(frozen=True)
class Study:
    """One question: its name, the factors with their levels as typed, and every trial of the design.

    `derived` are the config keys that nobody typed and whose values follow from another choice, as a temperature
    follows from the data set and the bits. `contrast` is the factor, with two of its levels, that the report compares,
    where the study names one. `metadata` holds what else a report must know of how the study was requested, as
    JSON-ready values by name: its design, what was tuned, what was sampled, how seeds were added.
    """

    name: str
    factors: Mapping[str, Sequence[Level]]
    trials: Sequence[Trial]
    derived: Sequence[str] = ()
    contrast: tuple[str, Sequence[Level]] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> dict[Cell, list[Trial]]:
        """Return the trials of each cell, in the order of the design."""
        cells: dict[Cell, list[Trial]] = {}
        for trial in self.trials:
            cells.setdefault(trial.cell, []).append(trial)
        return cells
