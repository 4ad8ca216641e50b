"""How long one arm trains, as a ratio to another: paired by seed, on the same machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.matched import MarginRow


@dataclass(frozen=True)
class Ratios:
    """Training time of an epoch, second arm over first.

    log_by_seed: (n,) natural logs, one a seed: the mean over its cells.
    cells: how many cells of the other factors.
    apart: pairs left out because their trials ran on unlike machines.
    """

    log_by_seed: NDArray[np.float64]
    cells: int
    apart: int


def ratios(frame: pd.DataFrame, rows: Sequence[MarginRow]) -> Ratios:
    """The time ratios of the pairs that the rows' margins rest on.

    The time is that of the last epoch's training alone. A trial of one epoch tells nothing: a worker process spends
    seconds of its first epoch on warming up.

    Args:
        frame: a row a trial, with run_id, train_s, machine and recipe.epochs.
        rows: what `matched.margins` gives.
    """
    trials = frame.set_index("run_id")
    epoch_s = trials["train_s"].astype(float).where(trials["recipe.epochs"].astype(float) > 1)
    logs: dict[int, list[float]] = defaultdict(list)
    cells = apart = 0
    for row in rows:
        before = sum(map(len, logs.values()))
        for seed, first, second in zip(row.by_seed, row.first_runs, row.second_runs, strict=True):
            if not (epoch_s[first] > 0 and epoch_s[second] > 0):
                continue
            if trials.at[first, "machine"] != trials.at[second, "machine"]:
                apart += 1
                continue
            logs[seed].append(float(np.log(epoch_s[second] / epoch_s[first])))
        cells += sum(map(len, logs.values())) > before
    return Ratios(np.array([np.mean(logs[seed]) for seed in sorted(logs)]), cells, apart)
