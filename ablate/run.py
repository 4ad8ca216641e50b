"""Plan, run and track a study: `python -m ablate.run -m norm=bn,srelu bits=1,32`. Knows every room."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ablate import __version__, address, catalogue, cli, dispatch, plan, preview, schema, store, track, trial
from ablate.design import Mistake, Trial
from ablate.dispatch import Slot
from ablate.events import Done, Failed, Outcome
from ablate.progress import Display

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main() -> None:
    schema.register()
    cli.main("config", run, sweeps=True)


def run(typed: Any) -> int:
    """Run what was typed, or show it; return the exit status: 0 all done, 1 any trial failed, 130 interrupted."""
    planned = typed if isinstance(typed, plan.Plan) else plan.one_trial(typed)
    study, settings = planned.study, planned.settings
    console = Console(file=sys.stdout, soft_wrap=False)
    runs = _runs_folder(settings["runs"])
    address.check(settings["track"]["uri"])
    outcomes = {one.trial_id: store.outcome(one, runs) for one in study.trials}
    to_do = [one for one in study.trials if _is_to_do(outcomes[one.trial_id], settings["retry"])]
    if settings["mode"] == "plan":
        preview.show_plan(console, study, outcomes, to_do, planned.cell_configs)
        return 0
    if to_do:
        by_dataset = {repr(config["dataset"]): config for config in planned.cell_configs}
        for config in by_dataset.values():
            for prepare in schema.hooks(config, "prepare"):
                prepare(config)
    _make(runs, settings["runs"])
    catalogue.remember(study, runs, address.absolute(settings["track"]["uri"]), {"code_version": code_version()})
    try:
        complaint = _run_and_track(planned, to_do, runs, console, single=not isinstance(typed, plan.Plan))
    except KeyboardInterrupt:
        console.print("Interrupted; nothing that finished is lost: say the same line again to go on.", style="yellow")
        return INTERRUPTED
    outcomes = {one.trial_id: store.outcome(one, runs) for one in study.trials}
    preview.show_outcomes(console, study, outcomes)
    if not to_do:
        console.print("Nothing to train: every trial had its outcome already.", highlight=False)
    _say_what_next(console, planned, outcomes, complaint)
    return 0 if all(isinstance(end, Done) for end in outcomes.values()) and not complaint else 1


def _run_and_track(
    planned: plan.Plan, to_do: Sequence[Trial], runs: Path, console: Console, *, single: bool
) -> track.Undelivered | None:
    """Run the trials, with MLflow and the display following; return what kept MLflow from it, if anything."""
    ids = {one.trial_id for one in to_do}
    tracker = track.Tracker(
        planned.settings["track"]["uri"],
        planned.study,
        runs=runs,
        settled=[one for one in planned.study.trials if one.trial_id not in ids],
        tags={"code_version": code_version()},
        warn=lambda line: console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True),
    )
    patience_s = 0.0  # Ctrl-C does not wait for an MLflow that is away
    try:
        if to_do:
            events = _events(planned.settings["dispatch"], to_do, runs, single=single)
            with contextlib.closing(events), Display(console, to_do) as display:
                for one, event in events:
                    tracker.record(one, event)
                    display.show(one, event)
        patience_s = track.PATIENCE_S
    finally:
        complaint = tracker.close(patience_s)
    if isinstance(complaint, Mistake):
        raise complaint
    return complaint


def _events(settings: dict[str, Any], to_do: Sequence[Trial], runs: Path, *, single: bool) -> dispatch.TrialEvents:
    slot = Slot(settings["cpus_per_trial"], settings["gpus_per_trial"])
    if single or settings["executor"] == "in_process":
        return dispatch.in_process(_train, to_do, runs=runs, slot=slot)
    return dispatch.on_ray(_train, to_do, runs=runs, slot=slot, max_lost=settings["max_lost"])


def _train(slot: Slot) -> store.Run:
    device = "auto" if slot.gpus is None else "cuda" if slot.gpus else "cpu"
    return functools.partial(trial.run, threads=slot.threads, device=device)


def _is_to_do(outcome: Outcome | None, retry: str) -> bool:
    """A lost trial is only interrupted; a failed one is a result, unless one asks to try again."""
    if isinstance(outcome, Failed):
        return outcome.kind == "lost" or retry == "failed"
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
    console: Console, planned: plan.Plan, outcomes: preview.Outcomes, complaint: track.Undelivered | None
) -> None:
    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    if complaint is not None:
        say(
            f"MLflow at {planned.settings['track']['uri']} did not take everything ({complaint}); "
            "nothing is lost: say the same line again to deliver it, "
            f"or python -m ablate.track study={planned.study.name}: {preview.counted(complaint.trials, 'trial')}",
            style="red",
        )
    if any(isinstance(end, Failed) and end.kind != "lost" for end in outcomes.values()):
        say("To try failed trials again: the same line with retry=failed")
    say(f"Next: python -m analysis.report study={planned.study.name}   mlflow ui")


if __name__ == "__main__":
    main()
