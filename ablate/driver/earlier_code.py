"""Trials that are done with earlier code of a user's own parts, and the code of those that run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ablate.core.config import Config
from ablate.core.events import Done
from ablate.core.identity import CODE, flatten, trial_id, without_code
from ablate.core.study import Trial
from ablate.core.text import counted
from ablate.planning import own_code
from ablate.planning.parts import GROUPS_WITH_A_TARGET
from ablate.store import manifest
from ablate.store.run_directory import CODE_FOLDER
from ablate.store.run_store import RunStore


def done_before(to_do: Iterable[Trial], store: RunStore) -> dict[str, Trial]:
    """Return trial_id -> the same trial with earlier code, of the trials to do for which one is done.

    Of several, that which a study requested last. A trial of a release that did not look at code counts as the first.
    """
    wanted = {trial_id(without_code(trial.config)): trial for trial in to_do if _own_groups(trial)}
    if not wanted:
        return {}
    candidates: dict[str, list[Trial]] = {base: [_without_code(trial, base)] for base, trial in wanted.items()}
    for other in _requested(store.runs):
        base = trial_id(without_code(other.config)) if _own_groups(other) else ""
        if base in wanted and other.trial_id != wanted[base].trial_id:
            candidates[base].append(other)
    outcomes = store.outcomes([trial for trials in candidates.values() for trial in trials])
    done = {
        base: [trial for trial in trials if isinstance(outcomes[trial.trial_id], Done)]
        for base, trials in candidates.items()
    }
    return {
        wanted[base].trial_id: replace(trials[-1], cell=wanted[base].cell, values=wanted[base].values)
        for base, trials in done.items()
        if trials
    }


def taken_over(trials: Sequence[Trial], earlier: Mapping[str, Trial]) -> list[Trial]:
    """Return the trials, those that are done with earlier code in its place."""
    return [earlier.get(trial.trial_id, trial) for trial in trials]


def note(trials: Iterable[Trial], earlier: Mapping[str, Trial]) -> str:
    """Return the line that says how many of the trials are done with earlier code, and of which files."""
    anew = [trial for trial in trials if trial.trial_id in earlier]
    codes = [code for trial in _for_each_part(anew) for code in own_code.of_config(trial.config).values()]
    files = dict.fromkeys(file.name for code in codes for file in code.modules.values())
    return (
        f"{counted(len(earlier), 'trial')} done with earlier code of {', '.join(files)}, and to do with the code as it "
        "is now; code=any takes them as they are"
    )


def in_use(configs: Iterable[Config]) -> dict[str, list[str]]:
    """Return the path of each part that is a user's own -> the fingerprints of its code, "" where none was looked at.

    Args:
        configs: of the cells and trials that a study requests.
    """
    used: dict[str, set[str]] = {}
    for config in configs:
        for name in GROUPS_WITH_A_TARGET:
            target = str(config[name]["_target_"])
            if not own_code.is_ours(target):
                used.setdefault(target, set()).add(config[name].get(CODE, ""))
    return {target: sorted(fingerprints) for target, fingerprints in sorted(used.items())}


def warn_if_edited(trial: str, config: Config) -> None:
    """Say on stderr where a trained network's own parts have been edited since: its weights are then in other code.

    Args:
        trial: the trial's id.
        config: its config.
    """
    for name in GROUPS_WITH_A_TARGET:
        group = config[name]
        code = own_code.of(str(group["_target_"])) if CODE in group else None
        if code is not None and code.fingerprint != group[CODE]:
            files = ", ".join(file.name for file in code.modules.values())
            print(  # noqa: T201
                f"trial={trial}: trained with earlier code of {files}, kept in {CODE_FOLDER}/{group[CODE]} of the runs "
                "folder; what follows is computed with the code as it is now",
                file=sys.stderr,
            )


def keep(trials: Iterable[Trial], runs: Path) -> None:
    """Copy the code of the trials into the runs folder, once for each fingerprint."""
    codes = {fingerprint: code for trial in _for_each_part(trials) for fingerprint, code in _codes(trial)}
    for fingerprint, code in codes.items():
        folder = runs / CODE_FOLDER / fingerprint
        if folder.exists():
            continue
        temporary = folder.with_name(f".{fingerprint}")
        for name, file in code.modules.items():
            path = name.replace(".", "/") + ("/__init__" if file.stem == "__init__" else "") + file.suffix
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, temporary / path)
        if temporary.exists():
            temporary.rename(folder)


def _codes(trial: Trial) -> Iterator[tuple[str, own_code.Code]]:
    """Yield the code of the trial's own parts, unless it has changed since the plan was made."""
    planned = set(_own_groups(trial).values())
    yield from ((mark, code) for mark, code in own_code.of_config(trial.config).items() if mark in planned)


def _for_each_part(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Yield a trial for each set of parts: a study has thousands of trials and few parts."""
    yield from {tuple(sorted(_own_groups(trial).items())): trial for trial in trials}.values()


def _own_groups(trial: Trial) -> dict[str, str]:
    """Return the groups whose part is a user's own, with the fingerprint of its code."""
    return {name: group[CODE] for name, group in trial.config.items() if isinstance(group, Mapping) and CODE in group}


def _requested(runs: Path) -> Iterator[Trial]:
    """Yield every trial that a study requested, those of the study requested last at the end."""
    studies = [manifest.load(name, runs) for name in manifest.names(runs)]
    for stored in sorted(studies, key=lambda stored: stored.requested_at):
        yield from stored.study.trials


def _without_code(trial: Trial, base: str) -> Trial:
    """Return the trial as a release planned it that did not look at code; `base` is its id."""
    config = without_code(trial.config)
    gone = flatten(trial.config).keys() - flatten(config).keys()
    params = {key: value for key, value in trial.params.items() if key not in gone}
    return replace(trial, config=config, params=params, trial_id=base)
