"""Two trials on a core each, beside one trial on both cores: images a second in all.

    python benchmarks/trial_slots.py [20-1] [8-1] [--cores 2] [--rounds 5] [--seconds 8]

Every trial is `ablate.training.loop.Training` in a process of its own, as in a study. Each round times both ways,
one after the other; the ratio is the median of the rounds' ratios. The CPU seconds per second that a trial uses show
that it keeps to its share of the cores.
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
    """Train in a process of its own for `for_s` seconds once standard input says go; print the rates as JSON."""
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
    """Return the images per second of all slots together, and the CPU seconds per second of the busiest."""
    line = [sys.executable, __file__, "--train", name, arm, str(threads), str(for_s)]
    running = [
        subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True)
        for _ in range(slots)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    rates = [json.loads(process.communicate()[0]) for process in running]
    return sum(rate["images_per_s"] for rate in rates), max(rate["cpus"] for rate in rates)


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
    typed = parser.parse_args()
    for name in typed.networks:
        apart, together = [], []
        for _ in range(typed.rounds):
            apart.append(side_by_side(name, typed.arm, typed.cores, 1, typed.seconds))
            together.append(side_by_side(name, typed.arm, 1, typed.cores, typed.seconds))
        ratio = statistics.median(a / b for (a, _), (b, _) in zip(apart, together, strict=True))
        print(
            f"{name}, {typed.arm}: {typed.cores} slots of 1 thread against 1 slot of {typed.cores}: ratio {ratio:.2f}"
        )
        for words, pairs in ((f"{typed.cores} slots", apart), ("1 slot", together)):
            rates, cpus = ([pair[n] for pair in pairs] for n in (0, 1))
            print(f"  {words}: {statistics.median(rates):.0f} images/s, {statistics.median(cpus):.2f} CPUs a trial")


if __name__ == "__main__":
    main()
