"""Trials on two workers each, through Ray Train: one study whose trials fare differently."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch, Notice, Started
from ablate.core.identity import flatten, trial_id
from ablate.core.study import Cell, Trial
from ablate.dispatch import RayOptions, Slot, multi_process, on_ray
from ablate.dispatch.capacity import Machine, Machines
from ablate.dispatch.rank import Mailbox, Raised
from ablate.store import run_directory
from ablate.store.folder import FolderStore
from ablate.tasks import image_classification
from ablate.training import build
from ablate.training.checkpoint_policy import CheckpointPolicy
from tests.support.fakes import TIMES
from tests.tasks.test_image_classification import BN, RECIPE, config

WORKERS = 2
DIGITS = {"_target_": "ablate.data.datasets.digits", "valid_fraction": 0}
SLOT = Slot(cpus=0.5, gpus=0, workers=WORKERS)
IS_BROKEN_OFF, RAISES = range(2)
ATTEMPTS = 4
"""Of the one that is broken off: a rank is killed, it is asked to stop, its task is killed, and it goes well."""


def made(seed):
    recipe = {**RECIPE, "epochs": 2, "shards": WORKERS, "batch_size": 125, "schedule": "cosine", "augment": "none"}
    values = config(dataset=DIGITS, norm=BN, recipe=recipe, seed=seed)
    return as_trial(values)


def as_trial(values):
    return Trial(Cell(()), values["seed"], values, flatten(values), trial_id(values))


class Fares:
    """What trains: in each rank, a trial; what befalls it depends on its seed."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, slot):
        return self.run

    def run(self, config, directory, *, ranks, data):
        seed = config["seed"]
        (self.folder / f"{seed}-{ranks.rank}-{os.getpid()}").touch()
        policy = CheckpointPolicy(epochs=1, minutes=None, stop=self.folder / "stop")
        for event in image_classification.run(
            config, directory, threads=1, device="cpu", policy=policy, ranks=ranks, data=data
        ):
            if isinstance(event, Epoch) and event.epoch == 1:
                attempt = len(list(self.folder.glob(f"{seed}-{ranks.rank}-*")))
                self._befall((seed, attempt, ranks.rank), directory)
            yield event

    def _befall(self, which, directory):
        if which == (IS_BROKEN_OFF, 1, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if which == (IS_BROKEN_OFF, 2, 0):
            (self.folder / "stop").touch()
        if which == (IS_BROKEN_OFF, 3, 0):
            os.kill(holder_of(directory / run_directory.LEASE), signal.SIGKILL)
            time.sleep(60)  # or until Ray ends what is left over
        if which == (RAISES, 1, 1):
            try:
                raise OSError("what lay behind")
            except OSError as error:
                raise UsageError("an image is damaged") from error


def holder_of(lock):
    """The process that holds a lock on a file."""
    inode = str(lock.stat().st_ino)
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next(int(words[4]) for words in locks if words[5].endswith(f":{inode}"))


def is_there(pid):
    return os.path.exists(f"/proc/{pid}")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(folder, runs, [(seed, event)]) of one study: Ray takes seconds to start, and each attempt on workers too."""
    folder = tmp_path_factory.mktemp("gang")
    runs, events = folder / "runs", []
    trials = [made(seed) for seed in (IS_BROKEN_OFF, RAISES)]
    for trial, event in on_ray(
        Fares(folder), trials, store=FolderStore(runs), slot=SLOT, options=RayOptions(data=build.dataset)
    ):
        events.append((trial.seed, event))
        if isinstance(event, Notice) and "without a result" in event.text:
            (folder / "stop").unlink()
        if isinstance(event, Done):
            there = [pid for pid in pids_of(folder, IS_BROKEN_OFF)[: 2 * (ATTEMPTS - 1)] if is_there(pid)]
            events.append((trial.seed, Notice(text=f"of earlier ranks there are still {there}")))
    return folder, runs, events


def pids_of(folder, seed):
    """Of the ranks, the oldest first."""
    paths = sorted(folder.glob(f"{seed}-*-*"), key=lambda path: path.stat().st_mtime_ns)
    return [int(path.name.split("-")[2]) for path in paths]


def of(study, seed):
    return [event for other, event in study[2] if other == seed]


def numbers(events):
    kept = [event.metrics for event in events if isinstance(event, Epoch | Done)]
    return [{key: value for key, value in metrics.items() if key not in TIMES} for metrics in kept]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_however_it_is_broken_off_it_goes_on_to_the_numbers_of_one_process(study, tmp_path):
    folder, runs, _ = study
    assert [event.text for event in of(study, IS_BROKEN_OFF) if isinstance(event, Notice)] == [
        "its worker process died; it is tried again",
        "its worker process ended without a result; it is tried again",
        "its worker process died; it is tried again",
        "of earlier ranks there are still []",
    ]
    assert len(pids_of(folder, IS_BROKEN_OFF)) == WORKERS * ATTEMPTS
    history = run_directory.history(made(IS_BROKEN_OFF), runs)
    assert [type(event) for event in history] == [Started, Epoch, Epoch, Done]
    alone = list(image_classification.run(made(IS_BROKEN_OFF).config, tmp_path, threads=1, device="cpu"))
    for mine, theirs in zip(numbers(history), numbers(alone), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3, abs=2e-3)
    left = {path.name for path in (runs / made(IS_BROKEN_OFF).trial_id).iterdir()}
    assert left == {
        "claim",
        "claim-of-ranks",
        "config.json",
        "events.jsonl",
        "log.txt",
        "predictions.npz",
        "weights.pt",
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_another_rank_raises_is_the_trials_failure_with_its_stack(study):
    *_, last = of(study, RAISES)
    assert (last.kind, last.reason) == ("error", "an image is damaged")
    assert "in a rank's process" in last.traceback
    assert "what lay behind" in last.traceback


LINE = (
    "dispatch.workers_per_trial=2 dispatch.cpus_per_trial=0.5 dispatch.gpus_per_trial=0 recipe.lr=0.1,1e30 norm=bn "
    "norm.sync=true dataset=digits depth=8 width=1 recipe.epochs=2 seeds=1 track=off cost=true"
)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_line_trains_on_workers_what_it_trains_without(folder, say):
    """With synchronised norms that is the trial of a whole batch; and a divergence is one."""
    status, _, err = say("ablate.run", "-m", *LINE.split())
    assert (status, err) == (1, "")
    configs = [json.loads(path.read_text()) for path in folder.glob("runs/*/config.json")]
    well, diverging = sorted(configs, key=lambda config: config["recipe"]["lr"])
    assert (well["recipe"]["shards"], well["norm"]["sync"]) == (2, True)
    failed = run_directory.history(as_trial(diverging), folder / "runs")[-1]
    assert (failed.kind, failed.reason[:24]) == ("diverged", "the training loss is nan")
    done = run_directory.history(as_trial(well), folder / "runs")[-1]
    (folder / "alone").mkdir()
    whole = {**well, "recipe": {**well["recipe"], "shards": 1}}
    *_, alone = image_classification.run(whole, folder / "alone", threads=1, device="cpu", cost=True)
    assert done.metrics.keys() == alone.metrics.keys()
    for name in ("train_loss", "test_loss", "test_acc", "parameters"):
        assert done.metrics[name] == pytest.approx(alone.metrics[name], rel=5e-3, abs=5e-3), name


CASES = [
    (Slot(0.5, 0, 2), 2),
    (Slot(1, 0, 2), 1),
    (Slot(1, 1, 2), 1),
    (Slot(1, 1), 4),
    (Slot(0.25, 0, 8), 1),
]


def test_as_many_trials_begin_as_there_are_slots_for_all_their_workers():
    machines = Machines([Machine(cpus=2, gpus=2, memory=2**30, gpu_memory=None)])
    assert [machines.at_once(slot) for slot, _ in CASES] == [most for _, most in CASES]


def test_the_task_of_a_trial_on_workers_asks_for_nothing():
    assert Machines([Machine(2, 0, 2**30, None)]).share(Slot(1, 0, 2), 2**40) == {"num_cpus": 0, "num_gpus": 0}


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        (Slot(2, 0, 2), "dispatch.cpus_per_trial=2: with dispatch.workers_per_trial=2 allowed: up to 1, what this"),
        (Slot(1, 1, 3), "dispatch.cpus_per_trial=1: with dispatch.workers_per_trial=3 allowed: up to 0.66, what this"),
        (Slot(1, 2, 2), "dispatch.gpus_per_trial=2: with dispatch.workers_per_trial=2 allowed: up to 0, what this"),
    ],
)
def test_workers_that_do_not_fit_on_the_machine_are_a_mistake(slot, message):
    with pytest.raises(UsageError, match=message):
        Machines([Machine(cpus=2, gpus=1, memory=2**30, gpu_memory=None)]).resolve(slot)


def test_letters_that_are_there_are_taken_without_patience_and_in_order():
    event, raised = Epoch(epoch=1, metrics={}), Raised([], "stack")

    async def taken():
        mailbox = Mailbox()
        assert await mailbox.take(0) == []
        await mailbox.put(event)
        await mailbox.put(raised)
        return await mailbox.take(0), await mailbox.take(0.01)

    assert asyncio.run(taken()) == ([event, raised], [])


def test_one_worker_is_no_multi_process_trial():
    assert multi_process.of(len, Slot()) is len
