"""Kills the driver and the workers of a real study at random moments, and says the same line until it is done.

    python -m tests.support.faults --seed 1 --kills 20
    python -m tests.support.faults --two-drivers 10

The first runs 12 digits trials on Ray, once undisturbed and once with the kills, in folders of its own, and compares
all that both have on disk and in MLflow; the second says a line twice at once in a fresh folder, ten times.
tests/driver/test_faults.py has shorter ones.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ablate import CONF
from ablate.core.events import OF_EPOCHS
from ablate.store import event_log, predictions
from ablate.tracking.metric_names import of_event
from tests.support.fakes import TIMES

LINE = ["-m", "norm=bn,gn", "bits=1,32", "seeds=3", "checkpoint.every=1"]
TRIALS = 12
SHORT = ["-m", "bits=1,32", "seeds=2", "depth=8", "width=1", "recipe.epochs=4", "checkpoint.every=1", "cost=false"]
SHORT_TRIALS = 4
FRESH_S, LATER_S = 4.0, 20.0
"""The first kills fall in this many seconds of a fresh folder, the others in so many after the line was said."""


def begin(folder: Path, line: list[str]) -> subprocess.Popen[bytes]:
    with (folder / "told.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ablate.run", *line],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(CONF.parent)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def disturb(folder: Path, line: list[str], *, seed: int, kills: int, fresh_s: float, later_s: float) -> Counter[str]:
    """Say the line until it ends by itself after the last kill; returns how often whom was killed."""
    rng = random.Random(seed)
    killed: Counter[str] = Counter()
    driver = begin(folder, line)
    for number in range(kills):
        most = fresh_s if number < kills // 4 else later_s
        wait(driver, rng.uniform(0, most))
        if driver.poll() is not None:
            killed["(it had ended)"] += 1
            driver = begin(folder, line)
        elif rng.random() < 0.5 and (workers := working(folder)):
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed["worker"] += 1
        else:
            driver.kill()
            driver.wait()
            killed["driver"] += 1
            driver = begin(folder, line)
    if driver.wait() != 0:
        raise AssertionError(f"exit status {driver.returncode}\n{(folder / 'told.txt').read_text()}")
    return killed


def say_twice_at_once(folder: Path, line: list[str], trials: int) -> None:
    """Two drivers in one folder: both end well, and each trial is trained once, or it raises."""
    drivers = [begin(folder, line) for _ in range(2)]
    ends = [driver.wait() for driver in drivers]
    assert ends == [0, 0], (folder / "told.txt").read_text()
    assert len(on_disk(folder)) == len(in_mlflow(folder)) == trials
    logs = [event_log.lines(log) for log in folder.glob("runs/t*/events.jsonl")]
    assert {line["attempt"] for log in logs for line in log} == {1}


def wait(driver: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while driver.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def working(folder: Path) -> list[int]:
    """The processes of Ray that say they are at a trial."""
    pids = []
    for log in sorted(folder.glob("runs/t*/events.jsonl")):
        lines = event_log.lines(log)
        started = [line["pid"] for line in lines if line["event"] == "Started"]
        if started and lines[-1]["event"] not in ("Done", "Failed"):
            pids.append(started[-1])
    return [pid for pid in pids if is_ray(pid)]


def is_ray(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def on_disk(folder: Path) -> dict[str, Any]:
    """trial_id -> every number of every epoch, the times left out, and what was predicted. Each once, or it raises."""
    by_trial = {}
    for log in folder.glob("runs/t*/events.jsonl"):
        lines = event_log.lines(log)
        ends = [line for line in lines if line["event"] in ("Done", "Failed")]
        assert [end["event"] for end in ends] == ["Done"], (log, ends)
        epochs = [line for line in lines if line["event"] == "Epoch"]
        assert [epoch["epoch"] for epoch in epochs] == list(range(1, len(epochs) + 1)), log
        by_trial[log.parent.name] = ([kept(epoch) for epoch in epochs], kept(ends[0]), predictions.load(log.parent))
    return by_trial


def kept(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line["metrics"].items() if name not in TIMES}


def in_mlflow(folder: Path) -> dict[str, Any]:
    """trial_id -> metric -> its (step, value) pairs. One finished run a trial and one of the study, or it raises."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{(folder / 'mlflow.db').absolute()}")
    experiments = [metric.experiment_id for metric in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    assert Counter(run.info.status for run in runs) == {"FINISHED": len(runs)}
    assert sum(run.data.tags["kind"] == "study" for run in runs) == 1
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    assert Counter(run.data.tags["trial_id"] for run in trials).most_common(1)[0][1] == 1
    by_trial = {}
    for run in trials:
        histories = {of_event(name): client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        steps = {name: sorted((metric.step, metric.value) for metric in history) for name, history in histories.items()}
        counts = {name: len(pairs) for name, pairs in steps.items()}
        each = {counts[name] for name in OF_EPOCHS if name in counts and name != "restart_test_acc"}
        assert len(each) == 1, (run.info.run_name, counts)  # none missing, none doubled
        assert {count for name, count in counts.items() if name not in OF_EPOCHS} == {1}
        by_trial[run.data.tags["trial_id"]] = {name: pairs for name, pairs in steps.items() if name not in TIMES}
    return by_trial


def compare(undisturbed: Path, disturbed: Path, trials: int) -> None:
    for look in (on_disk, in_mlflow):
        first, second = look(undisturbed), look(disturbed)
        assert len(first) == trials, f"{len(first)} trials undisturbed"
        assert first.keys() == second.keys()
        for trial_id in first:
            assert first[trial_id] == second[trial_id], (look.__name__, trial_id, first[trial_id], second[trial_id])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--undisturbed", type=Path, help="a folder where the line is done already")
    parser.add_argument("--two-drivers", type=int, default=0, metavar="TIMES")
    options = parser.parse_args()
    for number in range(options.two_drivers):
        with tempfile.TemporaryDirectory() as made:
            say_twice_at_once(Path(made), SHORT, SHORT_TRIALS)
        print(f"{number + 1}: two drivers, {SHORT_TRIALS} trials, each once", flush=True)
    if options.two_drivers:
        return
    with tempfile.TemporaryDirectory() as made:
        undisturbed, disturbed = options.undisturbed or Path(made) / "undisturbed", Path(made) / "disturbed"
        for folder in (undisturbed, disturbed):
            folder.mkdir(exist_ok=True)
        began = time.monotonic()
        assert begin(undisturbed, LINE).wait() == 0, (undisturbed / "told.txt").read_text()
        between = time.monotonic()
        killed = disturb(disturbed, LINE, seed=options.seed, kills=options.kills, fresh_s=FRESH_S, later_s=LATER_S)
        compare(undisturbed, disturbed, TRIALS)
        print(f"seed {options.seed}: killed {dict(killed)}; {TRIALS} trials, each once on disk and in MLflow, ")
        print(f"every number as undisturbed; {between - began:.0f} s and {time.monotonic() - between:.0f} s")


if __name__ == "__main__":
    main()
