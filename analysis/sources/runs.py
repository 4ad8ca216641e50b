"""What every source of runs gives: one row per trial, and which columns were varied on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from ablate.core.study import PREFERRED

OTHER_OPS = ("norm_ops", "activation_ops", "scale_ops", "add_ops", "pool_ops")
"""Operations on an image beside the convolutions' multiply-adds."""

COSTS = (
    *("train_s", "train_images_per_s", "saved_bytes", "train_peak_tensor_bytes", "peak_bytes"),
    *("parameters", "norm_moments", "weight_bytes", "inference_peak_bytes"),
    *("multiply_adds", "multiplications", *OTHER_OPS),
    *("latency_ms", "latency_low_ms", "latency_high_ms"),
    *("inference_images_per_s", "inference_low_images_per_s", "inference_high_images_per_s"),
)
"""What a trial took and what its network costs, as `ablate.training.cost` measures it.

A frame has the columns that at least one run reports.
"""

BOOKKEEPING = (
    *("seed", "outcome", "reason", "trial_id", "run_id", "code_version", "machine"),
    *("acc", "acc_multicrop", "epochs", "artifacts", *COSTS),
)
"""Columns that describe a row; all others are keys of its config, or factors of a paper."""


@dataclass(frozen=True)
class Measure:
    """What `acc` is, for people. `unit` of a figure and `points` of a margin may be empty: then the numbers are plain.

    `acc` holds a hundredth of what is shown, so that 0.98 is 98%.
    """

    name: str = "test accuracy"
    unit: str = "%"
    points: str = "pp"
    lower_is_better: bool = False

    def of(self, what: str, unit: str) -> str:
        """A heading with its unit.

        >>> Measure().of("margin", Measure().points), Measure("loss", "", "").of("margin", "")
        ('margin (pp)', 'margin')
        """
        return f"{what} ({unit})" if unit else what


def measured(name: str, values: pd.Series, *, lower_is_better: bool = False) -> tuple[Measure, pd.Series]:
    """A metric's values as `acc`, and what that then is: values that all lie in [0, 1] are shown in percent.

    >>> measured("auc", pd.Series([0.5, 0.9]))[0].points, measured("loss", pd.Series([0.5, 1.9]))[0].points
    ('pp', '')
    """
    known = values.dropna()
    if len(known) and known.between(0, 1).all() and "loss" not in name.lower():
        return Measure(name, lower_is_better=lower_is_better), values
    return Measure(name, "", "", lower_is_better), values / 100


@dataclass(frozen=True)
class Choice:
    """What tuning chose for a cell. `edges`: keys at an end of what there was to choose from: lowest, or highest."""

    cell: Mapping[str, Any]
    values: Mapping[str, Any]
    edges: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Runs:
    """A study's trials.

    frame: one row per trial. Columns: BOOKKEEPING (acc in [0, 1], the figure to report, NaN for a trial
        without one; acc_multicrop the same with many crops of each test image; outcome "done", a failure kind,
        "running" or "interrupted"; train_s of the last epoch, training alone; machine is host, device and threads;
        epochs only where a paper's arms differ in them; artifacts is where the run's files are), and one per config
        key.
    factors: the keys that were varied on purpose, in the order typed.
    preferred: the factor and levels to compare when nobody asks for others and the study has them; a study from
        a preset says its own.
    derived: the keys that nobody typed and that take their values from another choice; arms need not agree.
    nuisance: the keys whose values were drawn for each seed, the same in every arm; margins average over them.
    terms: what else the study said of how it was asked, by name: its design, what was tuned, how seeds were added.
    tried: one row per configuration of the study's tuning; None without one. Columns: run_id, outcome ("done", "pruned"
        or a failure kind), epochs trained, wall_s, valid_acc, valid_loss, acc (on the test, which nothing was chosen
        by), number (from 0, in the order tried), and one per config key.
    choices: of each tuned cell, what was chosen.
    parent_run_id: the study's own run in MLflow; None where there is none.
    measure: what acc is.
    notes: what a reader of a report on them must know.
    kind: "ours" were made by `ablate.run`, "printed" by a paper, "others" elsewhere. The paper's claims are looked for
        in ours alone.
    """

    study: str
    frame: pd.DataFrame
    factors: Sequence[str]
    preferred: tuple[str, Sequence[Any]] = PREFERRED
    derived: Sequence[str] = ()
    nuisance: Sequence[str] = ()
    terms: Mapping[str, Any] = field(default_factory=dict)
    tried: pd.DataFrame | None = None
    choices: Sequence[Choice] = ()
    parent_run_id: str | None = None
    measure: Measure = Measure()
    notes: Sequence[str] = ()
    kind: Literal["ours", "printed", "others"] = "ours"

    @property
    def ours(self) -> bool:
        return self.kind == "ours"
