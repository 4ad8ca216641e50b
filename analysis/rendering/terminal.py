"""Prints a report on the terminal: its margins, its sentences, its rulings on the papers' claims."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from analysis.effects import tuning_budget
from analysis.effects.design_effects import DesignEffects
from analysis.effects.matched import split_constants
from analysis.findings import Comparison, Findings
from analysis.formats import shown
from analysis.paper import claims
from analysis.rendering import design_sentences, design_tables, tables

PIPE_WIDTH = 160
"""Characters in a line of a printed table if the output is not a terminal."""
MOST_ROWS = 60


def show(findings: Findings, lines: Sequence[str], warned: Sequence[str]) -> None:
    """Print the tables, then the sentences, the warnings and the rulings."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    console = Console(width=width, markup=False, emoji=False)  # a level may read as markup: [true, null]
    runs = findings.runs
    if findings.design and findings.design.effects:
        _design(console, findings.design, findings)
    elif not (findings.comparisons or findings.design):
        _say(console, f"study {runs.study}: no factor was swept, so there is no margin")
        _table(console, tables.accuracies(runs), list(runs.frame.columns))
    for comparison in findings.comparisons:
        _margins(console, comparison, findings, "margin")
    for gap in findings.gaps:
        _margins(console, gap, findings, "gap")
    if runs.choices:
        _say(console, f"study {runs.study}, tuning. {tuning_budget.settings_in_words(runs)}")
        _table(console, tuning_budget.spent_shown(runs).head(MOST_ROWS), [*runs.factors, "chosen"])
    numbers = claims.counts(findings.claims)
    rulings = [f"Claim {ruling.number}, {ruling.label}. {ruling.claim}" for ruling in findings.rulings]
    for line in (*lines, *warned, *rulings, *([f"Printed numbers: {numbers}."] if numbers else [])):
        _say(console, line)


def _design(console: Console, design: DesignEffects, findings: Findings) -> None:
    table, notes = tables.footnotes(design_tables.shown(design, findings))
    _say(console, f"study {findings.runs.study}, {design_sentences.title(design, findings)}")
    _table(console, table.head(MOST_ROWS), ["factor", "levels", "aliases"])
    if len(table) > MOST_ROWS:
        _say(console, f"{MOST_ROWS} of {len(table)} effects; the others are in the report's effects.csv.")
    for note in notes:
        _say(console, note)


def _margins(console: Console, comparison: Comparison, findings: Findings, name: str) -> None:
    varied, constants = split_constants(comparison.rows) if len(comparison.rows) > 1 else (comparison.rows, {})
    table, notes = tables.footnotes(tables.margins(replace(comparison, rows=varied), findings, name))
    title = ", ".join([str(comparison.contrast), *(f"{key} {shown(level)}" for key, level in constants.items())])
    _say(console, f"study {findings.runs.study}, {'gap, ' if name == 'gap' else ''}{title}")
    _table(console, table.head(MOST_ROWS), list(findings.runs.frame.columns))
    if len(table) > MOST_ROWS:
        _say(console, f"{MOST_ROWS} of {len(table)} cells; the others are in the report's margins.csv.")
    for note in notes:
        _say(console, note)


def _table(console: Console, shown: pd.DataFrame, words: Collection[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown.columns:
        left = column in (*words, "", "verdict")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in shown.itertuples(index=False):
        table.add_row(*map(str, row))
    console.print(table)


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
