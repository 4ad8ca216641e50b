"""The files of a report: the page, its figures and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader

from ablate import __version__
from analysis import contrasts, tables
from analysis.paper import claims, rulings
from analysis.paper.ruling import Ruling
from analysis.sources.runs import Runs


@dataclass(frozen=True)
class Histories:
    """What the runs of the first cells recorded by epoch.

    labels: run_id -> the cell's name. curves: columns run_id, epoch and value of `metric`. restarts: the same of test
    accuracy where a cycle of the learning rate ended; empty where no run has had two cycles.
    """

    labels: Mapping[str, str]
    metric: str
    curves: pd.DataFrame
    restarts: pd.DataFrame


@dataclass(frozen=True)
class Findings:
    """All that a report tells.

    runs: the study. contrast: what the margins compare; None where nothing varies. rows: the margins. rulings: on the
    paper's claims, where the study has its arms. claims: the printed numbers. histories: None for papers.
    """

    runs: Runs
    contrast: contrasts.Contrast | None
    rows: Sequence[contrasts.MarginRow]
    rulings: Sequence[Ruling] = ()
    claims: Sequence[claims.Claim] = ()
    histories: Histories | None = None


def write(found: Findings, folder: Path) -> None:
    """Fill the folder, which exists: index.html, figures, margins as CSV, Markdown and LaTeX, claims as CSV."""
    runs, contrast, rows = found.runs, found.contrast, found.rows
    varied, constants = contrasts.split_constants(rows) if len(rows) > 1 else (list(rows), {})
    shown = tables.margins_for_people(varied, contrast) if contrast else pd.DataFrame()
    marked, notes = tables.footnotes(shown)
    if contrast and (others := contrasts.left_out(runs, contrast)):
        notes.append(others)
    if contrast:
        tables.margins_in_full(rows, contrast).to_csv(folder / "margins.csv", index=False)
        (folder / "margins.md").write_text(shown.to_markdown(index=False, disable_numparse=True) + "\n")
        (folder / "margins.tex").write_text(_latex(shown))
    if found.claims:
        claims.in_full(found.claims).to_csv(folder / "claims.csv", index=False)
    page = Environment(loader=PackageLoader("analysis"), autoescape=True).get_template("report.html")
    html = page.render(
        study=runs.study,
        contrast=contrast,
        published=runs.parent_run_id is None,
        margins=marked,
        notes=notes,
        constants={key: tables.shown(level) for key, level in constants.items()},
        accuracies=tables.accuracies(runs),
        texts=[*contrasts.factors(runs), *TEXTS],
        figures=_figures(found, varied, folder),
        rulings=found.rulings,
        diverged=rulings.diverged(runs) if found.rulings else "",
        claims=found.claims,
        reproduced=claims.reproduced,
        counts=runs.frame["outcome"].value_counts().to_dict(),
        failures=runs.frame.assign(cell=tables.cell_names(runs))[runs.frame["outcome"] != "done"].to_dict("records"),
        versions=sorted(set(runs.frame["code_version"])),
        release=__version__,
    )
    (folder / "index.html").write_text(html, encoding="utf-8")


TEXTS = ("", "arm", "cell", "factor", "levels")
"""Columns of words beside the factors: they stand on the left."""


def _figures(found: Findings, varied: Sequence[contrasts.MarginRow], folder: Path) -> dict[str, str]:
    """Name -> the SVG's text, of those figures that there is something for; saved in the folder."""
    from analysis import plots

    figures = {}
    if found.contrast and any(row.margin for row in found.rows):
        figures["margins"] = plots.save(plots.margins(varied, found.contrast), folder, "margins")
    if found.histories and len(found.histories.restarts):
        drawn = plots.restarts(found.histories.restarts, found.histories.labels)
        figures["restarts"] = plots.save(drawn, folder, "restarts")
    if found.histories and len(found.histories.curves):
        drawn = plots.curves(found.histories.curves, found.histories.labels, found.histories.metric)
        figures["curves"] = plots.save(drawn, folder, "curves")
    return figures


def _latex(shown: pd.DataFrame) -> str:
    """A table for LaTeX's booktabs package."""
    return (
        shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1).to_latex(hrules=True)
    )
