"""Margins, tables and plots of a study: `python -m analysis.report`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.config_store import ConfigStore
from jinja2 import Environment, PackageLoader
from omegaconf import MISSING
from rich import box
from rich.console import Console
from rich.table import Table

from ablate import __version__, cli
from ablate.design import Mistake
from analysis import contrasts, load, tables

PIPE_WIDTH = 160
"""Columns of a printed table that no terminal bounds."""

Source = Enum("Source", ["mlflow", "published"])


@dataclass
class ContrastConfig:
    factor: str | None = None
    levels: list[Any] | None = None


@dataclass
class TrackConfig:
    uri: str = MISSING


@dataclass
class ReportConfig:
    """The root of conf/report.yaml."""

    source: Source = MISSING
    study: str | None = None
    path: str | None = None
    out: str = MISSING
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    track: TrackConfig = field(default_factory=TrackConfig)


def main() -> None:
    ConfigStore.instance().store(name="report_schema", node=ReportConfig)
    cli.main("report", report, sweeps=False)


def report(typed: cli.Composed) -> int:
    """Write the report that was asked for, print its table and its path; return exit status 0."""
    config = cli.plain(typed, ReportConfig)
    if not config["out"]:
        raise Mistake("out=: allowed: a folder, or a name for a new one")
    client, runs = _runs(config)
    contrast = contrasts.choose_contrast(runs, config["contrast"]["factor"], config["contrast"]["levels"])
    rows = contrasts.margins(runs, contrast) if contrast else []
    if client is None:  # what a paper printed for one arm alone is no margin
        rows = [row for row in rows if row.margin]
        if not rows:
            raise Mistake(f"source=published, contrast {contrast}: no two numbers differ in that alone")
    folder = Path(config["out"], re.sub(r"[^\w.+-]", "_", runs.study))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"out={config['out']}: {error.strerror}; allowed: a folder, or a name for a new one") from error
    write(runs, contrast, rows, folder, _curves(client, runs) if client else None)
    if client and runs.parent_run_id:
        client.log_artifacts(runs.parent_run_id, str(folder), "report")
    _print(runs, contrast, rows)
    print(f"Report: {folder / 'index.html'}")  # noqa: T201
    return 0


def write(
    runs: load.Runs,
    contrast: contrasts.Contrast | None,
    rows: Sequence[contrasts.MarginRow],
    folder: Path,
    curves: tuple[pd.DataFrame, Mapping[str, str], str] | None = None,
) -> None:
    """Fill the folder: index.html, figures, and the margins as CSV, Markdown and LaTeX.

    Args:
        runs: the study.
        contrast: what the margins compare; None for a study in which nothing varies.
        rows: the margins.
        folder: where to; it exists.
        curves: what `plots.curves` takes; None for a study without learning curves.
    """
    from analysis import plots

    figures = {}
    varied, constants = contrasts.split_constants(rows) if len(rows) > 1 else (list(rows), {})
    if any(row.margin for row in rows) and contrast:
        figures["Margins"] = plots.save(plots.margins(varied, contrast), folder, "margins")
    if curves and len(curves[0]):
        figures["Learning curves"] = plots.save(plots.curves(*curves), folder, "curves")
    shown = tables.margins_for_people(varied, contrast) if contrast else pd.DataFrame()
    marked, notes = tables.footnotes(shown)
    if contrast and (others := contrasts.left_out(runs, contrast)):
        notes.append(others)
    if contrast:
        tables.margins_in_full(rows, contrast).to_csv(folder / "margins.csv", index=False)
        (folder / "margins.md").write_text(shown.to_markdown(index=False, disable_numparse=True) + "\n")
        (folder / "margins.tex").write_text(_latex(shown))
    page = Environment(loader=PackageLoader("analysis"), autoescape=True).get_template("report.html")
    html = page.render(
        study=runs.study,
        contrast=contrast,
        published=runs.parent_run_id is None,
        margins=marked,
        notes=notes,
        constants={key: tables.shown(level) for key, level in constants.items()},
        accuracies=tables.accuracies(runs),
        texts=[*contrasts.factors(runs), ""],
        figures=figures,
        counts=runs.frame["outcome"].value_counts().to_dict(),
        failures=runs.frame.assign(cell=tables.cell_names(runs))[runs.frame["outcome"] != "done"].to_dict("records"),
        versions=sorted(set(runs.frame["code_version"])),
        release=__version__,
    )
    (folder / "index.html").write_text(html, encoding="utf-8")


def _runs(config: Mapping[str, Any]) -> tuple[Any, load.Runs]:
    if config["source"] == "published":
        if config["study"] is not None:
            raise Mistake(f"study={config['study']}: source=published has no studies; allowed: null")
        return None, load.from_published(Path(config["path"]) if config["path"] else load.PUBLISHED)
    if config["path"] is not None:
        raise Mistake(f"path={config['path']}: allowed with source=published only")
    client = load.client(config["track"]["uri"])
    return client, load.from_mlflow(client, config["study"])


def _curves(client: Any, runs: load.Runs) -> tuple[pd.DataFrame, dict[str, str], str]:
    """Validation accuracy by epoch (training accuracy where nothing is set aside) of the first cells."""
    from analysis.plots import MOST_CURVES

    names = tables.cell_names(runs)
    shown = runs.frame[names.isin(list(dict.fromkeys(names))[:MOST_CURVES])]
    labels = dict(zip(shown["run_id"], names[shown.index], strict=True))
    history = load.history(client, shown, "valid_acc")
    if len(history):
        return history, labels, "validation accuracy"
    return load.history(client, shown, "train_acc"), labels, "training accuracy"


def _latex(shown: pd.DataFrame) -> str:
    """A table for LaTeX's booktabs package."""
    return (
        shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1).to_latex(hrules=True)
    )


def _print(runs: load.Runs, contrast: contrasts.Contrast | None, rows: Sequence[contrasts.MarginRow]) -> None:
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)
    notes: list[str] = []
    if contrast is None:
        title, shown = "no factor was swept, so there is no margin", tables.accuracies(runs)
    else:
        varied, constants = contrasts.split_constants(rows) if len(rows) > 1 else (rows, {})
        shown, notes = tables.footnotes(tables.margins_for_people(varied, contrast))
        notes.append(contrasts.left_out(runs, contrast))
        title = ", ".join([str(contrast), *(f"{key} {tables.shown(level)}" for key, level in constants.items())])
    console.print(
        f"study {runs.study}{': ' if contrast is None else ', '}{title}", highlight=False, markup=False, soft_wrap=True
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown.columns:
        left = column in (*runs.frame.columns, "")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in shown.itertuples(index=False):
        table.add_row(*map(str, row))
    console.print(table)
    for note in filter(None, notes):
        console.print(note, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
