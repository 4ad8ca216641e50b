from __future__ import annotations

import cProfile
import json
import pstats

import pytest

from ablate import run
from ablate.core import hardware
from ablate.core.events import Done, Failed, Started
from ablate.core.study import Trial
from ablate.planning.estimates import Expectations, training_bytes, training_multiply_adds
from ablate.store import run_directory


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "gpu_bytes", tuple)


def store_end(runs, trial: Trial, end, device="cpu"):
    """The run directory as a trial leaves it that ended so."""
    began = Started(host="here", pid=1, device=device, threads=1, epochs=1)
    list(run_directory.attempt(lambda config, directory: iter([began, end]), trial, runs))


def finish(runs, trial, seconds, device="cpu", **metrics):
    store_end(runs, trial, Done(metrics={"wall_s": seconds, **metrics}, predicted=[1] * 20_000), device)


def test_without_history_there_are_no_seconds_and_the_larger_network_still_costs_more(planned, folder):
    made = planned("width=1,2", "recipe.epochs=1,2")
    expectations = Expectations(folder / "runs")
    assert [expectations.seconds(config) for config in made.cell_configs] == [None] * 4
    costs = [expectations.cost(config) for config in made.cell_configs]
    assert sorted(costs) == costs
    assert len(set(costs)) == 4


def test_a_cell_takes_as_long_as_its_other_seeds_did(planned, folder):
    made = planned("width=1,2")
    for trial, seconds in zip(made.study.trials, [10, 20], strict=False):
        finish(folder / "runs", trial, seconds)
    expectations = Expectations(folder / "runs")
    assert expectations.seconds(made.cell_configs[0]) == 15
    assert expectations.cost(made.cell_configs[0]) == 15


def test_another_cell_takes_its_multiply_adds_times_the_seconds_of_one_in_the_most_similar_trials(planned, folder):
    made = planned("width=1,2,3", "dataset=digits,synthetic", "recipe.lr=0.1,0.2", "seeds=1")
    config_of = dict(zip(made.study.cells, made.cell_configs, strict=True))
    slow, quick = made.study.trials[0], made.study.trials[2]
    finish(folder / "runs", slow, 100)
    finish(folder / "runs", quick, 1)
    assert (str(slow.cell), str(quick.cell)) == (
        "width=1 dataset=digits recipe.lr=0.1",
        "width=1 dataset=synthetic recipe.lr=0.1",
    )
    expectations = Expectations(folder / "runs")
    for cell, config in config_of.items():
        twin = slow if dict(cell.levels)["dataset"] == "digits" else quick
        rate = (100 if twin is slow else 1) / training_multiply_adds(config_of[twin.cell])
        assert expectations.seconds(config) == pytest.approx(rate * training_multiply_adds(config))


def test_what_a_gpu_took_says_nothing_of_a_core_nor_does_what_failed(planned, folder, monkeypatch):
    made = planned("width=1")
    first, second, _ = made.study.trials
    finish(folder / "runs", first, 5, device="cuda")
    store_end(folder / "runs", second, Failed(kind="error", reason="no"))
    assert Expectations(folder / "runs").seconds(made.cell_configs[0]) is None
    monkeypatch.setattr(hardware, "gpu_bytes", lambda: (2**34,))
    assert Expectations(folder / "runs").seconds(made.cell_configs[0]) == 5


def test_the_device_of_a_trial_is_that_of_its_last_attempt(planned, folder):
    made = planned("width=1", "seeds=1")
    store_end(folder / "runs", made.study.trials[0], Failed(kind="lost", reason="no"), device="cuda")
    finish(folder / "runs", made.study.trials[0], 7)
    assert Expectations(folder / "runs").seconds(made.cell_configs[0]) == 7


def test_a_damaged_run_directory_is_passed_over(planned, folder):
    made = planned("width=1")
    for trial in made.study.trials:
        finish(folder / "runs", trial, 5)
    first, second, _ = (folder / "runs" / trial.trial_id for trial in made.study.trials)
    (first / "config.json").write_text("{")
    (second / "events.jsonl").write_bytes(b"\x00\xff")
    (folder / "runs" / "note.txt").write_text("mine")
    assert Expectations(folder / "runs").seconds(made.cell_configs[0]) == 5


def test_memory_is_what_the_cell_held_and_else_grows_with_batch_and_network(planned, folder):
    made = planned("width=1,2", "recipe.batch_size=10,1000", "seeds=1")
    expectations = Expectations(folder / "runs")
    estimates = [expectations.peak_bytes(config) for config in made.cell_configs]
    assert estimates[0] < estimates[1] < estimates[3]
    assert estimates[0] < estimates[2] < estimates[3]
    finish(folder / "runs", made.study.trials[0], 1, peak_bytes=123.0)
    assert Expectations(folder / "runs").peak_bytes(made.cell_configs[0]) == 123
    made.cell_configs[1]["model"] = {"_target_": "mine.Network"}
    assert training_bytes(made.cell_configs[1]) is None


def test_a_plan_tells_hours_disk_and_which_cells_are_too_large(planned, say, folder, monkeypatch):
    really = run.run
    line = ["width=1,900", "depth=20", "dataset=cifar10", "seeds=2"]
    finish(folder / "runs", planned(*line).study.trials[0], 3600)
    monkeypatch.setattr(run, "run", really)
    status, out, _ = say("ablate.run", "-m", *line, "mode=plan", "dispatch=in_process")
    assert status == 0
    assert " by what finished here, " in out
    assert " of disk, " in out
    (large,) = [line for line in out.splitlines() if line.startswith("Too large: ")]
    assert large.startswith("Too large: width=900: ")


def test_reading_histories_takes_work_in_proportion_to_their_number(planned, folder):
    """Work is counted in function calls: seconds are for benchmarks/plan_scale.py."""

    def calls(cells):
        made = planned(f"recipe.lr={','.join(str(n / 1000) for n in range(1, cells + 1))}", "seeds=4")
        runs = folder / f"runs{cells}"
        for trial in made.study.trials:
            (runs / trial.trial_id).mkdir(parents=True)
            (runs / trial.trial_id / "config.json").write_text(json.dumps(trial.config, indent=2))
            ends = (
                {"attempt": 1, "event": "Started", "device": "cpu", "threads": 1},
                {"attempt": 1, "event": "Done", "metrics": {"wall_s": 1.0}, "predicted": [1] * 1000},
            )
            (runs / trial.trial_id / "events.jsonl").write_text("".join(json.dumps(end) + "\n" for end in ends))
        profile = cProfile.Profile()
        seconds = profile.runcall(Expectations(runs).seconds, made.cell_configs[0])
        assert seconds == 1
        return pstats.Stats(profile).total_calls

    calls(1)  # what a process does once
    assert calls(40) < 4.2 * calls(10)
