"""How much of the slots' time is training: 20 uneven digits trials, two at a time.

    python benchmarks/makespan.py

Measured from the run directories: the trials' own seconds over the seconds of both slots, from the first trial's
start to the last one's end. Beside it, computed from the same seconds, what the order as typed would give, and
what a sweep gives that waits for each batch of jobs before it begins the next.
"""

from __future__ import annotations

import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ablate.store import event_log

ROOT = Path(__file__).resolve().parent.parent
SLOTS = 2
CORES = (os.cpu_count() or SLOTS) / SLOTS
LINE = f"-m norm=bn bits=1,32 recipe.epochs=6,7,8,9,10,11,12,14,16,18 seeds=1 dispatch.cpus_per_trial={CORES:g}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        command = [sys.executable, "-m", "ablate.run", *LINE.split()]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        ended = time.time()
        paths = sorted(Path(folder).glob("runs/t*/events.jsonl"), key=as_typed)
        logs = [event_log.lines(path) for path in paths]
    starts = {log[0]["time"]: log[-1]["metrics"]["wall_s"] for log in logs}
    busy = [starts[start] for start in sorted(starts)]
    first, last = min(starts), max(log[-1]["time"] for log in logs)
    typed = [log[-1]["metrics"]["wall_s"] for log in logs]
    lengths = f"{len(busy)} trials of {min(busy):.1f} to {max(busy):.1f} s"
    print(f"{lengths} on {SLOTS} slots; the command {ended - began:.1f} s")
    for name, seconds in (
        ("ours, measured", last - first),
        ("no trial could be moved to end sooner", max(sum(busy) / SLOTS, max(busy))),
        ("in the order typed, computed", in_turn(typed)),
        ("with a barrier after each batch, computed", in_batches(typed)),
    ):
        print(
            f"  {name:44} {seconds:6.1f} s  {100 * sum(busy) / (SLOTS * seconds):5.1f}% of the slots' time is training"
        )


def as_typed(log: Path) -> tuple[int, int]:
    """Of a trial: its place in the line."""
    config = json.loads(log.with_name("config.json").read_text())
    return config["bits"], config["recipe"]["epochs"]


def in_turn(seconds: Sequence[float]) -> float:
    """The last end, where each trial takes the slot that comes free first."""
    free = [0.0] * SLOTS
    for trial_s in seconds:
        heapq.heapreplace(free, free[0] + trial_s)
    return max(free)


def in_batches(seconds: Sequence[float]) -> float:
    return sum(max(seconds[start : start + SLOTS]) for start in range(0, len(seconds), SLOTS))


if __name__ == "__main__":
    main()
