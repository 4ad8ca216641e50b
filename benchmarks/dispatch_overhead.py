"""What a trial costs beside its training: 1,000 trials that train nothing, through the whole path.

    python benchmarks/dispatch_overhead.py

Plan, Ray, events and run directories, without MLflow and with it, as the command does it, start-up included;
beside plain Ray tasks, and beside the way in which hydra-ray-launcher submits its jobs (composed twice, the
function decorated anew for each, all results awaited at the end), on fewer jobs.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINE = ["-m", "norm=bn,srelu", "bits=1,32", "seeds=250"]
TRIALS, LAUNCHER_JOBS = 1000, 64
EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)  # in a process of its own
    only = parser.parse_args().only
    if only:
        print(WAYS[only]())
        return
    print(f"{'':52}  trials        s   ms/trial")
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--only", name]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
            completed = subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        jobs, seconds = completed.stdout.split()[-2:]
        doc = (way.__doc__ or "").rstrip(".")
        print(f"{doc:52} {int(jobs):7} {float(seconds):8.1f} {1000 * float(seconds) / int(jobs):10.1f}", flush=True)


def without_mlflow() -> str:
    """ablate.run, without MLflow."""
    return _ours("track=off")


def with_mlflow() -> str:
    """ablate.run, with MLflow on SQLite."""
    return _ours()


def _ours(*words: str) -> str:
    from ablate import run
    from ablate.driver import session

    session._train = lambda policy, cost, slot: trains_nothing  # type: ignore[assignment]
    sys.argv = ["ablate.run", *LINE, *words]
    began = time.perf_counter()
    try:
        run.main()
    except SystemExit as ended:
        if ended.code:
            raise
    return f"{TRIALS} {time.perf_counter() - began}"


def trains_nothing(config: Any, directory: Path, data: Any = None) -> Any:
    from ablate.core.events import Done, Epoch, Started

    yield Started(host="here", pid=os.getpid(), device="cpu", threads=1, epochs=EPOCHS)
    for epoch in range(1, EPOCHS + 1):
        yield Epoch(epoch=epoch, metrics=dict.fromkeys(("train_loss", "train_acc", "valid_loss", "valid_acc"), 0.5))
    yield Done(metrics={"test_acc": 0.5, "wall_s": 0.0}, predicted=[0] * 360, labels=[0] * 360)


def plain_ray() -> str:
    """Plain Ray tasks."""
    began = time.perf_counter()
    ray = _ray()
    task = ray.remote(_nothing)
    ray.get([task.remote({}) for _ in range(TRIALS)])
    return f"{TRIALS} {time.perf_counter() - began}"


def hydra_ray_launcher() -> str:
    """hydra-ray-launcher's way."""
    import hydra

    from ablate import CONF
    from ablate.planning import schema

    schema.register()
    began = time.perf_counter()
    ray = _ray()
    jobs = []
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for seed in range(LAUNCHER_JOBS):
            compose = functools.partial(hydra.compose, "config", [f"seed={seed}"], return_hydra_config=True)
            compose()  # in the sweeper, to check the overrides
            jobs.append(ray.remote(functools.partial(_nothing).func).remote(compose()))
        ray.get(jobs)
    return f"{LAUNCHER_JOBS} {time.perf_counter() - began}"


def _ray() -> Any:
    import ray

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    return ray


def _nothing(config: Any) -> None:
    pass


WAYS = {way.__name__: way for way in (without_mlflow, with_mlflow, plain_ray, hydra_ray_launcher)}

if __name__ == "__main__":
    main()
