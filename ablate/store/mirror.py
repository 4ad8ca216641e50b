"""The driver's mirror: what an object store holds of trials, as run directories that every reader understands.

runs/<trial_id>/events.jsonl, config.json   as they are in a folder
runs/<trial_id>/stored.json                 the URL of the objects, and which version of the log was brought
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ablate.core.events import from_dict
from ablate.core.study import Trial
from ablate.store import event_log, run_directory
from ablate.store.leases import numbers, stem
from ablate.store.object_store import Objects

STORED = "stored.json"
FEW = 8
"""Trials that are listed one by one; of more, all of the object store is."""
AT_ONCE = 256


def bring(objects: Objects, trials: Sequence[Trial], runs: Path) -> None:
    """Bring the logs that have changed into `runs`, each whole. Raises StorageUnavailable.

    A log that tells an outcome counts only where its number is still the highest after it was read: else whoever has
    taken the trial over may not have read it.
    """
    there = _logs(objects, trials)
    changed = {
        trial.trial_id: trial
        for trial in trials
        if trial.trial_id in there and _pointer(runs / trial.trial_id) != _told(objects, *there[trial.trial_id])
    }
    for some in _batches(list(changed), AT_ONCE):
        logs = objects.read_all(there[trial_id][0] for trial_id in some)
        brought = {one: logs[there[one][0]] for one in some if there[one][0] in logs}
        ended = [changed[one] for one, log in brought.items() if _ends(log)]
        still = _logs(objects, ended) if ended else {}
        for trial_id, log in brought.items():
            if not _ends(log) or still.get(trial_id, ("", ""))[0] == there[trial_id][0]:
                _put(objects, changed[trial_id], runs / trial_id, log, there[trial_id])


def pointer(directory: Path) -> str | None:
    """The URL of what is stored of the trial whose directory this is; None where it is a directory like any other."""
    return (_pointer(directory) or {}).get("url")


def root(directory: Path) -> str | None:
    """The `storage=` that the trial with this directory is stored at; None where it is a directory like any other."""
    url = pointer(directory)
    return url and url.removesuffix(f"/{directory.name}/{url.rpartition('/')[2]}")


def bring_weights(directory: Path) -> None:
    """Fetch the weights of a trial that is done, where they are stored elsewhere. Raises StorageUnavailable."""
    if url := pointer(directory):
        Objects(url).download(run_directory.WEIGHTS, directory / run_directory.WEIGHTS)


def _logs(objects: Objects, trials: Sequence[Trial]) -> dict[str, tuple[str, str]]:
    """trial_id -> the name of the log that counts, and its tag; a trial that was claimed and has none is left out."""
    if len(trials) <= FEW:
        names = {name: tag for one in trials for name, tag in objects.names(one.trial_id).items()}
    else:
        names = objects.names()
    found = {}
    for trial_id, its in itertools.groupby(sorted(names), key=lambda name: name.partition("/")[0]):
        held = list(its)
        log = f"{stem(trial_id, max(numbers(trial_id, held), default=0))}/{run_directory.LOG}"
        if log in names:
            found[trial_id] = log, names[log]
    return found


def _put(objects: Objects, trial: Trial, directory: Path, log: bytes, told: tuple[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / run_directory.CONFIG).exists():
        run_directory.write_config(directory / run_directory.CONFIG, trial.config)
    for name, content in ((run_directory.LOG, log), (STORED, json.dumps(_told(objects, *told)).encode())):
        temporary = directory / f".{name}.tmp"
        temporary.write_bytes(content)
        temporary.replace(directory / name)


def _told(objects: Objects, log: str, tag: str) -> dict[str, str]:
    return {"url": f"{objects.url}/{log.removesuffix(f'/{run_directory.LOG}')}", "tag": tag}


def _pointer(directory: Path) -> Mapping[str, str] | None:
    try:
        found: Mapping[str, str] = json.loads((directory / STORED).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _ends(log: bytes) -> bool:
    last = event_log.last_of(log)
    return last is not None and run_directory.outcome_of(from_dict(last)) is not None


def _batches(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
