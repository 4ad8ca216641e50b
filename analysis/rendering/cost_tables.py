"""Tables of the costs of each cell: of training its networks and of using them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.formats import ABSENT, shown
from analysis.rendering.tables import cells_in_order
from analysis.sources.runs import COSTS, OTHER_OPS, Runs


@dataclass(frozen=True)
class Column:
    """A column for people.

    It shows the sum over the keys, each the median over a cell's trials, times `factor`, in the format `form`.
    """

    heading: str
    keys: Sequence[str]
    factor: float = 1
    form: str = ",.3g"


TRAINING = (
    Column("s per epoch", ["train_s"]),
    Column("images/s", ["train_images_per_s"], form=",.0f"),
    Column("kept for backward (kB an image)", ["saved_bytes"], 1e-3, ",.1f"),
    Column("tensors at the peak (MB)", ["train_peak_tensor_bytes"], 1e-6, ",.1f"),
    Column("process at the peak (MB)", ["peak_bytes"], 1e-6, ",.0f"),
)
INFERENCE = (
    Column("parameters", ["parameters"], form=",.0f"),
    Column("moments", ["norm_moments"], form=",.0f"),
    Column("weights (kB)", ["weight_bytes"], 1e-3, ",.1f"),
    Column("maps (kB)", ["inference_peak_bytes"], 1e-3, ",.1f"),
    Column("multiply-adds (M)", ["multiply_adds"], 1e-6, ",.2f"),
    Column("of these multiplications (M)", ["multiplications"], 1e-6, ",.2f"),
    Column("norm (k)", ["norm_ops"], 1e-3, ",.1f"),
    Column("other operations (k)", [key for key in OTHER_OPS if key != "norm_ops"], 1e-3, ",.1f"),
)
SPEED = (Column("images/s", ["inference_images_per_s"], form=",.0f"),)


def have_costs(runs: Runs) -> bool:
    """Return whether any run reports a cost."""
    return any(key in runs.frame for key in COSTS)


def training(runs: Runs) -> pd.DataFrame:
    """Return the medians over the trials done, one row per cell; costs that no run reports are left out."""
    return _table(runs, TRAINING)


def inference(runs: Runs) -> pd.DataFrame:
    """Return the medians of the costs of the folded network: what it stores and computes for one image."""
    return _table(runs, INFERENCE)


def speed(runs: Runs) -> pd.DataFrame:
    """Return the medians of the measured times: the latency of one image with its quartiles, and the throughput."""
    return _table(runs, SPEED, _latency)


def in_full(runs: Runs) -> pd.DataFrame:
    """Return all costs at full precision, in s, bytes and operations, with run ids."""
    machine_of = dict(zip(runs.frame.index, runs.frame["machine"], strict=True))
    return pd.DataFrame(
        cell.levels
        | {"n": len(cell.done), "acc": cell.mean}
        | medians
        | {
            "machines": "; ".join(dict.fromkeys(machine_of[trial] for trial in cell.done)),
            "runs": " ".join(cell.run_ids),
        }
        for cell, medians in zip(cells_in_order(runs), _medians(runs), strict=True)
    )


@lru_cache(maxsize=1)
def _medians(runs: Runs) -> list[dict[str, float]]:
    """Return for each cell of `cells_in_order` the median of every reported cost over its trials done.

    All at once, since a cell at a time takes half a minute of a large report.
    """
    reported = [key for key in COSTS if key in runs.frame]
    in_order = cells_in_order(runs)
    cell_of = np.repeat(np.arange(len(in_order)), [len(cell.done) for cell in in_order])
    trials = [trial for cell in in_order for trial in cell.done]
    medians = runs.frame.loc[trials, reported].astype(float).groupby(cell_of).median().reindex(range(len(in_order)))
    return [{str(key): value for key, value in row.items()} for row in medians.to_dict("records")]


def _table(
    runs: Runs, columns: Sequence[Column], last: Callable[[Mapping[str, float]], dict[str, str]] | None = None
) -> pd.DataFrame:
    reported = [column for column in columns if all(key in runs.frame for key in column.keys)]
    if not reported:
        return pd.DataFrame()
    rows = []
    for cell, medians in zip(cells_in_order(runs), _medians(runs), strict=True):
        rows.append(
            {key: shown(level) for key, level in cell.levels.items()}
            | {"n": str(len(cell.done))}
            | {column.heading: _shown(sum(medians[key] for key in column.keys), column) for column in reported}
            | (last(medians) if last else {})
        )
    return pd.DataFrame(rows)


def _shown(value: float, column: Column) -> str:
    return ABSENT if pd.isna(value) else format(value * column.factor, column.form)


def _latency(medians: Mapping[str, float]) -> dict[str, str]:
    if "latency_ms" not in medians:
        return {}
    middle, low, high = (medians[f"latency{part}_ms"] for part in ("", "_low", "_high"))
    text = ABSENT if pd.isna(middle) else f"{middle:.3g} ({low:.3g} to {high:.3g})"
    return {"latency (ms)": text}
