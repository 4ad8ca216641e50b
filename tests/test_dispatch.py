from __future__ import annotations

import os
import subprocess

import pytest

from ablate import store
from ablate.design import Mistake
from ablate.dispatch import Slot, in_process, on_ray
from ablate.events import Done, Failed
from tests.fakes import Dies, diverges_on_seed_two, in_slot, make_trial, raises_on_seed_one, started, well


def last_by_seed(events):
    return {trial.seed: event for trial, event in events}


@pytest.fixture(params=["in_process", pytest.param("on_ray", marks=pytest.mark.ray)])
def dispatch(request):
    return {"in_process": in_process, "on_ray": on_ray}[request.param]


def test_one_diverging_trial_does_not_stop_the_study(dispatch, trials, tmp_path):
    last = last_by_seed(dispatch(in_slot(diverges_on_seed_two), trials, runs=tmp_path, slot=Slot()))
    assert [type(last[seed]) for seed in range(4)] == [Done, Done, Failed, Done]
    assert last[2].kind == "diverged"


def test_one_raising_trial_does_not_stop_the_study(dispatch, trials, tmp_path):
    last = last_by_seed(dispatch(in_slot(raises_on_seed_one), trials, runs=tmp_path, slot=Slot()))
    assert [type(last[seed]) for seed in range(4)] == [Done, Failed, Done, Done]
    assert (last[1].kind, last[1].reason) == ("error", "RuntimeError: no such thing")


def test_events_come_in_order_and_are_stored(dispatch, trials, tmp_path):
    events = list(dispatch(in_slot(well), trials, runs=tmp_path, slot=Slot()))
    for trial in trials:
        mine = [event for other, event in events if other.trial_id == trial.trial_id]
        assert mine == store.history(trial, tmp_path)
        assert [type(event).__name__ for event in mine] == ["Started", "Epoch", "Epoch", "Epoch", "Done"]


def test_a_trial_that_another_driver_finished_is_told_again(dispatch, trials, tmp_path):
    first, again = (list(dispatch(in_slot(well), trials, runs=tmp_path, slot=Slot())) for _ in range(2))
    assert sorted(again, key=str) == sorted(first, key=str)


def test_threads_are_the_cores_of_the_slot():
    assert [Slot(cpus).threads for cpus in (0.25, 1, 1.5, 4)] == [1, 1, 1, 4]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("afterwards", "outcome"),
    [
        ("goes well", (Done, 0.9)),
        ("yields fewer", (Done, 0.75)),
        ("raises", (Failed, "error", "RuntimeError: the retry raised")),
        ("fails", (Failed, "error", "the retry failed")),
        ("dies again", (Failed, "lost", "its worker process died 3 times")),
    ],
)
def test_the_outcome_of_a_retried_trial_is_never_lost(tmp_path, afterwards, outcome):
    runs = tmp_path / "runs"
    events = list(
        on_ray(
            in_slot(Dies(tmp_path, afterwards)),
            [make_trial(0), make_trial(1)],
            runs=runs,
            slot=Slot(),
            max_lost=2,
        )
    )
    mine = [event for trial, event in events if trial.seed == 0]
    end = mine[-1]
    told = (Done, end.metrics["test_acc"]) if isinstance(end, Done) else (Failed, end.kind, end.reason)
    assert told == outcome
    assert sum(isinstance(event, Done | Failed) for event in mine) == 1
    assert store.outcome(make_trial(0), runs) == end
    assert isinstance(last_by_seed(events)[1], Done)


@pytest.mark.ray
def test_an_outcome_that_was_not_delivered_when_the_worker_died_is_not_trained_again(tmp_path):
    last = last_by_seed(on_ray(in_slot(DiesAfterDone(tmp_path)), [make_trial(0)], runs=tmp_path / "r", slot=Slot()))
    assert isinstance(last[0], Done)
    assert (tmp_path / "attempts").read_text() == "x"


class DiesAfterDone:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, config, directory):
        with (self.folder / "attempts").open("a") as file:
            file.write("x")
        yield started()
        yield from list(well(config, directory))[1:]
        os.kill(os.getpid(), 9)


@pytest.mark.ray
def test_embedded_ray_listens_on_loopback_only(tmp_path):
    listening = []
    for _ in on_ray(in_slot(well), [make_trial(0)], runs=tmp_path, slot=Slot()):
        told = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
        listening = [line.split()[3] for line in told.splitlines() if "ray" in line or "gcs_server" in line]
    assert listening
    assert all("127.0.0.1" in address for address in listening), listening


@pytest.mark.ray
def test_a_slot_larger_than_the_machine_is_a_mistake(tmp_path):
    with pytest.raises(Mistake, match=r"dispatch.cpus_per_trial=4096: allowed: up to \d+"):
        list(on_ray(in_slot(well), [make_trial(0)], runs=tmp_path, slot=Slot(cpus=4096)))


@pytest.mark.ray
def test_ray_says_nothing_on_the_terminal(tmp_path, capfd):
    list(on_ray(in_slot(Dies(tmp_path, "raises")), [make_trial(0)], runs=tmp_path / "r", slot=Slot()))
    assert capfd.readouterr() == ("", "")
