"""Studies as frames, written by hand."""

from __future__ import annotations

import pandas as pd

from analysis.sources.runs import Runs


def rows(*trials, factors=("norm", "bits"), derived=()):
    """Return Runs of trials given as (levels, seed, acc) or (levels, seed, failure kind); a level may be any column."""
    table = []
    for number, (levels, seed, result) in enumerate(trials):
        failed = isinstance(result, str)
        table.append(
            {"machine": "here", "train_s": float("nan"), "recipe.epochs": 6}
            | levels
            | {
                "seed": seed,
                "outcome": result if failed else "done",
                "reason": "",
                "trial_id": f"t{number}",
                "run_id": f"r{number}",
                "code_version": "1",
                "acc": float("nan") if failed else result,
            }
        )
    return Runs("s", pd.DataFrame(table), list(factors), derived=derived)
