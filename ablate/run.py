"""Plan, run and track a study: `python -m ablate.run -m norm=bn,srelu bits=1,32`. Knows every room."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from ablate import dispatch
from ablate.cli import app
from ablate.core import provenance, text, urls
from ablate.core.errors import DiskFull, StorageUnavailable, UsageError
from ablate.core.events import Done, Failed
from ablate.core.study import Study
from ablate.driver import interrupts, preflight, tables
from ablate.driver.session import Session
from ablate.driver.trial_source import TrialSource, is_to_do
from ablate.planning import plan, schema
from ablate.store import opening, run_directory
from ablate.tracking import address
from ablate.tracking.tracker import Undelivered

GOES_ON = "Nothing that was done is lost: say the same line again to go on."


def main() -> None:
    schema.register()
    app.main("config", run, sweeps=True)


def run(typed: Any) -> int:
    """Run what was typed, or show it.

    Returns the exit status: 0 all done; 1 a trial failed, or the disk is full; 130 or 143 stopped by a signal.
    """
    planned = typed if isinstance(typed, plan.Plan) else plan.single_trial(typed)
    study, settings = planned.study, planned.settings
    console = Console(file=sys.stdout, soft_wrap=False)
    runs = _runs_folder(settings.runs)
    if settings.track.uri is not None:
        address.check(settings.track.uri)
    store = opening.open_store(settings.storage, runs)
    store.check(writing=settings.mode == "run")
    with opening.unavailable_is_usage_error(store):
        outcomes = store.outcomes(study.trials)
    to_do = [one for one in study.trials if is_to_do(outcomes[one.trial_id], settings.retry)]
    configs = planned.cell_configs if planned.tuning else [one.config for one in to_do]
    recipes, how = [config["recipe"] for config in configs], settings.dispatch
    on_cluster = how.executor == "cluster" and isinstance(typed, plan.Plan)

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for warning in preflight.warnings(recipes, how) if not on_cluster else ():
        say(warning, "yellow")
    if settings.mode == "plan":
        tables.show_plan(console, study, outcomes, to_do, planned.configs, planned.coming, planned.notes)
        return 0
    works = bool(to_do) or planned.is_adaptive
    data = preflight.Data(planned.cell_configs if works else (), on_cluster=on_cluster)
    data.read()
    head = dispatch.let_in(how.address or "") if on_cluster and works else None
    _make(runs, settings.runs)
    stop = interrupts.Stop(store, lambda text: say(text, "yellow"))
    with contextlib.ExitStack() as stack:
        cluster = None
        if head is not None:
            cluster = stack.enter_context(preflight.joined(head, how, store, recipes, data, say))
        agenda = stack.enter_context(TrialSource(planned, store, preflight.slots(how, cluster)))
        session = Session(planned, agenda, stop, console, say, provenance.code_version(), store, cluster)
        try:
            with stop:
                ran, complaint = session.run(single=not isinstance(typed, plan.Plan))
        except KeyboardInterrupt:
            say(f"Stopped now. {GOES_ON}", "yellow")
            return stop.exit_status
        except DiskFull as full:
            say(f"{full}. Free some space. {GOES_ON}", "red")
            return 1
        except StorageUnavailable as away:
            say(f"storage={store.url}: {away}. {GOES_ON}", "red")
            return 1
    study = agenda.final
    outcomes = store.local.outcomes(study.trials)
    if stop.signal is not None:
        ended = outcomes | store.local.outcomes(agenda.study.trials)
        say(f"Stopped: {tables.counts(ended)}. {GOES_ON}", "yellow")
        return stop.exit_status
    _say_how_it_ended(console, say, planned, agenda, study, outcomes)
    if not ran:
        console.print("Nothing to train: every trial had its outcome already.", highlight=False)
    if stop.asked:
        say(f"Stopped at the first failure (fail_fast=true). {GOES_ON}", "yellow")
    _say_what_next(say, planned, outcomes, complaint, session.name)
    whole = not agenda.without and all(isinstance(end, Done) for end in outcomes.values())
    return 0 if whole and not complaint else 1


def _say_how_it_ended(
    console: Console,
    say: Callable[..., None],
    planned: plan.Plan,
    agenda: TrialSource,
    study: Study,
    outcomes: tables.Outcomes,
) -> None:
    tables.show_outcomes(console, study, outcomes)
    if planned.tuning:
        tried = {cell: list(agenda.store.local.outcomes(its).values()) for cell, its in agenda.tried.items()}
        tables.show_tuning(console, study, tried, {c: list(v.items()) for c, v in agenda.chosen.items()}, agenda.edges)
    for cell in agenda.without:
        say(f"{cell}: none of its configurations came through, so there is none to make margins of", "red")


def _runs_folder(typed: str) -> Path:
    if not typed:
        raise UsageError("runs=: allowed: a folder, or a name for a new one")
    runs = Path(typed).absolute()
    standing = next(path for path in (runs, *runs.parents) if path.exists())
    if not standing.is_dir():
        raise UsageError(f"runs={typed}: {standing} is a file; allowed: a folder, or a name for a new one")
    return runs


def _make(runs: Path, typed: str) -> None:
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"runs={typed}: cannot be made: {error.strerror}; allowed: a folder, or a name for a new one"
        ) from error


def _say_what_next(
    say: Callable[..., None],
    planned: plan.Plan,
    outcomes: tables.Outcomes,
    complaint: Undelivered | None,
    experiment: str,
) -> None:
    if complaint is not None:
        say(
            f"MLflow at {planned.settings.track.uri} did not take everything ({complaint}); "
            "nothing is lost: say the same line again to deliver it, "
            f"or python -m ablate.track study={planned.study.name}: {text.counted(complaint.trials, 'trial')}",
            style="red",
        )
    if any(isinstance(end, Failed) and not run_directory.to_go_on(end) for end in outcomes.values()):
        say("To try failed trials again: the same line with retry=failed")
    name = planned.study.name
    if planned.settings.track.uri is None:
        say(f"Next: python -m ablate.track study={name}   python -m analysis.report study={name}   mlflow ui")
    else:
        where = planned.settings.track.uri
        ui = f"{where} in a browser" if where.startswith("http") else "mlflow ui"
        track_it = (
            "" if where == urls.MLFLOW_DEFAULT else " track=server" if _is_the_servers(where) else f" track.uri={where}"
        )
        say(f"Next: python -m analysis.report study={experiment}{track_it}   {ui}")


def _is_the_servers(uri: str) -> bool:
    return uri == os.environ.get("MLFLOW_TRACKING_URI")


if __name__ == "__main__":
    main()
