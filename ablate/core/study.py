"""The words of a study: factor, level, cell, trial, and the identity of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.core.levels import Level, show

PREFERRED = ("norm", ("bn", "srelu"))
"""The factor and levels that are compared when neither the study nor anybody says which."""


@dataclass(frozen=True)
class Cell:
    """One level of every factor, as (factor, level) pairs in the order typed."""

    levels: tuple[tuple[str, Level], ...]

    def __str__(self) -> str:
        """The cell as one would type it.

        >>> str(Cell((("norm", "bn"), ("recipe.lr", 0.1))))
        'norm=bn recipe.lr=0.1'
        """
        return " ".join(f"{factor}={show(level)}" for factor, level in self.levels)


@dataclass(frozen=True)
class Trial:
    """One cell x one seed: the unit of work.

    `config` is all that a worker needs, as a plain dict, the seed included. `params` is the same flat,
    with dotted keys and a group's choice under the group's name: what a person looks for. `values` are those of its
    keys that were chosen for it, beyond its cell: by tuning, or drawn. `tuning`: it is one of a tuning's, to choose by;
    no margin is made of it.
    """

    cell: Cell
    seed: int
    config: Mapping[str, Any]
    params: Mapping[str, Level]
    trial_id: str
    values: tuple[tuple[str, Level], ...] = ()
    tuning: bool = False

    def __str__(self) -> str:
        seed = "(tuning)" if self.tuning else f"seed={self.seed}"
        return " ".join(part for part in (str(self.cell), str(Cell(self.values)), seed) if part)


@dataclass(frozen=True)
class Study:
    """One question: its name, the factors with their levels as typed, every trial of the design.

    `derived` are the config keys that nobody typed and that take their values from another choice, as a
    temperature does from the data set and the bits. `contrast` is a factor and the two levels of it that the
    report compares, where the study says so. `terms` holds what else a report must know of how the study was asked,
    as JSON-ready values by name: its design, what was tuned, what was sampled, how seeds were added.
    """

    name: str
    factors: Mapping[str, Sequence[Level]]
    trials: Sequence[Trial]
    derived: Sequence[str] = ()
    contrast: tuple[str, Sequence[Level]] | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> dict[Cell, list[Trial]]:
        """The trials of each cell, in the order of the design."""
        cells: dict[Cell, list[Trial]] = {}
        for trial in self.trials:
            cells.setdefault(trial.cell, []).append(trial)
        return cells
