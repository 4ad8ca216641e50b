"""Writes the files of a report: the page, its figures, its tables and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader

from ablate import __version__
from analysis.effects import tuning_budget
from analysis.effects.design_effects import DesignEffects
from analysis.effects.factors import factors
from analysis.effects.matched import MarginRow, split_constants
from analysis.findings import Comparison, Findings
from analysis.formats import ABSENT, shown, signed
from analysis.paper import claims, replications, rulings
from analysis.rendering import (
    budget_sentences,
    cost_tables,
    design_sentences,
    design_tables,
    level_tables,
    markup,
    provenance,
    report_json,
    tables,
)

MOST_ROWS = 200
"""The most rows that a table has on the page; its CSV has all of them."""

NO_REQUEST: Mapping[str, Mapping[str, object]] = {"options": {}, "source": {}}

TEXTS = ("", "arm", "cell", "factor", "levels", "verdict", "not done", "larger", "chosen", "aliases", "level")
"""Columns of words, beside the factors; they are aligned on the left."""


@dataclass(frozen=True)
class Table:
    """A table for people.

    shown: its rows on the page. traces: the runs behind each row. notes: its footnotes. constants: the factors that do
    not vary in it. left_out: the number of rows that are in its CSV alone.
    """

    shown: pd.DataFrame
    traces: Sequence[str] = ()
    notes: Sequence[str] = ()
    constants: Mapping[str, str] | None = None
    left_out: int = 0


def write(
    findings: Findings,
    lines: Sequence[str],
    warned: Sequence[str],
    folder: Path,
    request: Mapping[str, Mapping[str, object]] = NO_REQUEST,
) -> None:
    """Write page, report.json, figures, and each table as CSV, Markdown and LaTeX into the folder, which exists."""
    from analysis.rendering import plots

    _write_tables(findings, folder)
    runs, made = findings.runs, provenance.record(findings)
    numbers = report_json.as_json(findings, list(lines), list(warned), made=made, request=request)
    (folder / "report.json").write_text(numbers, encoding="utf-8")
    (folder / "provenance.md").write_text(provenance.markdown(made), encoding="utf-8")
    template = Environment(loader=PackageLoader("analysis.rendering"), autoescape=True).get_template("report.html")
    html = template.render(
        study=runs.study,
        findings=findings,
        lines=lines,
        warned=warned,
        design=_design(findings.design, findings) if findings.design and findings.design.effects else None,
        design_title=design_sentences.title(findings.design, findings) if findings.design else "",
        design_base=design_sentences.base_in_words(findings.design, findings) if findings.design else "",
        comparisons=[(comparison, _margins(comparison, findings)) for comparison in findings.comparisons],
        effects=[
            (comparison, tables.effects(comparison, findings))
            for comparison in findings.comparisons
            if comparison.effects
        ],
        by_level=_of_each(level_tables.by_level, findings),
        how_often=_of_each(level_tables.how_often, findings),
        errors=_errors(findings),
        gaps=[(gap, _margins(gap, findings, "gap")) for gap in findings.gaps],
        accuracies=_head(tables.accuracies(runs)),
        training=_head(cost_tables.training(runs)),
        inference=_head(cost_tables.inference(runs)),
        speed=_head(cost_tables.speed(runs)),
        knows_inference="weight_bytes" in runs.frame,
        tuned=_head(tuning_budget.spent_shown(runs)) if runs.choices else None,
        spaces=tuning_budget.settings_in_words(runs),
        budget_assumptions=budget_sentences.assumptions(findings),
        texts=[*factors(runs), *TEXTS],
        figures={drawn.name: drawn for drawn in plots.save_all(findings, folder)},
        failed=rulings.failed(runs) if findings.rulings else "",
        reproduced=claims.reproduced,
        further_run=replications.in_words,
        replication_rules=replications.RULES,
        counts=runs.frame["outcome"].value_counts().to_dict(),
        failures=runs.frame.assign(cell=tables.cell_names(runs))[runs.frame["outcome"] != "done"].to_dict("records"),
        most_rows=MOST_ROWS,
        fixed=provenance.in_a_line(runs),
        made_title=provenance.TITLE,
        made=provenance.parts(made),
        versions=sorted(set(runs.frame["code_version"])),
        release=__version__,
    )
    (folder / "index.html").write_text(html, encoding="utf-8")


def _design(design: DesignEffects, findings: Findings) -> Table:
    marked, notes = tables.footnotes(design_tables.shown(design, findings))
    traces = [_trace_of_effect(row) for row in design_tables.rows_with_names(design)[:MOST_ROWS]]
    return replace(_head(marked), traces=traces, notes=notes)


def _errors(findings: Findings) -> list[tuple[str, Table]]:
    """Return the tables of standard errors of the design's effects and of each contrast, with their titles."""
    design = findings.design
    parts = [("Effects", design_tables.rows_with_names(design))] if design and design.knows_test_set else []
    parts += [
        (str(comparison.contrast), list(comparison.rows))
        for comparison in findings.comparisons
        if comparison.knows_test_set
    ]
    return [(title, _head(tables.errors(rows, findings.runs.measure))) for title, rows in parts]


def _of_each(table: Callable[[Comparison, Findings], pd.DataFrame], findings: Findings) -> list[tuple[str, str, Table]]:
    """Return a table of each contrast, where it has rows, with its title and the ending of its figures' names."""
    comparisons = [] if findings.published else findings.comparisons
    parts = [(index, comparison, table(comparison, findings)) for index, comparison in enumerate(comparisons, 1)]
    return [
        (str(comparison.contrast), f"-{index}" if index > 1 else "", _head(shown))
        for index, comparison, shown in parts
        if len(shown)
    ]


def _margins(comparison: Comparison, findings: Findings, name: str = "margin") -> Table:
    varied, constants = split_constants(comparison.rows) if len(comparison.rows) > 1 else (comparison.rows, {})
    marked, notes = tables.footnotes(tables.margins(replace(comparison, rows=varied), findings, name))
    traces = [_trace(row, comparison) for row in varied[:MOST_ROWS]]
    named = {key: shown(level) for key, level in constants.items()}
    return replace(_head(marked), traces=traces, notes=notes, constants=named)


def _head(table: pd.DataFrame) -> Table:
    return Table(table.head(MOST_ROWS), left_out=max(0, len(table) - MOST_ROWS))


def _trace(row: MarginRow, comparison: Comparison) -> str:
    """Return the data behind a margin: each seed with its difference and its two runs, and the code versions."""
    cell = ", ".join(f"{key} {shown(level)}" for key, level in row.levels.items())
    where = f"{cell}: " if cell else ""
    if not row.margin:
        return where + "; ".join(row.notes)
    first, second = shown(comparison.contrast.first), shown(comparison.contrast.second)
    seeds = [
        f"seed {seed}: {signed(pp)} ({first} {a}, {second} {b})"
        for (seed, pp), a, b in zip(row.by_seed.items(), row.first_runs, row.second_runs, strict=True)
    ]
    return f"{where}n = {row.margin.n}; code {', '.join(row.versions) or ABSENT}; " + "; ".join(seeds)


def _trace_of_effect(row: MarginRow) -> str:
    """Return the data behind an effect: each seed with its estimate, the runs, and the code versions."""
    where = " ".join(map(str, row.levels.values()))
    if not row.margin:
        return f"{where}: " + "; ".join(row.notes)
    seeds = "; ".join(f"seed {seed}: {signed(pp)}" for seed, pp in row.by_seed.items())
    runs = f"{' '.join(row.first_runs)} minus {' '.join(row.second_runs)}"
    return f"{where}: n = {row.margin.n}; code {', '.join(row.versions) or ABSENT}; {seeds}; runs {runs}"


def _write_tables(findings: Findings, folder: Path) -> None:
    """Write each table: at full precision as CSV, for people as Markdown and LaTeX."""
    runs = findings.runs
    if findings.design and findings.design.effects:
        title = design_sentences.title(findings.design, findings)
        titled = [(title, design_tables.shown(findings.design, findings))]
        _write(folder, "effects", design_tables.in_full(findings.design, findings), titled)
    if findings.comparisons:
        parts = [
            (str(comparison.contrast), tables.margins(comparison, findings)) for comparison in findings.comparisons
        ]
        _write(folder, "margins", tables.margins_in_full(findings.comparisons, findings), parts)
    if any(comparison.levels for comparison in findings.comparisons):
        parts = [(str(of.contrast), level_tables.by_level(of, findings)) for of in findings.comparisons if of.levels]
        _write(folder, "levels", level_tables.by_level_in_full(findings.comparisons), parts)
    if findings.gaps:
        parts = [(str(gap.contrast), tables.margins(gap, findings, "gap")) for gap in findings.gaps]
        _write(folder, "gaps", tables.margins_in_full(findings.gaps, findings), parts)
    _write(folder, "accuracies", tables.accuracies_in_full(runs), [("", tables.accuracies(runs))])
    if not findings.published:
        tables.trials_in_full(runs).to_csv(folder / "trials.csv", index=False)
    if cost_tables.have_costs(runs):
        parts = [("Training", cost_tables.training(runs)), ("Inference", cost_tables.inference(runs))]
        parts.append(("Speed of inference", cost_tables.speed(runs)))
        _write(folder, "costs", cost_tables.in_full(runs), [(title, part) for title, part in parts if len(part)])
    if runs.choices and runs.tried is not None:
        _write(folder, "tuning", tuning_budget.spent_in_full(runs), [("", tuning_budget.spent_shown(runs))])
        runs.tried.to_csv(folder / "tuning-tried.csv", index=False)
        tuning_budget.curves_in_full(findings.comparisons).to_csv(folder / "tuning-curves.csv", index=False)
    if findings.claims:
        claims.in_full(findings.claims).to_csv(folder / "claims.csv", index=False)


def _write(folder: Path, name: str, full: pd.DataFrame, parts: Sequence[tuple[str, pd.DataFrame]]) -> None:
    full.to_csv(folder / f"{name}.csv", index=False)
    markdown = [markup.markdown(part, title) for title, part in parts]
    (folder / f"{name}.md").write_text("\n\n".join(markdown) + "\n", encoding="utf-8")
    latex = [markup.latex(part, TEXTS, title) for title, part in parts]
    (folder / f"{name}.tex").write_text("\n".join(latex), encoding="utf-8")
