"""Tables of the costs of each cell: of training its networks and of using them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    reported = [key for key in COSTS if key in runs.frame]
    return pd.DataFrame(
        levels
        | {"n": len(acc), "acc": acc.mean() if len(acc) else None}
        | {key: cell.loc[acc.index, key].median() for key in reported}
        | {
            "machines": "; ".join(dict.fromkeys(cell.loc[acc.index, "machine"])),
            "runs": " ".join(cell.loc[acc.index, "run_id"]),
        }
        for levels, cell, acc in cells_in_order(runs)
    )


def _table(
    runs: Runs, columns: Sequence[Column], last: Callable[[pd.DataFrame], dict[str, str]] | None = None
) -> pd.DataFrame:
    reported = [column for column in columns if all(key in runs.frame for key in column.keys)]
    if not reported:
        return pd.DataFrame()
    rows = []
    for levels, cell, acc in cells_in_order(runs):
        done = cell.loc[acc.index]
        rows.append(
            {key: shown(level) for key, level in levels.items()}
            | {"n": str(len(done))}
            | {
                column.heading: _shown(done[list(column.keys)].median().sum(skipna=False), column)
                for column in reported
            }
            | (last(done) if last else {})
        )
    return pd.DataFrame(rows)


def _shown(value: float, column: Column) -> str:
    return ABSENT if pd.isna(value) else format(value * column.factor, column.form)


def _latency(done: pd.DataFrame) -> dict[str, str]:
    if "latency_ms" not in done:
        return {}
    middle, low, high = (done[f"latency{part}_ms"].median() for part in ("", "_low", "_high"))
    text = ABSENT if pd.isna(middle) else f"{middle:.3g} ({low:.3g} to {high:.3g})"
    return {"latency (ms)": text}
