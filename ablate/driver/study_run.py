"""One run of a planned study, as `ablate.run` does it: check, run, show how it ended, say what to type next."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate import dispatch
from ablate.core import databases, folders, invocation, urls
from ablate.core.config import Config
from ablate.core.errors import DiskFull, StorageUnavailable, UsageError
from ablate.core.events import Done, Failed
from ablate.core.study import Trial
from ablate.core.text import counted
from ablate.driver import earlier_code, interrupts, origin, preflight, question, refusals, tables
from ablate.driver.session import Session, SessionResult
from ablate.driver.terminal import Terminal
from ablate.driver.trial_source import TrialSource, is_to_do
from ablate.planning import detectable
from ablate.planning.estimates import Expectations
from ablate.planning.plan import Plan
from ablate.store import opening, run_directory, study_lock
from ablate.store.run_store import RunStore
from ablate.tracking import address

GOES_ON = "Nothing that was done is lost: say the same line again to go on."


def run_study(planned: Plan, *, single: bool) -> int:
    """Run a study, or with mode=plan show what would run; return the exit status.

    The status is 0 when all trials are done; 1 when a trial failed, the disk is full or MLflow did not take everything;
    130 or 143 when a signal stopped it.

    Args:
        planned: the study and its settings.
        single: whether it is the one trial of a line without -m, which runs in this process.

    Raises:
        UsageError: something does not hold that trials need; nothing was started.
    """
    terminal = Terminal()
    planned, checked = _check(planned, single=single)
    for warning in checked.warnings:
        terminal.warn(warning)
    if planned.settings.mode == "plan":
        expectations = Expectations(Path(planned.settings.runs).absolute())
        tables.show_plan(
            terminal.console,
            planned.study,
            checked.outcomes,
            checked.to_do,
            planned.configs,
            planned.coming,
            [*planned.notes, *([] if single else detectable.notes(planned, expectations))],
            expectations,
        )
        for line in refusals.of_run(planned, checked.store, checked.to_do, on_cluster=checked.on_cluster):
            terminal.fail(f"The run would refuse this: {line}")
        return 0
    return _run(planned, checked, terminal, single=single)


@dataclass(frozen=True)
class _CheckedStudy:
    """A study whose settings were checked.

    Attributes:
        store: its run directories.
        outcomes: trial_id -> how the trial's last attempt ended.
        to_do: the trials that are to run, of those known so far.
        recipes: the recipes of the trials that are to run.
        on_cluster: whether trials run on the machines of a cluster.
        warnings: what the user should know before trials run on this machine.
    """

    store: RunStore
    outcomes: tables.Outcomes
    to_do: Sequence[Trial]
    recipes: Sequence[Config]
    on_cluster: bool
    warnings: Sequence[str]


def _check(planned: Plan, *, single: bool) -> tuple[Plan, _CheckedStudy]:
    """Check the addresses, the store and this machine; return the plan, with code=any of the trials that are done.

    Raises:
        UsageError: something cannot work.
    """
    settings = planned.settings
    store = _open_store(planned)
    with opening.unavailable_is_usage_error(store):
        outcomes: tables.Outcomes = store.outcomes(planned.study.trials)
        planned, outcomes, notes = _with_earlier_code(planned, outcomes, store)
    question.refuse_another(planned, store.runs)
    if left_out := question.still_left_out(planned, store.runs) if single else question.left_out(planned, store):
        study = dataclasses.replace(planned.study, metadata={**planned.study.metadata, "left_out": left_out})
        planned = dataclasses.replace(planned, study=study)
        notes = notes if single else [*notes, question.left_out_in_words(left_out)]
    to_do = [trial for trial in planned.study.trials if is_to_do(outcomes[trial.trial_id], settings.retry)]
    if settings.mode == "run":
        preflight.check_owner(planned, [trial.trial_id for trial in to_do], store.runs)
    configs = planned.cell_configs if planned.tuning else [trial.config for trial in to_do]
    recipes = [config["recipe"] for config in configs]
    on_cluster = settings.dispatch.executor == "cluster" and not single
    warnings = [] if on_cluster else preflight.warnings(recipes, settings.dispatch)
    if recipes and settings.dispatch.executor == "ray" and not single:
        dispatch.check_here(preflight.slot(settings.dispatch))
    return planned, _CheckedStudy(store, outcomes, to_do, recipes, on_cluster, [*warnings, *notes])


def _with_earlier_code(
    planned: Plan, outcomes: tables.Outcomes, store: RunStore
) -> tuple[Plan, tables.Outcomes, list[str]]:
    """Return the plan, the outcomes of its trials, and a line that tells of trials that are done with earlier code.

    With code=any the plan has those trials, in place of its own, and there is no line.

    Raises:
        UsageError: code=any, where trials come from results.
    """
    takes_any, trials = planned.settings.code == "any", list(planned.study.trials)
    if takes_any and planned.is_adaptive:
        raise UsageError("code=any: with tune, and with seeds=auto, trials come from results; allowed: code=current")
    earlier = earlier_code.done_before([t for t in trials if not isinstance(outcomes[t.trial_id], Done)], store)
    notes = [earlier_code.note(trials, earlier)] if earlier and not takes_any else []
    if takes_any:
        trials = earlier_code.taken_over(trials, earlier)
        outcomes = {**outcomes, **store.outcomes(earlier.values())}
    used = earlier_code.in_use([trial.config for trial in trials] if takes_any else planned.cell_configs)
    metadata = {**planned.study.metadata, **({"code": used} if used else {})}
    study = dataclasses.replace(planned.study, trials=trials, metadata=metadata)
    return dataclasses.replace(planned, study=study), outcomes, notes


def _open_store(planned: Plan) -> RunStore:
    settings = planned.settings
    writing = settings.mode == "run"
    runs = _runs_folder(settings.runs, writing=writing)
    databases.check_apart(planned.tuning.storage if planned.tuning else None, settings.track.uri)
    if settings.track.uri is not None:
        address.check(settings.track.uri, writing=writing)
    store = opening.open_store(settings.storage, runs)
    store.check(writing=writing)
    return store


def _run(planned: Plan, checked: _CheckedStudy, terminal: Terminal, *, single: bool) -> int:
    """Run what is to do, and say how it ended; return the exit status."""
    settings, store = planned.settings, checked.store
    has_work = bool(checked.to_do) or planned.is_adaptive
    data = preflight.Data(planned.cell_configs if has_work else (), on_cluster=checked.on_cluster)
    data.read()
    head = dispatch.check_access(settings.dispatch.address or "") if checked.on_cluster and has_work else None
    _make_folder(store.runs, settings.runs)
    earlier_code.keep(checked.to_do, store.runs)
    planned = origin.recorded(planned, store.runs)
    stop = interrupts.Stop(store, terminal.warn)
    with contextlib.ExitStack() as stack:
        stack.enter_context(study_lock.shared(planned.study.name, store.runs))
        cluster = None
        if head is not None:
            joined = preflight.joined(head, settings.dispatch, store, checked.recipes, data, terminal.warn)
            cluster = stack.enter_context(joined)
        slots = preflight.slots(settings.dispatch, cluster)
        source = stack.enter_context(TrialSource(planned, store, slots))
        session = Session(planned, source, stop, terminal, store, cluster)
        try:
            with stop:
                result = session.run(single=single)
        except KeyboardInterrupt:
            terminal.warn(f"Stopped now. {GOES_ON}")
            return stop.exit_status
        except DiskFull as full:
            terminal.fail(f"{full}. Free some space. {GOES_ON}")
            return 1
        except StorageUnavailable as unavailable:
            terminal.fail(f"storage={store.url}: {unavailable}. {GOES_ON}")
            return 1
    return _conclude(planned, source, stop, result, terminal)


def _conclude(
    planned: Plan, source: TrialSource, stop: interrupts.Stop, result: SessionResult, terminal: Terminal
) -> int:
    """Say how the study ended and what to type next; return the exit status."""
    local = source.store.local
    study = source.final
    outcomes = local.outcomes(study.trials)
    if stop.signal is not None:
        terminal.warn(f"Stopped: {tables.counts(outcomes | local.outcomes(source.study.trials))}. {GOES_ON}")
        return stop.exit_status
    tables.show_outcomes(terminal.console, study, outcomes, lambda trial_id: _text_log(source.store, trial_id))
    if planned.tuning:
        tried = {search: list(local.outcomes(trials).values()) for search, trials in source.tried.items()}
        tables.show_tuning(terminal.console, study, tried, source.chosen, source.edges)
    for cell, number in source.without:
        of_search = f", search {number + 1}" if planned.tuning and planned.tuning.searches > 1 else ""
        terminal.fail(
            f"{cell}{of_search}: none of its configurations came through, so there is none to make margins of"
        )
    if not result.has_run:
        terminal.console.print("Nothing to train: every trial had its outcome already.", highlight=False)
    if stop.is_requested:
        terminal.line(f"Stopped at the first failure (fail_fast=true). {GOES_ON}")
    _say_what_next(planned, outcomes, result, terminal)
    is_whole = not source.without and all(isinstance(outcome, Done) for outcome in outcomes.values())
    return 0 if is_whole and not result.undelivered else 1


def _text_log(store: RunStore, trial_id: str) -> Path | None:
    """Return the text log of a trial; of an object store that does not answer, what is here."""
    try:
        return store.text_log(trial_id)
    except StorageUnavailable:
        return store.local.text_log(trial_id)


def _say_what_next(planned: Plan, outcomes: tables.Outcomes, result: SessionResult, terminal: Terminal) -> None:
    name, uri = planned.study.name, planned.settings.track.uri
    if result.undelivered is not None:
        terminal.fail(
            f"MLflow at {uri} did not take everything ({result.undelivered}); "
            "nothing is lost: say the same line again to deliver it, "
            f"or {invocation.command('track')} study={name}: {counted(result.undelivered.trials, 'trial')}"
        )
    if any(isinstance(outcome, Failed) and not run_directory.to_go_on(outcome) for outcome in outcomes.values()):
        terminal.line("To try failed trials again: the same line with retry=failed")
    report, track = invocation.command("report"), invocation.command("track")
    if uri is None:
        terminal.line(f"Next: {track} study={name}   {report} study={name}   mlflow ui")
        return
    ui = f"{uri} in a browser" if uri.startswith("http") else "mlflow ui"
    terminal.line(f"Next: {report} study={result.experiment}{_track_words(uri)}   {ui}")
    if result.page and (uri.startswith("http") or uri == urls.MLFLOW_DEFAULT):
        terminal.line(f"In MLflow: {result.page}")


def _track_words(uri: str) -> str:
    """Return what the report's line needs beside the study's name, to look where the study was tracked."""
    if uri == urls.MLFLOW_DEFAULT:
        return ""
    return " track=server" if uri == os.environ.get("MLFLOW_TRACKING_URI") else f" track.uri={uri}"


def _runs_folder(typed: str, *, writing: bool) -> Path:
    if not typed:
        raise UsageError("runs=: allowed: a folder, or a name for a new one")
    runs = Path(typed).absolute()
    if writing or runs.is_file():
        folders.check_writable("runs", typed, runs)
    return runs


def _make_folder(runs: Path, typed: str) -> None:
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"runs={typed}: cannot be made: {error.strerror}; allowed: a folder, or a name for a new one"
        ) from error
