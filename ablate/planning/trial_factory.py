"""Makes the trials of a study's cells, from the start and as results come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ablate.core.config import Config
from ablate.core.identity import NUMERICS, OUTSIDE_IDENTITY, at_first_paths, flatten, science, trial_id
from ablate.core.levels import Level
from ablate.core.study import Cell, Trial
from ablate.planning import nuisance
from ablate.planning.compose import Combination
from ablate.planning.search_space import Space


class TrialFactory:
    """Makes the trials of a study's cells, with the nuisance values of their seed and the values that tuning chose.

    Args:
        cells: of the study, each with its combination of levels.
        drawn: the space of the nuisance factors.
    """

    def __init__(self, cells: Mapping[Cell, Combination], drawn: Space) -> None:
        self.cells, self.drawn = cells, drawn
        self._shared = {
            cell: _shared_by_trials(combination.config, combination.choices) for cell, combination in cells.items()
        }

    def trial(self, cell: Cell, seed: int, values: Mapping[str, Level] | None = None, *, tuning: bool = False) -> Trial:
        """Return one trial; `values` replace the cell's own. Raise UsageError for a value that is not allowed."""
        replaced = nuisance.draw(self.drawn, seed) | dict(values or {})
        if replaced:
            combination = self.cells[cell]
            config, params = _shared_by_trials(combination.resolve(replaced), combination.choices)
        else:
            config, params = self._shared[cell]
        seeded = config | {"seed": seed}
        whole = {name: level for name, level in cell.levels if level is not None and name not in params}  # mappings
        return Trial(
            cell=cell,
            seed=seed,
            config=seeded,
            params=params | whole | {"seed": seed, "numerics": NUMERICS},
            trial_id=trial_id(seeded),
            values=tuple((key, params[key]) for key in replaced),
            tuning=tuning,
        )

    def tuning_trial(self, cell: Cell, values: Mapping[str, Level], seed: int) -> Trial:
        """Return a trial of the cell's tuning; raise UsageError for a value that is not allowed."""
        return self.trial(cell, seed, values, tuning=True)

    def trials(self, cell: Cell, seeds: Iterable[int], values: Mapping[str, Level] | None = None) -> list[Trial]:
        """Return one trial for each of the seeds."""
        return [self.trial(cell, seed, values) for seed in seeds]


def _shared_by_trials(config: Config, choices: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Level]]:
    """Return what a cell's trials compute with, and the same flat, with the option chosen for each group."""
    shared = science(config)
    chosen = {group: choice for group, choice in choices.items() if group in shared}
    flat = {key: value for key, value in at_first_paths(flatten(shared)).items() if key not in OUTSIDE_IDENTITY}
    return shared, chosen | flat
