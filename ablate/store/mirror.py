"""The driver's mirror: what an object store holds of trials, as run directories that every reader understands.

runs/<trial_id>/events.jsonl, config.json   as they are in a folder
runs/<trial_id>/stored.json                 the URL of the objects, and which version of the log was brought
runs/<trial_id>/weights.pt, predictions.npz, log.txt   brought when a reader needs them
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ablate.core.events import from_dict
from ablate.core.study import Trial
from ablate.store import event_log, run_directory
from ablate.store.leases import numbers, stem
from ablate.store.object_store import Objects
from ablate.store.predictions import PREDICTIONS
from ablate.store.text_log import TEXT_LOG

STORED = "stored.json"
FEW = 8
"""So many trials are listed one by one; for more, the whole object store is listed."""
AT_ONCE = 256


def bring(objects: Objects, trials: Sequence[Trial], runs: Path) -> None:
    """Bring the logs that have changed into `runs`, each whole. Raises StorageUnavailable.

    A log with an outcome counts only where its number is still the highest after the log was read: otherwise whoever
    has taken the trial over may not have read it.
    """
    stored = _logs(objects, trials)
    changed = {
        trial.trial_id: trial
        for trial in trials
        if trial.trial_id in stored
        and _pointer(runs / trial.trial_id) != _new_pointer(objects, *stored[trial.trial_id])
    }
    for some in _batches(list(changed), AT_ONCE):
        contents = objects.read_all(stored[trial_id][0] for trial_id in some)
        brought = {trial_id: contents[stored[trial_id][0]] for trial_id in some if stored[trial_id][0] in contents}
        ended = [changed[trial_id] for trial_id, log in brought.items() if _ends(log)]
        still = _logs(objects, ended) if ended else {}
        for trial_id, log in brought.items():
            if not _ends(log) or still.get(trial_id, ("", ""))[0] == stored[trial_id][0]:
                _put(objects, changed[trial_id], runs / trial_id, log, stored[trial_id])


def pointer(directory: Path) -> str | None:
    """Return the URL of the stored objects of the trial with this directory; None for a directory like any other."""
    return (_pointer(directory) or {}).get("url")


def root(directory: Path) -> str | None:
    """Return the `storage=` at which the trial with this directory is stored; None for a directory like any other."""
    url = pointer(directory)
    return url and url.removesuffix(f"/{directory.name}/{url.rpartition('/')[2]}")


def bring_weights(directory: Path) -> None:
    """Fetch the weights of a trial that is done, where they are stored elsewhere. Raises StorageUnavailable."""
    _bring_file(directory, run_directory.WEIGHTS)


def bring_predictions(directory: Path) -> None:
    """Fetch the predictions of a trial that is done, unless they are here. Raises StorageUnavailable."""
    done = event_log.last(directory / run_directory.LOG)
    if not (directory / PREDICTIONS).exists() and done and not done.get("predicted"):  # older logs have them inside
        _bring_file(directory, PREDICTIONS)


def bring_text_log(directory: Path) -> None:
    """Fetch the text log of a trial as it is stored now. Raises StorageUnavailable."""
    _bring_file(directory, TEXT_LOG)


def _bring_file(directory: Path, name: str) -> None:
    if url := pointer(directory):
        Objects(url).download(name, directory / name)


def _logs(objects: Objects, trials: Sequence[Trial]) -> dict[str, tuple[str, str]]:
    """Return trial_id -> the name of the log that counts, and its tag; of trials that were leased, those with a log."""
    if len(trials) <= FEW:
        names = {name: tag for trial in trials for name, tag in objects.names(trial.trial_id).items()}
    else:
        names = objects.names()
    logs = {}
    for trial_id, group in itertools.groupby(sorted(names), key=lambda name: name.partition("/")[0]):
        log = f"{stem(trial_id, max(numbers(trial_id, group), default=0))}/{run_directory.LOG}"
        if log in names:
            logs[trial_id] = log, names[log]
    return logs


def _put(objects: Objects, trial: Trial, directory: Path, log: bytes, stored: tuple[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / run_directory.CONFIG).exists():
        run_directory.write_config(directory / run_directory.CONFIG, trial.config)
    (directory / PREDICTIONS).unlink(missing_ok=True)  # of an earlier log
    contents = {run_directory.LOG: log, STORED: json.dumps(_new_pointer(objects, *stored)).encode()}
    for name, content in contents.items():
        temporary = directory / f".{name}.tmp"
        temporary.write_bytes(content)
        temporary.replace(directory / name)


def _new_pointer(objects: Objects, log: str, tag: str) -> dict[str, str]:
    return {"url": f"{objects.url}/{log.removesuffix(f'/{run_directory.LOG}')}", "tag": tag}


def _pointer(directory: Path) -> dict[str, str] | None:
    try:
        pointer: dict[str, str] = json.loads((directory / STORED).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pointer


def _ends(log: bytes) -> bool:
    last = event_log.last_of(log)
    return last is not None and run_directory.outcome_of(from_dict(last)) is not None


def _batches(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
