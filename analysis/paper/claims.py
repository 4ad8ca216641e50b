"""The numbers that the papers printed, each beside what the study's matching trials gave."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import eq
from typing import Any

import numpy as np
import pandas as pd

from ablate.core.identity import ADDED_LATER
from ablate.core.levels import show
from ablate.stats.arrays import Values
from ablate.stats.paired import t_interval
from analysis import formats
from analysis.effects.factors import cells, factors
from analysis.sources.published import PUBLISHED_FACTORS, printed
from analysis.sources.runs import Runs

REPRODUCED_PP = 0.5
"""Points around the claim within which the whole interval has to lie."""

RECIPE: Mapping[str, Any] = {
    "recipe.lr": 0.1,
    "recipe.batch_size": 125,
    "recipe.momentum": 0.9,
    "recipe.lr_floor": 1e-4,
    "recipe.moments": "reestimated",
}
"""What the papers hold fixed whatever the row."""


@dataclass(frozen=True)
class Claim:
    """One printed number and one cell of trials that match what the source states of it.

    name: the network and data as one would say them. unit: "error" or "accuracy"; all figures are in percent of it.
    values_pct: (n,), one a seed. notes: failed trials, and what the cell has that the source does not state.
    """

    printed: Mapping[str, Any]
    name: str
    unit: str
    status: str
    values_pct: Sequence[float] = ()
    run_ids: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def claimed_pct(self) -> float:
        return float(self.printed["value"])

    @property
    def matched(self) -> bool:
        """Whether the study has a trial for it, done or not."""
        return self.status not in ("not run", "not stated")


def claims(runs: Runs, published: pd.DataFrame | None = None) -> list[Claim]:
    """Every row of published.csv, in its order; several times where several cells of the study match it."""
    rows = printed() if published is None else published
    return [claim for row in rows.to_dict("records") for claim in _of_row(runs, row)]


def status(claimed_pct: float, values_pct: Values) -> str:
    """Whether seeds reproduce a printed number, by the 95% t interval of their mean.

    "reproduced" if all of it lies within 0.5 points of the number, else "not reproduced" if the number lies outside
    it, else "inconclusive". One seed, or seeds that all gave the same, have no interval and are inconclusive.

    >>> status(4.0, [4.1, 4.2, 4.3]), status(3.0, [4.1, 4.2, 4.3]), status(4.0, [3.0, 4.0, 5.0])
    ('reproduced', 'not reproduced', 'inconclusive (n = 3, ±2.48)')
    >>> status(4.0, [4.0]), status(4.0, [4.0, 4.0])
    ('inconclusive (n = 1)', 'inconclusive (n = 2, all the same)')
    """
    n, found = len(values_pct), t_interval(values_pct)
    if found is None:
        return f"inconclusive (n = {n}{', all the same' * (n > 1)})"
    low, high = np.round(found, 9)
    if low >= round(claimed_pct - REPRODUCED_PP, 9) and high <= round(claimed_pct + REPRODUCED_PP, 9):
        return "reproduced"
    return f"inconclusive (n = {n}, ±{(high - low) / 2:.2f})" if low <= claimed_pct <= high else "not reproduced"


def in_full(found: Sequence[Claim]) -> pd.DataFrame:
    """Every claim at full precision with the ids of the runs that its figures rest on."""
    return pd.DataFrame(_in_full(claim) for claim in found)


def counts(found: Sequence[Claim]) -> str:
    """How many printed numbers have which status, of those with trials: one line; empty when there are none."""
    words = [claim.status.partition(" (")[0] for claim in found if claim.matched]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def reproduced(claim: Claim) -> str:
    """The mean with its interval, for people."""
    if not claim.values_pct:
        return formats.ABSENT
    mean, bounds = f"{np.mean(claim.values_pct):.2f}", t_interval(claim.values_pct)
    return f"{mean} ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else mean


def _of_row(runs: Runs, row: Mapping[str, Any]) -> list[Claim]:
    name = _name(row)
    unit = "accuracy" if row["metric"] == "top1_acc_pct" else "error"
    unstated = [key for key in ("depth", "width", "bits", "norm", "epochs") if pd.isna(row[key])]
    if unstated:
        return [Claim(row, name, unit, "not stated", notes=[f"the source does not say which {', '.join(unstated)}"])]
    trials = _matching(runs.frame, row)
    if trials.empty:
        return [Claim(row, name, unit, "not run")]
    keys = factors(runs)
    apart = [key for key in keys if trials[key].astype(object).map(repr).nunique() > 1]
    return [_claim(row, name, unit, levels, cell) for levels, cell in cells(trials, apart)]


def _claim(row: Mapping[str, Any], name: str, unit: str, apart: Mapping[str, Any], cell: pd.DataFrame) -> Claim:
    metric = "acc_multicrop" if row["crops"] != "1" else "acc"
    done = cell[(cell["outcome"] == "done") & cell[metric].notna()].sort_values("seed")
    acc_pct = np.round(100 * done[metric].to_numpy(dtype=float), 9)
    values_pct = (acc_pct if unit == "accuracy" else np.round(100 - acc_pct, 9)).tolist()
    others = cell.loc[~cell.index.isin(done.index), "outcome"].replace("done", f"without {metric}").value_counts()
    notes = [f"{count} of {len(cell)} {outcome}" for outcome, count in others.items()]
    notes += [f"{key}={show(level)}" for key, level in apart.items()]
    return Claim(row, name, unit, status(float(row["value"]), values_pct), values_pct, done["run_id"].tolist(), notes)


def _matching(frame: pd.DataFrame, row: Mapping[str, Any]) -> pd.DataFrame:
    """The trials that have what the row states, and the papers' recipe in the keys of it that the frame has."""
    wanted = _stated(row) | {key: value for key, value in _recipe(row).items() if key in frame}
    matched = pd.Series(True, index=frame.index)
    for key, value in wanted.items():
        held = frame[key] if key in frame else pd.Series(ADDED_LATER.get(key), index=frame.index, dtype=object)
        matched &= held.astype(object).map(partial(eq, value))
    return frame[matched]


def _stated(row: Mapping[str, Any]) -> dict[str, Any]:
    many_crops = {"dataset.multi_crop": True} if row["crops"] != "1" else {}
    return many_crops | {
        "dataset": row["dataset"],
        "dataset.valid_fraction": 0,  # the papers train on the whole training set
        "model.residual": True,
        "depth": row["depth"],
        "width": row["width"],
        "bits": row["bits"],
        "norm": row["norm"],
        "recipe.augment": row["augment"].replace("-", "_"),
        "recipe.epochs": row["epochs"],
    }


def _recipe(row: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the row without being a column of it; for shifted ReLU as in the authors' code."""
    shifted = row["norm"] == "srelu"
    stated = re.search(r"temperature (\d+)", str(row["note"]))
    imagenet = row["dataset"].startswith("imagenet")
    follows: dict[str, Any] = {
        "model": "resnet_imagenet" if row["dataset"] == "imagenet" else "wrn",
        "recipe.schedule": "cosine" if shifted else "warm_restarts",
        "recipe.weight_decay": 1e-4 if imagenet else 5e-4,
    }
    follows |= {"norm.floor": -1} if shifted else {"norm.eps": 1e-5}
    follows |= {"norm.temperature": int(stated[1])} if stated else {}
    return {**RECIPE, **follows}


def _name(row: Mapping[str, Any]) -> str:
    """The network and the data, as far as the source states them."""
    size = "-".join(formats.shown(row[key]) for key in ("depth", "width") if not pd.isna(row[key]))
    bits = "" if pd.isna(row["bits"]) else "1 bit" if row["bits"] == 1 else f"{row['bits']:g} bits"
    norm = "" if pd.isna(row["norm"]) else row["norm"]
    epochs = "" if pd.isna(row["epochs"]) else f"{row['epochs']:g} epochs"
    crops = "" if row["crops"] == "1" else f"{row['crops']} crops"
    augment = "" if row["augment"] == "none" else row["augment"]
    return ", ".join(filter(None, (size, bits, norm, row["dataset"], augment, epochs, crops)))


def _in_full(claim: Claim) -> dict[str, Any]:
    n = len(claim.values_pct)
    low, high = t_interval(claim.values_pct) or (None, None)
    stated = ("id", "source", "where", *PUBLISHED_FACTORS[1:], "epochs", "metric")
    return {key: claim.printed[key] for key in stated} | {
        "claimed": claim.claimed_pct,
        "reproduced": float(np.mean(claim.values_pct)) if n else None,
        "low": low,
        "high": high,
        "sd": float(np.std(claim.values_pct, ddof=1)) if n > 1 else None,
        "n": n,
        "status": claim.status,
        "notes": "; ".join(claim.notes),
        "runs": " ".join(claim.run_ids),
    }
