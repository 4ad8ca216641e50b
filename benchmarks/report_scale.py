"""The time and the memory that `python -m analysis.report` takes for a large study, and their limits.

    python benchmarks/report_scale.py [seeds a cell, 5] [test images whose predictions are kept, 0]

A study of 2000 cells (norm x bits x width x depth x dataset x recipe.lr) is written straight into the tables of an
SQLite database that MLflow itself made: the params, tags and metrics of our own trials, with 6 metrics at each of 20
epochs. Then the command runs in a process of its own, in a fresh folder, as a user would type it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOAL_S, GOAL_MIB = 60, 2048
EPOCHS = 20
BY_EPOCH = ("train_acc", "train_loss", "valid_acc", "valid_loss", "train_s", "lr")
FACTORS: dict[str, list[Any]] = {
    "norm": ["bn", "srelu"],
    "bits": [1, 2, 4, 8, 32],
    "width": [1, 2, 4, 5, 10],
    "depth": [8, 14, 20, 26, 32],
    "dataset": ["digits", "synthetic"],
    "recipe.lr": [0.1, 0.05, 0.02, 0.01],
}
RECIPE: dict[str, Any] = {
    "model": "wrn",
    "model.residual": True,
    "model.padding": "torch",
    "recipe": "paper",
    "recipe.epochs": EPOCHS,
    "recipe.batch_size": 125,
    "recipe.schedule": "warm_restarts",
    "recipe.first_cycle": 2,
    "recipe.momentum": 0.9,
    "recipe.weight_decay": 0.0005,
    "recipe.augment": "none",
    "recipe.valid_fraction": 0.1,
    "runs": "runs",
}


def main() -> None:
    seeds, items = (int(word) for word in (*sys.argv[1:], *("5", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        runs = write_study(folder, seeds, items)
        size = (folder / "mlflow.db").stat().st_size
        print(
            f"A study of {runs} runs x {EPOCHS} epochs x {len(BY_EPOCH)} metrics on SQLite: {size / 2**20:.0f} MiB, "
            f"written in {time.perf_counter() - began:.0f} s"
        )
        wall_s, peak_mib = report(folder)
    print(f"python -m analysis.report on {os.cpu_count()} cores: {wall_s:.1f} s, {peak_mib:.0f} MiB at the peak")
    met = wall_s <= GOAL_S and peak_mib <= GOAL_MIB
    print(f"Goal: {GOAL_S} s and {GOAL_MIB} MiB at most for 10,000 runs: {'met' if met else 'NOT met'}")


def write_study(folder: Path, seeds: int, items: int) -> int:
    """Make mlflow.db in the folder with the study `large` in it; return how many runs the study has."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment_id = client.create_experiment("large", (folder / "mlruns").as_uri())
    tags = {f"factor.{key}": ", ".join(map(str, levels)) for key, levels in FACTORS.items()}
    study = {"kind": "study", "last_said": f"{time.time():.3f}", "derived.norm.temperature": ""}
    parent = client.create_run(experiment_id, run_name="large", tags=study | tags).info.run_id
    database = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("BEGIN")
    made = 0
    cells = (dict(zip(FACTORS, levels, strict=True)) for levels in itertools.product(*FACTORS.values()))
    for batch in batches(trials(cells, seeds, folder, items), 500):
        made += len(batch)
        insert(database, int(experiment_id), parent, batch)
    database.execute("COMMIT")
    database.close()
    return made


Trial = tuple[str, dict[str, Any], list[dict[str, float]], dict[str, float], str]
"""Run id, params, metrics of each epoch, metrics at the end, the folder of its files."""


def trials(cells: Iterable[dict[str, Any]], seeds: int, folder: Path, items: int) -> Iterator[Trial]:
    """Yield trials one after the other: batch norm is better by about a point; seeds are noise."""
    chance = random.Random(0)
    labels = [chance.randrange(10) for _ in range(items)]
    for cell in cells:
        temperature = {} if cell["norm"] == "bn" else {"norm.temperature": 10}
        for seed in range(seeds):
            run_id = uuid.UUID(int=chance.getrandbits(128), version=4).hex
            acc = 0.9 + 0.01 * (cell["norm"] == "bn") + 0.002 * cell["depth"] ** 0.5 + chance.gauss(0, 0.004)
            history = [
                dict.fromkeys(BY_EPOCH, acc * (1 - 0.5 / epoch) + chance.gauss(0, 0.002))
                for epoch in range(1, EPOCHS + 1)
            ]
            files = folder / "mlruns" / run_id / "artifacts"
            if items:
                predicted = [label if chance.random() < acc else 9 - label for label in labels]
                files.mkdir(parents=True)
                (files / "predictions.json").write_text(json.dumps({"predicted": predicted, "labels": labels}))
            end = {"test_acc": acc, "wall_s": 60 + chance.random(), "peak_bytes": 1e9 + chance.random()}
            yield run_id, {**cell, **temperature, **RECIPE, "seed": seed}, history, end, files.as_uri()


def insert(database: sqlite3.Connection, experiment_id: int, parent: str, batch: list[Trial]) -> None:
    runs, tags, params, metrics, latest = [], [], [], [], []
    began = 1_700_000_000_000
    for number, (run_id, config, history, end, files) in enumerate(batch):
        start = began + number
        runs.append(
            (run_id, run_id[:8], "UNKNOWN", "me", "FINISHED", start, start + 60_000, "active", files, experiment_id)
        )
        trial_tags = {
            "kind": "trial",
            "trial_id": f"t{run_id[:16]}",
            "cell": " ".join(f"{key}={config[key]}" for key in FACTORS),
            "outcome": "done",
            "code_version": "1a2b3c4",
            "host": "here",
            "device": "cpu",
            "threads": "1",
            "mlflow.parentRunId": parent,
            "mlflow.user": "me",
            "mlflow.source.name": "ablate",
            "mlflow.runName": run_id[:8],
        }
        tags += [(key, value, run_id) for key, value in trial_tags.items()]
        params += [(key, json.dumps(value).strip('"'), run_id) for key, value in config.items()]
        rows = [
            *((key, value, epoch) for epoch, at in enumerate(history, 1) for key, value in at.items()),
            *((key, value, EPOCHS) for key, value in end.items()),
        ]
        metrics += [(key, value, start + epoch, run_id, epoch, 0) for key, value, epoch in rows]
        last = {key: (value, epoch) for key, value, epoch in rows}
        latest += [(key, value, start + epoch, epoch, 0, run_id) for key, (value, epoch) in last.items()]
    add(
        database,
        "runs",
        "run_uuid name source_type user_id status start_time end_time lifecycle_stage artifact_uri experiment_id",
        runs,
    )
    add(database, "tags", "key value run_uuid", tags)
    add(database, "params", "key value run_uuid", params)
    add(database, "metrics", "key value timestamp run_uuid step is_nan", metrics)
    add(database, "latest_metrics", "key value timestamp step is_nan run_uuid", latest)


def add(database: sqlite3.Connection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    names = columns.split()
    quoted, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    database.executemany(f"INSERT INTO {table} ({quoted}) VALUES ({marks})", rows)


def batches(items: Iterable[Trial], size: int) -> Iterator[list[Trial]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def report(folder: Path) -> tuple[float, float]:
    """Run the command in the folder; return its wall seconds and peak resident MiB."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "analysis.report"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            output.seek(0)
            sys.exit(output.read().decode()[-2000:])
    return wall_s, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
