"""Margins, tables, plots of a study, and its word on the papers' claims: `python -m analysis.report`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING
from rich import box
from rich.console import Console
from rich.table import Table

from ablate import cli
from ablate.design import Mistake
from analysis import contrasts, page, tables
from analysis.paper import claims, rulings
from analysis.sources import published, studies
from analysis.sources.history import history
from analysis.sources.runs import Runs

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
    found = page.Findings(runs, contrast, rows)
    if client:
        found = replace(
            found,
            rulings=rulings.rulings(runs),
            claims=claims.claims(runs),
            histories=_histories(client, runs),
        )
    page.write(found, folder)
    if client and runs.parent_run_id:
        client.log_artifacts(runs.parent_run_id, str(folder), "report")
    _print(found)
    print(f"Report: {folder / 'index.html'}")  # noqa: T201
    return 0


def _runs(config: Mapping[str, Any]) -> tuple[Any, Runs]:
    if config["source"] == "published":
        if config["study"] is not None:
            raise Mistake(f"study={config['study']}: source=published has no studies; allowed: null")
        return None, published.read(Path(config["path"]) if config["path"] else published.PUBLISHED)
    if config["path"] is not None:
        raise Mistake(f"path={config['path']}: allowed with source=published only")
    client = studies.client(config["track"]["uri"])
    return client, studies.read(client, config["study"])


def _histories(client: Any, runs: Runs) -> page.Histories:
    """Of the first cells: validation accuracy (training accuracy where nothing is set aside), and tests at restarts."""
    from analysis.plots import MOST_CURVES

    names = tables.cell_names(runs)
    shown = runs.frame[names.isin(list(dict.fromkeys(names))[:MOST_CURVES])]
    labels = dict(zip(shown["run_id"], names[shown.index], strict=True))
    metric, points = "validation accuracy", history(client, shown, "valid_acc")
    if points.empty:
        metric, points = "training accuracy", history(client, shown, "train_acc")
    restarts = history(client, shown[shown["outcome"] == "done"], "restart_test_acc")
    several = restarts["run_id"].value_counts().gt(1).any()
    return page.Histories(labels, metric, points, restarts if several else restarts.iloc[:0])


def _print(found: page.Findings) -> None:
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)
    runs, contrast, rows = found.runs, found.contrast, found.rows
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
    numbers = claims.counts(found.claims)
    ruling_lines = [f"Claim {one.number}, {one.label}. {one.claim}" for one in found.rulings]
    for line in filter(None, [*notes, *ruling_lines, f"Printed numbers: {numbers}." if numbers else ""]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
