"""Plan, run and track a study: `python -m ablate.run -m norm=bn,srelu bits=1,32`. Knows every room."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ablate import (
    __version__,
    address,
    catalogue,
    cli,
    dispatch,
    machine,
    plan,
    preview,
    schema,
    stopping,
    store,
    track,
    trial,
)
from ablate.design import Mistake, Trial
from ablate.dispatch import Slot
from ablate.events import Done, Failed, Outcome
from ablate.expected import Expectations
from ablate.progress import Display

STOPPING_PATIENCE_S = 5.0
"""How long an MLflow that is away is waited for when one has asked to stop."""

GOES_ON = "Nothing that was done is lost: say the same line again to go on."


def main() -> None:
    schema.register()
    cli.main("config", run, sweeps=True)


def run(typed: Any) -> int:
    """Run what was typed, or show it.

    Returns the exit status: 0 all done; 1 a trial failed, or the disk is full; 130 or 143 stopped by a signal.
    """
    planned = typed if isinstance(typed, plan.Plan) else plan.one_trial(typed)
    study, settings = planned.study, planned.settings
    console = Console(file=sys.stdout, soft_wrap=False)
    runs = _runs_folder(settings["runs"])
    if settings["track"]["uri"] is not None:
        address.check(settings["track"]["uri"])
    outcomes = {one.trial_id: store.outcome(one, runs) for one in study.trials}
    to_do = [one for one in study.trials if _is_to_do(outcomes[one.trial_id], settings["retry"])]
    for warning in _warnings(to_do, settings["dispatch"]):
        console.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if settings["mode"] == "plan":
        preview.show_plan(console, study, outcomes, to_do, planned.cell_configs)
        return 0
    if to_do:
        by_dataset = {repr(config["dataset"]): config for config in planned.cell_configs}
        for config in by_dataset.values():
            for prepare in schema.hooks(config, "prepare"):
                prepare(config)
    _make(runs, settings["runs"])

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    uri = settings["track"]["uri"]
    catalogue.remember(study, runs, uri and address.absolute(uri), {"code_version": code_version()})
    stop = stopping.Stop(runs, lambda text: say(text, "yellow"))
    try:
        with stop:
            complaint = _run_and_track(planned, to_do, runs, console, stop, single=not isinstance(typed, plan.Plan))
    except KeyboardInterrupt:
        say(f"Stopped now. {GOES_ON}", "yellow")
        return stop.exit_status
    except store.NoSpace as full:
        say(f"{full}. Free some space. {GOES_ON}", "red")
        return 1
    outcomes = {one.trial_id: store.outcome(one, runs) for one in study.trials}
    if stop.signal is not None:
        say(f"Stopped: {preview.counts(outcomes)}. {GOES_ON}", "yellow")
        return stop.exit_status
    preview.show_outcomes(console, study, outcomes)
    if not to_do:
        console.print("Nothing to train: every trial had its outcome already.", highlight=False)
    if stop.asked:
        say(f"Stopped at the first failure (fail_fast=true). {GOES_ON}", "yellow")
    _say_what_next(say, planned, outcomes, complaint)
    return 0 if all(isinstance(end, Done) for end in outcomes.values()) and not complaint else 1


def _run_and_track(
    planned: plan.Plan, to_do: Sequence[Trial], runs: Path, console: Console, stop: stopping.Stop, *, single: bool
) -> track.Undelivered | None:
    """Run the trials, with MLflow and the display following; return what kept MLflow from it, if anything."""
    tracker = _tracker(planned, to_do, runs, console)
    patience_s = 0.0  # Ctrl-C does not wait for an MLflow that is away
    try:
        if to_do:
            events = _events(planned, to_do, runs, stop, single=single)
            with contextlib.closing(events), Display(console, to_do) as display:
                for one, event in events:
                    if tracker:
                        tracker.record(one, event)
                    display.show(one, event)
                    if isinstance(event, Failed) and planned.settings["fail_fast"]:
                        stop.ask()
        patience_s = track.PATIENCE_S if stop.signal is None else STOPPING_PATIENCE_S
    finally:
        complaint = tracker.close(patience_s) if tracker else None
    if isinstance(complaint, Mistake):
        raise complaint
    return complaint


def _tracker(planned: plan.Plan, to_do: Sequence[Trial], runs: Path, console: Console) -> track.Tracker | None:
    uri = planned.settings["track"]["uri"]
    if uri is None:
        return None
    ids = {one.trial_id for one in to_do}
    return track.Tracker(
        uri,
        planned.study,
        runs=runs,
        settled=[one for one in planned.study.trials if one.trial_id not in ids],
        tags={"code_version": code_version()},
        warn=lambda line: console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True),
    )


def _events(
    planned: plan.Plan, to_do: Sequence[Trial], runs: Path, stop: stopping.Stop, *, single: bool
) -> dispatch.TrialEvents:
    """The trials' events, those that are expected to take longest first."""
    how, kept = planned.settings["dispatch"], planned.settings["checkpoint"]
    slot = Slot(how["cpus_per_trial"], how["gpus_per_trial"])
    care = trial.Care(*schema.interval(kept["every"]), kept["keep"], stop.path)
    train = functools.partial(_train, care, planned.settings["cost"])
    if single or how["executor"] == "in_process":
        return dispatch.in_process(train, to_do, runs=runs, slot=slot, stopping=stop.is_asked)
    expected = Expectations(runs)
    config_of = dict(zip(planned.study.cells, planned.cell_configs, strict=True))
    cost_of = {cell: expected.cost(config_of[cell]) for cell in {one.cell for one in to_do}}
    aids = dispatch.Aids(
        data=trial.dataset, warm=trial.warm, bytes_of=lambda one: expected.peak_bytes(config_of[one.cell])
    )
    ordered = sorted(to_do, key=lambda one: -cost_of[one.cell])
    lost = how["max_lost"]
    return dispatch.on_ray(train, ordered, runs=runs, slot=slot, max_lost=lost, stopping=stop.is_asked, aids=aids)


def _train(care: trial.Care, cost: bool, slot: Slot) -> store.Run:
    device = "auto" if slot.gpus is None else "cuda" if slot.gpus else "cpu"
    return functools.partial(trial.run, threads=slot.threads, device=device, care=care, cost=cost)


def _warnings(to_do: Sequence[Trial], how: Mapping[str, Any]) -> list[str]:
    """What to say before trials run here; raises Mistake where this machine cannot run them."""
    if not to_do:
        return []
    machine.check_gpus(how)
    kind = machine.kind_of_device(how)
    recipes = {repr(one.config["recipe"]): one.config["recipe"] for one in to_do}
    told = [machine.check_recipe(recipe, kind) for recipe in recipes.values()]
    return list(dict.fromkeys(warning for warning in told if warning))


def _is_to_do(outcome: Outcome | None, retry: str) -> bool:
    """A failed trial is a result, unless it was only interrupted, or one asks to try again."""
    if isinstance(outcome, Failed):
        return store.to_go_on(outcome, alone=True) or retry == "failed"
    return outcome is None


def _runs_folder(typed: str) -> Path:
    if not typed:
        raise Mistake("runs=: allowed: a folder, or a name for a new one")
    runs = Path(typed).absolute()
    standing = next(path for path in (runs, *runs.parents) if path.exists())
    if not standing.is_dir():
        raise Mistake(f"runs={typed}: {standing} is a file; allowed: a folder, or a name for a new one")
    return runs


def _make(runs: Path, typed: str) -> None:
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(
            f"runs={typed}: cannot be made: {error.strerror}; allowed: a folder, or a name for a new one"
        ) from error


def code_version() -> str:
    """The release, and in a git checkout the commit, marked when files differ from it."""
    package = Path(__file__).resolve().parent
    if not (package.parent / ".git").exists():
        return __version__
    git = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude=*"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    return f"{__version__}+{described.stdout.strip()}" if described.returncode == 0 else __version__


def _say_what_next(
    say: Callable[..., None], planned: plan.Plan, outcomes: preview.Outcomes, complaint: track.Undelivered | None
) -> None:
    if complaint is not None:
        say(
            f"MLflow at {planned.settings['track']['uri']} did not take everything ({complaint}); "
            "nothing is lost: say the same line again to deliver it, "
            f"or python -m ablate.track study={planned.study.name}: {preview.counted(complaint.trials, 'trial')}",
            style="red",
        )
    if any(isinstance(end, Failed) and end.kind != "lost" for end in outcomes.values()):
        say("To try failed trials again: the same line with retry=failed")
    name = planned.study.name
    if planned.settings["track"]["uri"] is None:
        say(f"Next: python -m ablate.track study={name}   python -m analysis.report study={name}   mlflow ui")
    else:
        say(f"Next: python -m analysis.report study={name}   mlflow ui")


if __name__ == "__main__":
    main()
