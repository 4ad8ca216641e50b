"""The runs that every source returns: one row per trial, and the names of the columns that are factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from ablate.core.levels import Level
from ablate.core.study import PREFERRED
from ablate.stats.seed_rule import SeedRule
from analysis.sources.measure import TEST_ACCURACY, Measure
from analysis.sources.origins import Origin

OTHER_OPS = ("norm_ops", "activation_ops", "scale_ops", "add_ops", "pool_ops")
"""Operations on an image beside the convolutions' multiply-adds."""

COSTS = (
    *("train_s", "train_images_per_s", "saved_bytes", "train_peak_tensor_bytes", "peak_bytes"),
    *("parameters", "norm_moments", "weight_bytes", "inference_peak_bytes"),
    *("multiply_adds", "multiplications", *OTHER_OPS),
    *("latency_ms", "latency_low_ms", "latency_high_ms"),
    *("inference_images_per_s", "inference_low_images_per_s", "inference_high_images_per_s"),
)
"""Columns for the time and memory of a trial and the costs of its network, as `ablate.training.cost` measures them.

A frame has those that at least one run reports.
"""

BOOKKEEPING = (
    *("seed", "outcome", "reason", "trial_id", "run_id", "code_version", "machine"),
    *("acc", "items", "acc_multicrop", "epochs", "artifacts", *COSTS),
)
"""Columns that describe a row; all others are keys of its config, or factors of a paper."""


@dataclass(frozen=True)
class Choice:
    """What tuning chose for a cell.

    cell: the cell's levels.
    values: the chosen value of each tuned key; empty where no trial of the tuning was done.
    edges: the keys whose value lies at an end of their range, with the end: lowest, or highest.
    search: which of the cell's searches chose it, from 0: for the seeds whose remainder by their number that is.
    """

    cell: Mapping[str, Level]
    values: Mapping[str, Level]
    edges: Mapping[str, str]
    search: int = 0


@dataclass(frozen=True, eq=False)
class Runs:
    """A study's trials.

    frame: one row per trial. Columns: BOOKKEEPING, and one per config key. In BOOKKEEPING,
        acc is the reported figure, in [0, 1], NaN for a trial without one; items, where it is there, is the size of the
        test set, of which acc is a count; acc_multicrop is the same with many crops
        of each test image; outcome is one of `analysis.sources.outcomes`; train_s is the training
        time of the last epoch; machine is host, device and threads; epochs is there only where a paper's arms differ
        in it; artifacts is the address of the run's files.
    factors: the keys that were varied on purpose, in the order typed.
    preferred: the factor and levels that are compared when the user requests no others and the study has them. A study
        from a preset has its own.
    derived: the keys that nobody typed and whose values follow from another choice; arms need not agree in them.
    nuisance: the keys whose values were drawn for each seed, the same in every arm; margins average over them.
    metadata: what else the study says about its request, by name: its design, what was tuned, how seeds were added.
    tried: one row per configuration of the study's tuning; None without one. Columns: run_id, outcome ("done", "pruned"
        or a kind of failure), epochs trained, wall_s, valid_acc, valid_loss, acc (on the test set, by which nothing was
        chosen), number (from 0, in the order tried), and one per config key.
    choices: what tuning chose for each tuned cell.
    parent_run_id: the study's own run in MLflow; None where there is none.
    measure: the name and units of acc.
    notes: sentences that a reader of the report must know.
    origin: where the runs come from.
    kind: "ours" were made by `ablate.run`, "printed" by a paper, "others" elsewhere. The paper's claims are tested on
        ours alone.
    """

    study: str
    frame: pd.DataFrame
    factors: Sequence[str]
    preferred: tuple[str, Sequence[Level]] = PREFERRED
    derived: Sequence[str] = ()
    nuisance: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tried: pd.DataFrame | None = None
    choices: Sequence[Choice] = ()
    parent_run_id: str | None = None
    measure: Measure = TEST_ACCURACY
    notes: Sequence[str] = ()
    origin: Origin = field(default_factory=Origin)
    kind: Literal["ours", "printed", "others"] = "ours"

    @property
    def searches(self) -> int:
        """How often tuning searched each cell; 1 without tuning."""
        return int(self.metadata.get("tune", {}).get("searches", 1))

    @property
    def searched(self) -> set[str]:
        """The keys that differ between a cell's seeds, since several searches chose them."""
        return {key for choice in self.choices for key in choice.values} if self.searches > 1 else set()

    @property
    def seed_rule(self) -> SeedRule:
        """How the study came to its number of seeds."""
        return SeedRule(self.metadata.get("seeds", {}).get("most"), tuple(self.metadata.get("looks", ())))

    def at_common_seeds(self, keys: Sequence[str]) -> Runs:
        """Return the trials of the seeds that every combination of the keys' levels has."""
        seeds_of: dict[str, set[int]] = {}
        for levels, seed in zip(self.frame[list(keys)].to_dict("records"), self.frame["seed"], strict=True):
            seeds_of.setdefault(repr(levels), set()).add(seed)
        common = set.intersection(*seeds_of.values())
        return replace(self, frame=self.frame[self.frame["seed"].isin(common)].reset_index(drop=True))

    @property
    def ours(self) -> bool:
        return self.kind == "ours"
