"""The numbers that the papers printed, each beside the result of the study's matching trials."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from operator import eq

import numpy as np
import pandas as pd

from ablate.core.identity import ADDED_LATER
from ablate.core.levels import Level, show
from ablate.stats.paired import t_interval
from analysis import formats
from analysis.effects.factors import cells, factors
from analysis.paper.replications import Replication, Seeds, replications
from analysis.sources.published import PUBLISHED_FACTORS, printed
from analysis.sources.runs import Runs

RECIPE: Mapping[str, Level] = {
    "recipe.lr": 0.1,
    "recipe.batch_size": 125,
    "recipe.momentum": 0.9,
    "recipe.lr_floor": 1e-4,
    "recipe.moments": "reestimated",
}
"""The settings that the papers keep fixed in all rows."""


@dataclass(frozen=True)
class PrintedNumber:
    """A row of published.csv; NaN is what the source does not state.

    id: of the row. source, where: the paper, and the table or section of it. value: in percent of `metric`, which is
    an error or an accuracy. crops: of each test image. runs: how many it is the mean of; 1 unless the file has a column
    for it, which published.csv has not, as it has none for a spread.
    """

    id: str
    source: str
    where: str
    dataset: str
    augment: str
    depth: float
    width: float
    bits: float
    norm: str | float
    epochs: float
    metric: str
    value: float
    note: str
    crops: str
    runs: int


@dataclass(frozen=True)
class Claim:
    """One printed number, and one cell of trials that match what the source states of it.

    name: the network and the data, for people.
    unit: "error" or "accuracy"; all figures are in percent of it.
    values_pct: (n,), one per seed.
    notes: failed trials, and levels of the cell that the source does not state.
    unmatched: why no trial is matched with it, "not run" or "not stated"; empty where trials are.
    replication: what the values say to the number; None where no trial matches it.
    """

    printed: PrintedNumber
    name: str
    unit: str
    values_pct: Sequence[float] = ()
    run_ids: Sequence[str] = ()
    notes: Sequence[str] = ()
    unmatched: str = ""
    replication: Replication | None = None

    @property
    def claimed_pct(self) -> float:
        return float(self.printed.value)

    @property
    def matched(self) -> bool:
        """Whether the study has a trial for it, done or not."""
        return not self.unmatched

    @property
    def status(self) -> str:
        return self.replication.status if self.replication else self.unmatched


def claims(runs: Runs, published: pd.DataFrame | None = None) -> list[Claim]:
    """Return a claim for every row of published.csv, in its order; several where several cells of the study match it.

    Args:
        runs: the study.
        published: the rows; None for those of published.csv.
    """
    rows = printed() if published is None else published
    columns = rows[[column.name for column in fields(PrintedNumber)]]
    numbers = [PrintedNumber(*values) for values in columns.itertuples(index=False, name=None)]
    every = [claim for number in numbers for claim in _of_number(runs, number)]
    matched = [claim for claim in every if claim.matched]
    judged = iter(replications([Seeds(claim.values_pct, claim.claimed_pct, claim.printed.runs) for claim in matched]))
    return [replace(claim, replication=next(judged)) if claim.matched else claim for claim in every]


def in_full(claims: Sequence[Claim]) -> pd.DataFrame:
    """Return every claim at full precision, with the ids of the runs that its figures rest on."""
    return pd.DataFrame(_in_full(claim) for claim in claims)


def counts(claims: Sequence[Claim]) -> str:
    """Return a line with how many printed numbers have which status, of those with trials; empty without any."""
    words = [claim.status.partition(" (")[0] for claim in claims if claim.matched]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def reproduced(claim: Claim) -> str:
    """Return the mean with its own 95% interval, for people."""
    if not claim.values_pct:
        return formats.ABSENT
    mean, bounds = f"{np.mean(claim.values_pct):.2f}", t_interval(claim.values_pct)
    return f"{mean} ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else mean


def _of_number(runs: Runs, number: PrintedNumber) -> list[Claim]:
    """Return a claim for each cell of the study that matches the number, or one that says why there is none."""
    name = _name(number)
    unit = "accuracy" if number.metric == "top1_acc_pct" else "error"
    needed = ("depth", "width", "bits", "norm", "epochs")
    unstated = [key for key in needed if pd.isna(getattr(number, key))]
    if unstated:
        notes = [f"the source does not say which {', '.join(unstated)}"]
        return [Claim(number, name, unit, notes=notes, unmatched="not stated")]
    trials = _matching(runs.frame, number)
    if trials.empty:
        return [Claim(number, name, unit, unmatched="not run")]
    apart = [key for key in factors(runs) if trials[key].astype(object).map(repr).nunique() > 1]
    return [_claim(number, name, unit, levels, cell) for levels, cell in cells(trials, apart)]


def _claim(number: PrintedNumber, name: str, unit: str, apart: Mapping[str, Level], cell: pd.DataFrame) -> Claim:
    """Return the claim of one cell of trials; `apart` are its levels of the keys that distinguish it from others."""
    metric = "acc_multicrop" if number.crops != "1" else "acc"
    done = cell[(cell["outcome"] == "done") & cell[metric].notna()].sort_values("seed")
    acc_pct = np.round(100 * done[metric].to_numpy(dtype=float), 9)
    values_pct = (acc_pct if unit == "accuracy" else np.round(100 - acc_pct, 9)).tolist()
    others = cell.loc[~cell.index.isin(done.index), "outcome"].replace("done", f"without {metric}").value_counts()
    notes = [f"{count} of {len(cell)} {outcome}" for outcome, count in others.items()]
    notes += [f"{key}={show(level)}" for key, level in apart.items()]
    return Claim(
        number,
        name,
        unit,
        values_pct=values_pct,
        run_ids=done["run_id"].tolist(),
        notes=notes,
    )


def _matching(frame: pd.DataFrame, number: PrintedNumber) -> pd.DataFrame:
    """Return the trials that have what the source states, and the papers' recipe in those keys that the frame has."""
    wanted = _stated(number) | {key: level for key, level in _recipe(number).items() if key in frame}
    matched = pd.Series(True, index=frame.index)
    for key, level in wanted.items():
        column = frame[key] if key in frame else pd.Series(ADDED_LATER.get(key), index=frame.index, dtype=object)
        matched &= column.astype(object).map(partial(eq, level))
    return frame[matched]


def _stated(number: PrintedNumber) -> dict[str, Level]:
    many_crops: dict[str, Level] = {"dataset.multi_crop": True} if number.crops != "1" else {}
    return many_crops | {
        "dataset": number.dataset,
        "dataset.valid_fraction": 0,  # the papers train on the whole training set
        "model.residual": True,
        "depth": number.depth,
        "width": number.width,
        "bits": number.bits,
        "norm": number.norm,
        "recipe.augment": number.augment.replace("-", "_"),
        "recipe.epochs": number.epochs,
    }


def _recipe(number: PrintedNumber) -> dict[str, Level]:
    """Return what follows from the row without being a column of it; for shifted ReLU as in the authors' code."""
    shifted = number.norm == "srelu"
    temperature = re.search(r"temperature (\d+)", str(number.note))
    follows: dict[str, Level] = {
        "model": "resnet_imagenet" if number.dataset == "imagenet" else "wrn",
        "recipe.schedule": "cosine" if shifted else "warm_restarts",
        "recipe.weight_decay": 1e-4 if number.dataset.startswith("imagenet") else 5e-4,
    }
    follows |= {"norm.floor": -1} if shifted else {"norm.eps": 1e-5}
    follows |= {"norm.temperature": int(temperature[1])} if temperature else {}
    return {**RECIPE, **follows}


def _name(number: PrintedNumber) -> str:
    """Return the network and the data in words, as far as the source states them."""
    size = "-".join(formats.shown(value) for value in (number.depth, number.width) if not pd.isna(value))
    bits = "" if pd.isna(number.bits) else "1 bit" if number.bits == 1 else f"{number.bits:g} bits"
    norm = "" if pd.isna(number.norm) else str(number.norm)
    epochs = "" if pd.isna(number.epochs) else f"{number.epochs:g} epochs"
    crops = "" if number.crops == "1" else f"{number.crops} crops"
    augment = "" if number.augment == "none" else number.augment
    return ", ".join(filter(None, (size, bits, norm, number.dataset, augment, epochs, crops)))


def _in_full(claim: Claim) -> dict[str, object]:
    n = len(claim.values_pct)
    low, high = t_interval(claim.values_pct) or (None, None)
    replication = claim.replication or Replication(claim.unmatched)
    run_pct = replication.run_pct or (None, None)
    stated = ("id", "source", "where", *PUBLISHED_FACTORS[1:], "epochs", "metric")
    return {key: getattr(claim.printed, key) for key in stated} | {
        "claimed": claim.claimed_pct,
        "reproduced": float(np.mean(claim.values_pct)) if n else None,
        "low": low,
        "high": high,
        "run_low": run_pct[0],
        "run_high": run_pct[1],
        "p_run": replication.p_run,
        "p_within": replication.p_within,
        "sd": float(np.std(claim.values_pct, ddof=1)) if n > 1 else None,
        "n": n,
        "status": claim.status,
        "notes": "; ".join(claim.notes),
        "runs": " ".join(claim.run_ids),
    }
