"""Claim 3, line by line: what one arm costs beside another, by the clock and by counts."""

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
class Found:
    """One line for one batch-norm arm: the word on it, and the p value where there was a test."""

    line: Line
    arm: str
    ratios: Ratios
    word: Word
    p: float | None = None


def found(frame: pd.DataFrame, rows: Mapping[str, Sequence[MarginRow]]) -> list[Found]:
    """Every line that has a pair, for each arm; the timed ones tested, with Holm over all of them."""
    held = [(line, arm, ratios(frame, its, line)) for line in LINES for arm, its in rows.items()]
    held = [one for one in held if len(one[2].log_by_cell)]
    tested = iter(holm_of([its.log_by_seed for line, _, its in held if line.timed]))
    told = []
    for line, arm, its in held:
        p = next(tested) if line.timed else None
        word = sign_of(its.log_by_seed, p) if line.timed else fewer(its.log_by_cell)
        told.append(Found(line, arm, its, word, p))
    return told


def overall(lines: Sequence[Found]) -> Word:
    """One word for all lines."""
    words = {one.word for one in lines}
    if len(words) == 1:
        return words.pop()
    return "in part" if "confirmed" in words else "undecided"


def about(lines: Sequence[Found]) -> str:
    """The lines that the word is about, where those are not all; or with "in part", those that are confirmed."""
    names = list(dict.fromkeys(one.line.name for one in lines))
    if overall(lines) == "in part":
        others = {one.line.name for one in lines if one.word != "confirmed"}
        return ", ".join(name for name in names if name not in others)
    return "" if len(names) == len(LINES) else ", ".join(names)


def sentence(one: Found, shifted: str) -> str:
    """What was found, in words."""
    its = one.ratios
    if one.line.timed:
        bounds, n = t_interval(its.log_by_seed), len(its.log_by_seed)
        spread = f"{np.exp(bounds[0]):.2f} to {np.exp(bounds[1]):.2f}" if bounds else formats.ABSENT
        bracket = f" ({evidence(spread, n, one.p)})"
        apart = f" Pairs on unlike machines, left out: {its.apart}." * bool(its.apart)
    else:
        low, high = np.exp(its.log_by_cell.min()), np.exp(its.log_by_cell.max())
        ends = [shown_ratio(end, one.line) for end in (low, high)]
        bracket = f" ({ends[0]} to {ends[1]} over the cells)" if ends[0] != ends[1] else ""
        apart = ""
    ratio, name = shown_ratio(its.mean, one.line), one.line.name.capitalize()
    return f"{name}: {one.word}; {one.line.quantity} of {shifted} {ratio} times {one.arm}'s{bracket}.{apart}"


def table(lines: Sequence[Found]) -> pd.DataFrame:
    """A row for each line and arm."""
    rows = []
    for one in lines:
        bounds = t_interval(one.ratios.log_by_seed) if one.line.timed else None
        rows.append(
            {
                "arm": one.arm,
                "": f"{one.line.name}: {one.line.quantity}",
                "srelu over arm": shown_ratio(one.ratios.mean, one.line),
                "95% interval": f"{np.exp(bounds[0]):.2f} to {np.exp(bounds[1]):.2f}" if bounds else formats.ABSENT,
                "n": len(one.ratios.log_by_seed),
                "cells": len(one.ratios.log_by_cell),
                "p": formats.p_value(one.p) if one.line.timed else "counted",
                "verdict": one.word,
            }
        )
    return pd.DataFrame(rows)


def decided(lines: Sequence[Found]) -> Decision:
    """For the words on the method."""
    return Decision(overall(lines), [one.p for one in lines if one.line.timed])
