"""Write a study's margins, tables, figures and rulings on the papers' claims: `python -m analysis.report`."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ablate.cli import app
from ablate.core import folders, urls
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.tracking.artifacts import REPORT_FOLDER
from ablate.tracking.client import connect_to_existing
from ablate.tracking.moved import is_out_of_date
from analysis.effects import contrasts, several
from analysis.findings import Histories, find
from analysis.rendering import page, report_folder, sentences, tables, terminal
from analysis.rendering.margin_list import margin_list
from analysis.sources import kept_margins, others, predictions, published, registered, studies
from analysis.sources.history import history
from analysis.sources.measure import Unit
from analysis.sources.outcomes import with_collapsed
from analysis.sources.runs import Runs

Source = Enum("Source", ["mlflow", "published", "csv"])


@dataclass
class ContrastConfig:
    """What to compare, and the smallest difference of interest in percentage points."""

    factor: Any = None
    levels: Any = None
    equivalence_pp: float | None = None


@dataclass
class TrackConfig:
    """MLflow's tracking address."""

    uri: str = MISSING


@dataclass
class ReportConfig:
    """The root of conf/report.yaml."""

    source: Source = MISSING
    study: Any = None
    path: str | None = None
    metric: str | None = None
    factors: list[str] | None = None
    seed: str = MISSING
    lower_is_better: bool | None = None
    unit: Unit | None = None
    equivalence: float | None = None
    claims: bool | None = None
    collapsed_below: float | None = None
    out: str = MISSING
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    track: TrackConfig = field(default_factory=TrackConfig)


def main() -> None:
    ConfigStore.instance().store(name="report_schema", node=ReportConfig)
    app.main("report", report, sweeps=False)


def report(typed: app.Composed) -> int:
    """Write the requested report, print its tables and its path; return exit status 0.

    Raises:
        UsageError: a value in the command line is not allowed, or there is nothing to report.
    """
    options = _options(app.plain(typed, ReportConfig))
    folders.check_writable("out", options.out, Path(options.out))
    client, runs = _runs(options)
    known = predictions.read(client, runs.frame) if client and runs.ours else {}
    lost = predictions.missing_files(runs.frame) if runs.ours and client else []
    classes = {run_id: predicted.classes for run_id, predicted in known.items()}
    runs = replace(runs, frame=with_collapsed(runs.frame, classes, _collapsed_below(options, runs)))
    typed_bounds = {
        "equivalence_pp": options.equivalence or options.contrast.equivalence_pp,
        "collapsed_below": options.collapsed_below,
    }
    runs = replace(runs, notes=[*runs.notes, *lost, *registered.later(runs, typed_bounds)])
    factor, levels = options.contrast.factor, options.contrast.levels
    chosen = contrasts.choose_contrasts(runs, factor, levels)
    findings = find(
        runs,
        chosen,
        equivalence_pp=_equivalence_pp(options, runs),
        right={run_id: predicted.right for run_id, predicted in known.items()},
        histories=_histories(client, runs) if client and runs.ours else None,
        by_design=factor is None and levels is None,
        on_claims=_on_claims(options, runs),
        hypotheses=registered.hypotheses(runs),
    )
    content, source = _content_options(options, runs), _source_of(options, runs)
    folder = report_folder.of(Path(options.out), runs.study, content, source)
    folders.check_writable("out", options.out, folder)
    folder.mkdir(parents=True, exist_ok=True)
    compared = [comparison.contrast for comparison in findings.comparisons]
    lines, warned = sentences.sentences(findings), sentences.warnings(findings, contrasts.left_out(runs, compared))
    page.write(findings, lines, warned, folder, {"options": content, "source": source})
    copy = report_folder.named(REPORT_FOLDER, content)
    uncopied = _keep_copy(client, runs, folder, copy) if client and runs.parent_run_id else None
    terminal.show(findings, lines, warned)
    if uncopied:
        print(f"MLflow keeps no copy of this report: {uncopied}")  # noqa: T201
    elif client and runs.ours and (line := kept_margins.keep(client, runs.parent_run_id, margin_list(findings))):
        print(line)  # noqa: T201
    print(f"Report: {folder / 'index.html'}")  # noqa: T201
    return 0


def _content_options(options: ReportConfig, runs: Runs) -> dict[str, object]:
    """Return the options that change the report's content, where they are not what the report takes without them."""
    contrast = [*_listed(options.contrast.factor), *_listed(options.contrast.levels)]
    equivalence_pp, below = options.equivalence or options.contrast.equivalence_pp, options.collapsed_below
    other = {
        "path": options.path if options.source is Source.published else None,
        "metric": options.metric if options.factors or options.metric != studies.TEST_ACC else None,
        "factors": options.factors,
        "seed": options.seed if options.seed != "seed" else None,
        "lower_is_better": options.lower_is_better or None,
        "unit": options.unit.name if options.unit else None,
        "contrast": contrast or None,
        "equivalence": None if equivalence_pp == registered.equivalence_pp(runs) else equivalence_pp,
        "collapsed_below": None if below == registered.collapsed_below(runs) else below,
        "claims": None if options.claims == ("paper" in runs.metadata) else options.claims,
    }
    return {key: value for key, value in other.items() if value is not None}


def _listed(typed: Any) -> list[Any]:
    return [] if typed is None else list(typed) if isinstance(typed, list) else [typed]


def _source_of(options: ReportConfig, runs: Runs) -> dict[str, object]:
    """Return what was reported on: addresses of files relative to the reports, so that both can move together."""
    kind, uri, out = options.source.name, options.track.uri, Path(options.out).absolute()
    path = uri.removeprefix(urls.SQLITE) if kind == "mlflow" and uri.startswith(urls.SQLITE) else options.path
    where = uri if kind == "mlflow" else None
    if path is not None:
        where = os.path.relpath(Path(path).absolute(), out)
    # not the joined name: a study may be called a+b
    return {"kind": kind, "study": options.study if isinstance(options.study, list) else runs.study, "where": where}


def _keep_copy(client: Any, runs: Runs, folder: Path, name: str) -> str | None:
    """Keep a copy of the report in MLflow, under a name; return the reason where it cannot be kept."""
    if runs.frame["artifacts"].map(is_out_of_date).any():
        return "the project was moved, and one may not write in its database"
    return studies.keep_copy(client, runs.parent_run_id or "", folder, name)


def _collapsed_below(options: ReportConfig, runs: Runs) -> float | None:
    """Return the accuracy in [0, 1] below which a run counts as failed, as typed or registered; None for near chance.

    Raises:
        UsageError: a limit is typed that is none, or the metric is no share.
    """
    below = options.collapsed_below
    if below is None:
        return registered.collapsed_below(runs)
    if not 0 < below < 1:
        raise UsageError(f"collapsed_below={below:g}: allowed: an accuracy between 0 and 1, as 0.19")
    if not runs.measure.points or runs.measure.lower_is_better:
        raise UsageError(f"collapsed_below={below:g}: {runs.measure.name} is no accuracy; allowed: without it")
    return below


def _equivalence_pp(options: ReportConfig, runs: Runs) -> float:
    """Return the smallest difference of interest: as typed, as the study was run with, or the usual one.

    A metric without a unit has none unless it is typed.
    """
    typed = options.equivalence or options.contrast.equivalence_pp
    return registered.equivalence_pp(runs) if typed is None else typed


def _on_claims(options: ReportConfig, runs: Runs) -> bool:
    """Return whether to rule on the paper's claims: as typed, or where the study is a preset of a paper.

    Raises:
        UsageError: it is asked for of runs that are not ablate's, or of another metric than the test accuracy.
    """
    if options.claims and not runs.ours:
        raise UsageError("claims=true: allowed for the test accuracy of a study that ablate.run made")
    return runs.ours and ("paper" in runs.metadata if options.claims is None else options.claims)


def _options(config: Config) -> ReportConfig:
    contrast = ContrastConfig(**{key.name: config["contrast"][key.name] for key in fields(ContrastConfig)})
    nested = {"source": Source[config["source"]], "contrast": contrast, "track": TrackConfig(config["track"]["uri"])}
    study = config["study"]
    if isinstance(study, list):
        if not study:
            raise UsageError("study=[]: allowed: a name, or names in brackets: [a,b]")
        study = list(map(str, study)) if len(study) > 1 else str(study[0])
    nested |= {"study": study if study is None or isinstance(study, list) else str(study)}
    nested |= {"unit": Unit[config["unit"]] if config["unit"] else None}
    options = ReportConfig(**{**config, **nested})
    if not options.out:
        raise UsageError("out=: allowed: a folder, or a name for a new one")
    typed = {"equivalence": options.equivalence, "contrast.equivalence_pp": contrast.equivalence_pp}
    for key, within in typed.items():
        if within is not None and not (math.isfinite(within) and within > 0):
            raise UsageError(f"{key}={within}: allowed: the smallest difference of interest, above 0")
    if None not in typed.values():
        raise UsageError("equivalence= and contrast.equivalence_pp= are the same; allowed: one of them")
    return options


def _runs(options: ReportConfig) -> tuple[Any, Runs]:
    """Return MLflow's client, None for other sources, and the runs to report on."""
    _check_source(options)
    path, study = options.path, options.study
    if options.source is Source.published:
        return None, published.read(Path(path) if path else published.PUBLISHED)
    if options.source is Source.csv:
        return None, others.from_csv(Path(path or ""), _requested(options))
    client = connect_to_existing(options.track.uri)
    if isinstance(study, list):
        how: dict[str, Any] = {"unit": options.unit, "lower_is_better": bool(options.lower_is_better)}
        by_study = several.STUDY in (options.contrast.factor or ())
        return client, several.read(client, study, options.metric, by_study=by_study, **how)
    if study is None or studies.is_ours(client, study):
        if options.factors:
            raise UsageError(
                f"factors={options.factors}: allowed for runs that ablate did not make; a study has its own factors"
            )
        return client, studies.read(
            client, study, options.metric, unit=options.unit, lower_is_better=bool(options.lower_is_better)
        )
    if not (options.metric and options.factors):
        raise UsageError(f"study={study}: ablate did not make it; it needs {others.what_there_is(client, study)}")
    return client, others.from_mlflow(client, study, _requested(options))


def _check_source(options: ReportConfig) -> None:
    """Raise UsageError if the source takes no such key, or lacks one that it needs."""
    source = options.source.name
    typed = {key: getattr(options, key) for key in ("study", "path", "metric", "factors")}
    taken = {"mlflow": ("study", "metric", "factors"), "published": ("path",), "csv": ("path", "metric", "factors")}
    for key, value in typed.items():
        if value is not None and key not in taken[source]:
            raise UsageError(f"{key}={value}: source={source} takes no {key}; allowed: {', '.join(taken[source])}")
    metric = options.metric or ""
    if options.unit and not metric:
        raise UsageError(f"unit={options.unit.name}: allowed with metric=")
    if options.lower_is_better is None and re.search("loss|err", metric.lower()):
        raise UsageError(f"metric={metric}: is less of it better? allowed: lower_is_better=true or false")
    missing = [key for key in taken["csv"] if not typed[key]] if source == "csv" else []
    if missing:
        raise UsageError(
            f"source=csv needs {', '.join(f'{key}=' for key in missing)}: path=FILE metric=COLUMN factors=[a,b]"
        )


def _requested(options: ReportConfig) -> others.RunsRequest:
    return others.RunsRequest(
        options.metric or "",
        options.factors or [],
        options.seed,
        lower_is_better=bool(options.lower_is_better),
        unit=options.unit,
    )


def _histories(client: Any, runs: Runs) -> Histories:
    """Return the first cells' validation accuracy by epoch, and their test accuracy at restarts.

    Where no training images are set aside for validation, it is the training accuracy.
    """
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
