"""Tables of margins and accuracies, for people and at full precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase

import pandas as pd

from ablate.core.levels import Level, show
from ablate.stats.arrays import Floats
from ablate.stats.margin import Margin
from ablate.stats.paired import bca_interval
from ablate.stats.superiority import superiority
from analysis.effects.factors import cells, factors, level_positions
from analysis.effects.matched import MarginRow
from analysis.effects.verdict import Verdict, in_words
from analysis.findings import Comparison, Findings
from analysis.formats import ABSENT, p_value, shown
from analysis.sources.measure import Measure
from analysis.sources.runs import Runs

MOST_INTERACTIONS = 20


@dataclass(frozen=True)
class Cell:
    """The trials of one cell of a study.

    outcomes: of all its trials.
    done: labels in the study's frame, of the trials that are done and have an accuracy.
    accuracies: (len(done),) theirs, in [0, 1].
    run_ids: theirs.
    """

    levels: dict[str, Level]
    outcomes: Sequence[str]
    done: Sequence[int]
    accuracies: Floats
    run_ids: Sequence[str]

    @property
    def mean(self) -> float | None:
        """Return the mean accuracy, if any trial is done."""
        return float(self.accuracies.mean()) if len(self.done) else None

    @property
    def sd(self) -> float | None:
        """Return the standard deviation of the accuracy, if two trials are done."""
        return float(self.accuracies.std(ddof=1)) if len(self.done) > 1 else None


def accuracies(runs: Runs) -> pd.DataFrame:
    """Return the accuracy of every cell for people: one row per cell with n, trials not done, mean and sd."""
    measure = runs.measure
    rows = []
    for cell in cells_in_order(runs):
        rows.append(
            {key: shown(level) for key, level in cell.levels.items()}
            | {
                "n": len(cell.done),
                "not done": _not_done(cell),
                measure.of(measure.name, measure.unit): measure.figure(cell.mean),
                "sd": measure.figure(cell.sd),
            }
        )
    return pd.DataFrame(rows)


def accuracies_in_full(runs: Runs) -> pd.DataFrame:
    """Return the accuracy of every cell at full precision with run ids; accuracies are in [0, 1]."""
    return pd.DataFrame(
        cell.levels
        | {
            "n": len(cell.done),
            "planned": len(cell.outcomes),
            "not_done": _not_done(cell),
            "mean_acc": cell.mean,
            "sd_acc": cell.sd,
            "runs": " ".join(cell.run_ids),
        }
        for cell in cells_in_order(runs)
    )


def trials_in_full(runs: Runs) -> pd.DataFrame:
    """Return a row for each trial: its id, levels, seed, outcome, accuracy in [0, 1], run id and code version."""
    columns = ["seed", "outcome", "reason", "acc", "run_id", "code_version"]
    return runs.frame[["trial_id", *factors(runs), *(name for name in columns if name in runs.frame)]]


@lru_cache(maxsize=1)
def cells_in_order(runs: Runs) -> list[Cell]:
    """Return the study's cells in the order of the design.

    Every table of a report needs them, so those of the latest study are cached.
    """
    keys, frame = factors(runs), runs.frame
    if keys:
        frame = frame.sort_values(keys, key=lambda column: level_positions(runs.frame, column))
    in_order = []
    for levels, trials in cells(frame[[*keys, "outcome", "acc", "run_id"]], keys):
        done = trials[(trials["outcome"] == "done") & trials["acc"].notna()]
        in_order.append(
            Cell(levels, list(trials["outcome"]), list(done.index), done["acc"].to_numpy(float), list(done["run_id"]))
        )
    return in_order


def _not_done(cell: Cell) -> str:
    """Return the number of trials of each outcome among those of a cell that are not done."""
    counts = Counter(outcome for outcome in cell.outcomes if outcome != "done")
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def cell_names(runs: Runs) -> pd.Series:
    """Return each trial's cell as a user would type it, in the frame's order."""
    keys = factors(runs)
    names = [
        " ".join(f"{key}={shown(level)}" for key, level in zip(keys, row, strict=True) if not pd.isna(level))
        for row in runs.frame[keys].astype(object).itertuples(index=False)
    ]
    return pd.Series([name or "all trials" for name in names], index=runs.frame.index)


def margins(comparison: Comparison, findings: Findings, name: str = "margin") -> pd.DataFrame:
    """Return the margins of a contrast for people; without a column of verdicts if it has none."""
    measure, first, second = findings.runs.measure, show(comparison.contrast.first), show(comparison.contrast.second)
    in_words_of_each = verdicts(comparison, findings)
    return pd.DataFrame(
        {key: shown(level) for key, level in row.levels.items()}
        | {
            measure.of(first, measure.unit): measure.figure(row.first_acc),
            measure.of(second, measure.unit): measure.figure(row.second_acc),
            measure.of(name, measure.points): measure.margin(row.margin.mean_pp if row.margin else None),
            "95% interval": measure.interval(row.margin.low_pp, row.margin.high_pp) if row.margin else ABSENT,
            "n": n_of(row),
        }
        | ({"verdict": in_words_of_each[index]} if in_words_of_each and not findings.published else {})
        | {"notes": "; ".join(row.notes)}
        for index, row in enumerate(comparison.rows)
    )


def verdicts(comparison: Comparison, findings: Findings) -> list[str]:
    """Return the verdict on each cell in words."""
    first, second = show(comparison.contrast.first), show(comparison.contrast.second)
    return [in_words(verdict, first, second, findings.within) for verdict in comparison.verdicts]


def errors(rows: Sequence[MarginRow], measure: Measure) -> pd.DataFrame:
    """Return the two standard errors of each margin: between seeds, and of the test set."""
    return pd.DataFrame(
        {key: shown(level) for key, level in row.levels.items()}
        | {
            "seeds, se": measure.size(row.margin.seed_se_pp),
            "test set, se": measure.size(row.margin.test_set.se_pp if row.margin.test_set else None),
            "test images": f"{row.margin.test_set.items:,}" if row.margin.test_set else ABSENT,
            "larger": larger_error(row.margin) or ABSENT,
        }
        for row in rows
        if row.margin
    )


def larger_error(margin: Margin) -> str:
    """Return which of the two standard errors is larger; empty if one of them is not known."""
    if margin.seed_se_pp is None or margin.test_set is None:
        return ""
    return "seeds" if margin.seed_se_pp >= margin.test_set.se_pp else "test set"


def margins_in_full(comparisons: Sequence[Comparison], findings: Findings) -> pd.DataFrame:
    """Return the margins of all contrasts at full precision, with the ids of the runs behind them."""
    return pd.DataFrame(
        row.levels
        | {
            "factor": comparison.contrast.factor,
            "first": comparison.contrast.first,
            "second": comparison.contrast.second,
        }
        | numbers(row, lower_is_better=findings.runs.measure.lower_is_better)
        | (judged(comparison.verdicts[index], words[index]) if words else {})
        | {
            "notes": "; ".join(row.notes),
            "code_versions": " ".join(row.versions),
            "first_runs": " ".join(row.first_runs),
            "second_runs": " ".join(row.second_runs),
        }
        for comparison in comparisons
        for words in [verdicts(comparison, findings)]
        for index, row in enumerate(comparison.rows)
    )


def numbers(row: MarginRow, *, lower_is_better: bool) -> dict[str, object]:
    """Return the numbers of a margin at full precision, for a CSV or JSON."""
    margin, wins = row.margin, superiority([*row.by_seed.values()], lower_is_better=lower_is_better)
    bca = bca_interval([*row.by_seed.values()]) or (None, None)
    return {
        "first_acc": row.first_acc,
        "second_acc": row.second_acc,
        "margin_pp": margin.mean_pp if margin else None,
        "low_pp": margin.low_pp if margin else None,
        "high_pp": margin.high_pp if margin else None,
        "sd_pp": margin.sd_pp if margin else None,
        "n": margin.n if margin else 0,
        "planned": row.planned,
        "seed_se_pp": margin.seed_se_pp if margin else None,
        "test_set_se_pp": margin.test_set.se_pp if margin and margin.test_set else None,
        "test_items": margin.test_set.items if margin and margin.test_set else None,
        "p_first_better": wins.probability if wins else None,
        "p_first_better_low": wins.low if wins else None,
        "p_first_better_high": wins.high if wins else None,
        "first_failed": row.failed[0],
        "first_ended": row.ended[0],
        "second_failed": row.failed[1],
        "second_ended": row.ended[1],
        "p_seeds": margin.p_seeds if margin else None,
        "p_difference": margin.p_difference if margin else None,
        "p_equivalence": margin.p_equivalence if margin else None,
        "bca_low_pp": bca[0],
        "bca_high_pp": bca[1],
    }


def judged(verdict: Verdict, words: str) -> dict[str, object]:
    """Return a verdict with its adjusted p values, for a CSV or JSON."""
    return {
        "p_difference_holm": verdict.p_difference,
        "p_equivalence_holm": verdict.p_equivalence,
        "verdict": verdict.word,
        "by_less": verdict.small,
        "both_trained": verdict.both_trained,
        "fewest_more_seeds": verdict.more_seeds.fewest if verdict.more_seeds else None,
        "most_more_seeds": verdict.more_seeds.most if verdict.more_seeds else None,
        "in_words": words,
    }


def effects(comparison: Comparison, findings: Findings) -> pd.DataFrame:
    """Return how the margin depends on the other factors, for people.

    Every pair of levels of one factor has a row; so have the `MOST_INTERACTIONS` interactions of the smallest p values.
    """
    measure = findings.runs.measure
    alone = [effect for effect in comparison.effects if len(effect.difference.pairs) == 1]
    together = [effect for effect in comparison.effects if len(effect.difference.pairs) > 1]
    together = sorted(together, key=lambda effect: 1.0 if effect.p is None else effect.p)[:MOST_INTERACTIONS]
    return pd.DataFrame(
        {
            "factor": effect.difference.moderator,
            "levels": effect.difference.in_words,
            measure.of("margin differs by", measure.points): measure.margin(effect.mean_pp),
            "95% interval": measure.interval(effect.low_pp, effect.high_pp),
            "n": len(effect.difference.by_seed),
            "cells": effect.difference.cells,
            "p (adjusted)": p_value(effect.p),
        }
        for effect in (*alone, *together)
    )


def footnotes(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Replace each note in the table by a letter; return the table and the notes with their letters."""
    notes = [note for note in dict.fromkeys(table.get("notes", ())) if note]
    if not notes:
        return table.drop(columns="notes", errors="ignore"), []
    letters = {note: ascii_lowercase[index % 26] for index, note in enumerate(notes)}
    marked = table.assign(notes=table["notes"].map(lambda note: letters.get(note, "")))
    return marked.rename(columns={"notes": ""}), [f"{letters[note]}: {note}" for note in notes]


def n_of(row: MarginRow) -> str:
    """Return the number of pairs of seeds, and of how many if some are missing.

    A cell that lacks seeds then says so and does not average silently.
    """
    n = row.margin.n if row.margin else 0
    return str(n) if n == row.planned else f"{n} of {row.planned}"
