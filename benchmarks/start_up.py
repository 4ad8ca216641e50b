"""From the command to the first training step, with the files in the page cache.

    python benchmarks/start_up.py

Three times, each in a fresh folder, after one that only warms the cache. Beside it what Python needs to import
what a trial needs, in one process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ablate.store import event_log

ROOT = Path(__file__).resolve().parent.parent
LINE = ["-m", "norm=bn,srelu", "bits=1,32", "seeds=1", "recipe.epochs=1"]
TIMES = 3


def main() -> None:
    first_step()
    steps = [first_step() for _ in range(TIMES)]
    command = "import torch, hydra.utils; from ablate.training import loop"
    began = time.time()
    subprocess.run([sys.executable, "-c", command], env=environment(), check=True)
    importing = time.time() - began
    text = ", ".join(f"{step:.1f}" for step in steps)
    print(f"command to first training step: {statistics.median(steps):.1f} s ({text})")
    print(
        f"importing torch and what trains, alone: {importing:.1f} s; ratio {statistics.median(steps) / importing:.1f}"
    )


def first_step() -> float:
    """Seconds from the command to the step; the first evaluation is counted as if it came before it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        subprocess.run(
            [sys.executable, "-m", "ablate.run", *LINE],
            cwd=folder,
            env=environment(),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        logs = [event_log.lines(path) for path in Path(folder).glob("runs/t*/events.jsonl")]
    epochs = [line for log in logs for line in log if line["event"] == "Epoch"]
    return min(epoch["time"] - epoch["metrics"]["train_s"] for epoch in epochs) - began


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    main()
