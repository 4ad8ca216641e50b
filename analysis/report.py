"""Margins, tables, plots of a study, and its word on the papers' claims: `python -m analysis.report`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate.cli import app
from ablate.core.errors import UsageError
from ablate.stats.paired import EQUIVALENCE_PP
from ablate.tracking.client import connect_to_existing
from analysis.effects import contrasts
from analysis.findings import Histories, find
from analysis.rendering import page, sentences, tables, terminal
from analysis.sources import others, predictions, published, studies
from analysis.sources.history import history
from analysis.sources.runs import Runs

Source = Enum("Source", ["mlflow", "published", "csv"])


@dataclass
class ContrastConfig:
    factor: Any = None
    levels: Any = None
    equivalence_pp: float | None = None


@dataclass
class TrackConfig:
    uri: str = MISSING


@dataclass
class ReportConfig:
    """The root of conf/report.yaml."""

    source: Source = MISSING
    study: str | None = None
    path: str | None = None
    metric: str | None = None
    factors: list[str] | None = None
    seed: str = MISSING
    lower_is_better: bool | None = None
    out: str = MISSING
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    track: TrackConfig = field(default_factory=TrackConfig)


def main() -> None:
    ConfigStore.instance().store(name="report_schema", node=ReportConfig)
    app.main("report", report, sweeps=False)


def report(typed: app.Composed) -> int:
    """Write the report that was asked for, print its tables and its path; return exit status 0."""
    config = app.plain(typed, ReportConfig)
    if not config["out"]:
        raise UsageError("out=: allowed: a folder, or a name for a new one")
    equivalence_pp = config["contrast"]["equivalence_pp"]
    if equivalence_pp is not None and not (math.isfinite(equivalence_pp) and equivalence_pp > 0):
        raise UsageError(
            f"contrast.equivalence_pp={equivalence_pp}: allowed: the smallest difference of interest, above 0"
        )
    client, runs = _runs(config)
    equivalence_pp = equivalence_pp or runs.metadata.get("seeds", {}).get("within_pp", EQUIVALENCE_PP)
    factor, levels = config["contrast"]["factor"], config["contrast"]["levels"]
    chosen = contrasts.choose_contrasts(runs, factor, levels)
    findings = find(
        runs,
        chosen,
        equivalence_pp=equivalence_pp,
        right=predictions.right(client, runs.frame) if client and runs.ours else None,
        histories=_histories(client, runs) if client and runs.ours else None,
        by_design=factor is None and levels is None,
    )
    folder = Path(config["out"], re.sub(r"[^\w.+-]", "_", runs.study))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"out={config['out']}: {error.strerror}; allowed: a folder, or a name for a new one"
        ) from error
    compared = [comparison.contrast for comparison in findings.comparisons]
    lines, warned = sentences.sentences(findings), sentences.warnings(findings, contrasts.left_out(runs, compared))
    page.write(findings, lines, warned, folder)
    uncopied = studies.keep_copy(client, runs.parent_run_id, folder) if client and runs.parent_run_id else None
    terminal.show(findings, lines, warned)
    if uncopied:
        print(f"MLflow keeps no copy of this report: {uncopied}")  # noqa: T201
    print(f"Report: {folder / 'index.html'}")  # noqa: T201
    return 0


def _runs(config: Mapping[str, Any]) -> tuple[Any, Runs]:
    source, path = config["source"], config["path"]
    given = [key for key in ("study", "path", "metric", "factors") if config[key] is not None]
    taken = {"mlflow": ("study", "metric", "factors"), "published": ("path",), "csv": ("path", "metric", "factors")}
    for key in given:
        if key not in taken[source]:
            raise UsageError(
                f"{key}={config[key]}: source={source} takes no {key}; allowed: {', '.join(taken[source])}"
            )
    metric = config["metric"] or ""
    if config["lower_is_better"] is None and re.search("loss|err", metric.lower()):
        raise UsageError(f"metric={metric}: say whether less of it is better: allowed: lower_is_better=true or false")
    if source == "published":
        return None, published.read(Path(path) if path else published.PUBLISHED)
    if source == "csv":
        missing = [key for key in taken["csv"] if not config[key]]
        if missing:
            raise UsageError(
                f"source=csv needs {', '.join(f'{key}=' for key in missing)}: path=FILE metric=COLUMN factors=[a,b]"
            )
        return None, others.from_csv(Path(path), _requested(config))
    client = connect_to_existing(config["track"]["uri"])
    study = config["study"]
    if studies.is_ours(client, study):
        if config["factors"]:
            raise UsageError(
                f"factors={config['factors']}: allowed for runs that ablate did not make; a study says its own"
            )
        return client, studies.read(client, study, config["metric"], lower_is_better=bool(config["lower_is_better"]))
    if not (config["metric"] and config["factors"]):
        raise UsageError(f"study={study}: ablate did not make it; it needs {others.what_there_is(client, study)}")
    return client, others.from_mlflow(client, study, _requested(config))


def _requested(config: Mapping[str, Any]) -> others.RunsRequest:
    return others.RunsRequest(config["metric"], config["factors"], config["seed"], bool(config["lower_is_better"]))


def _histories(client: Any, runs: Runs) -> Histories:
    """Of the first cells: validation accuracy (training accuracy where nothing is set aside), and tests at restarts."""
    from analysis.rendering.plots.epochs import MOST_CURVES

    names = tables.cell_names(runs)
    shown = runs.frame[names.isin(list(dict.fromkeys(names))[:MOST_CURVES])]
    labels = dict(zip(shown["run_id"], names[shown.index], strict=True))
    metric, points = "validation accuracy", history(client, shown, "valid_acc")
    if points.empty:
        metric, points = "training accuracy", history(client, shown, "train_acc")
    restarts = history(client, shown[shown["outcome"] == "done"], "restart_test_acc")
    several = restarts["run_id"].value_counts().gt(1).any()
    left_out = names.nunique() - len(set(labels.values()))
    return Histories(labels, metric, points, restarts if several else restarts.iloc[:0], left_out)


if __name__ == "__main__":
    main()
