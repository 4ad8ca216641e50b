"""Two trials on a core each, beside one trial on both cores: images a second in all.

    python benchmarks/trial_slots.py [20-1] [8-1] [--cores 2] [--rounds 5] [--seconds 8]

Every trial is `ablate.training.loop.Training` in a process of its own, as in a study. Each round times both ways,
one after the other; the ratio is the median of the rounds' ratios. Beside it the CPU seconds a second that a trial
uses: its share
of the cores, and no more.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from trial_throughput import CASES, ours


def train(name: str, arm: str, threads: int, for_s: float) -> None:
    """In a process of its own: train so long from the moment that standard input says go; tell what was done."""
    torch.set_num_threads(threads)
    case = CASES[name]
    items = case.batch * (2 if name == "20-1" else 20)
    epoch = ours(case, arm, items, "fp32")
    epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    began, before, images = time.perf_counter(), cpu_s(), 0
    while time.perf_counter() - began < for_s:
        epoch()
        images += items
    wall = time.perf_counter() - began
    print(json.dumps({"images_per_s": images / wall, "cpus": (cpu_s() - before) / wall}))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def side_by_side(name: str, arm: str, slots: int, threads: int, for_s: float) -> tuple[float, float]:
    """Images a second of all slots together, and the CPU seconds a second of the busiest."""
    line = [sys.executable, __file__, "--train", name, arm, str(threads), str(for_s)]
    running = [
        subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True)
        for _ in range(slots)
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    told = []
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in running:
        told.append(json.loads(one.communicate()[0]))
    return sum(one["images_per_s"] for one in told), max(one["cpus"] for one in told)


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        name, arm, threads, for_s = sys.argv[2:]
        train(name, arm, int(threads), float(for_s))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["20-1", "8-1"], help=", ".join(CASES))
    parser.add_argument("--arm", default="bn", choices=["bn", "srelu"])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    asked = parser.parse_args()
    for name in asked.networks:
        apart, together = [], []
        for _ in range(asked.rounds):
            apart.append(side_by_side(name, asked.arm, asked.cores, 1, asked.seconds))
            together.append(side_by_side(name, asked.arm, 1, asked.cores, asked.seconds))
        ratio = statistics.median(a / b for (a, _), (b, _) in zip(apart, together, strict=True))
        print(
            f"{name}, {asked.arm}: {asked.cores} slots of 1 thread against 1 slot of {asked.cores}: ratio {ratio:.2f}"
        )
        for words, found in ((f"{asked.cores} slots", apart), ("1 slot", together)):
            rates, cpus = ([pair[n] for pair in found] for n in (0, 1))
            print(f"  {words}: {statistics.median(rates):.0f} images/s, {statistics.median(cpus):.2f} CPUs a trial")


if __name__ == "__main__":
    main()
