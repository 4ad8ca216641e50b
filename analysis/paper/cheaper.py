"""Claim 3, line by line: what one arm costs beside another, in measured times and in counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.stats.paired import t_interval
from analysis import formats
from analysis.effects.cost_ratios import LINES, Line, Ratios, ratios, shown_ratio
from analysis.effects.matched import MarginRow
from analysis.paper.decisions import Decision, Word, fewer, holm_of, sign_of
from analysis.paper.ruling import evidence

TIMES = "log ratios of times (paired by cell, seed and machine)"


@dataclass(frozen=True)
class LineResult:
    """One cost line for one batch-norm arm: its ratios, the word on it, and the p value; None without a test."""

    line: Line
    arm: str
    ratios: Ratios
    word: Word
    p: float | None = None


def line_results(frame: pd.DataFrame, rows: Mapping[str, Sequence[MarginRow]]) -> list[LineResult]:
    """Return a result for each line and arm with at least one pair of trials.

    Timed lines are tested, with Holm over all of their tests; counts need no test.

    Args:
        frame: one row per trial.
        rows: batch-norm arm -> its margins over shifted ReLU.
    """
    measured = [(line, arm, ratios(frame, of_arm, line)) for line in LINES for arm, of_arm in rows.items()]
    measured = [(line, arm, costs) for line, arm, costs in measured if len(costs.log_by_cell)]
    p_values = iter(holm_of([costs.log_by_seed for line, _, costs in measured if line.timed]))
    results = []
    for line, arm, costs in measured:
        p = next(p_values) if line.timed else None
        word = sign_of(costs.log_by_seed, p) if line.timed else fewer(costs.log_by_cell)
        results.append(LineResult(line, arm, costs, word, p))
    return results


def not_measured(results: Sequence[LineResult]) -> list[str]:
    """Return the names of the lines without a result."""
    measured = {result.line.name for result in results}
    return [line.name for line in LINES if line.name not in measured]


def overall(results: Sequence[LineResult]) -> Word:
    """Return one word for all lines."""
    words = {result.word for result in results}
    if len(words) == 1:
        return words.pop()
    return "in part" if "confirmed" in words else "undecided"


def about(results: Sequence[LineResult]) -> str:
    """Return the names of the lines that the overall word is about; empty if it is about all lines.

    If the word is "in part", they are the lines that are confirmed.
    """
    names = list(dict.fromkeys(result.line.name for result in results))
    if overall(results) == "in part":
        others = {result.line.name for result in results if result.word != "confirmed"}
        return ", ".join(name for name in names if name not in others)
    return "" if len(names) == len(LINES) else ", ".join(names)


def sentence(result: LineResult, shifted: str) -> str:
    """Return the result in words; `shifted` is the name of the arm with shifted ReLU."""
    line, costs = result.line, result.ratios
    if line.timed:
        bounds, n = t_interval(costs.log_by_seed), len(costs.log_by_seed)
        spread = f"{np.exp(bounds[0]):.2f} to {np.exp(bounds[1]):.2f}" if bounds else formats.ABSENT
        bracket = f" ({evidence(spread, n, result.p)})"
        apart = f" Pairs on unlike machines, left out: {costs.apart}." * bool(costs.apart)
    else:
        low, high = np.exp(costs.log_by_cell.min()), np.exp(costs.log_by_cell.max())
        ends = [shown_ratio(end, line) for end in (low, high)]
        bracket = f" ({ends[0]} to {ends[1]} over the cells)" if ends[0] != ends[1] else ""
        apart = ""
    ratio, name = shown_ratio(costs.mean, line), line.name.capitalize()
    return f"{name}: {result.word}; {line.quantity} of {shifted} {ratio} times {result.arm}'s{bracket}.{apart}"


def table(results: Sequence[LineResult]) -> pd.DataFrame:
    """Return a row for each line and arm."""
    rows = []
    for result in results:
        line, costs = result.line, result.ratios
        bounds = t_interval(costs.log_by_seed) if line.timed else None
        rows.append(
            {
                "arm": result.arm,
                "": f"{line.name}: {line.quantity}",
                "srelu over arm": shown_ratio(costs.mean, line),
                "95% interval": f"{np.exp(bounds[0]):.2f} to {np.exp(bounds[1]):.2f}" if bounds else formats.ABSENT,
                "n": len(costs.log_by_seed),
                "cells": len(costs.log_by_cell),
                "p": formats.p_value(result.p) if line.timed else "counted",
                "verdict": result.word,
            }
        )
    return pd.DataFrame(rows)


def decided(results: Sequence[LineResult]) -> Decision:
    """Return the overall word with the p value of each test, from which `ruling.method` names the test."""
    return Decision(overall(results), [result.p for result in results if result.line.timed])
