"""Planning a large study: this command with mode=plan against Hydra's own BasicSweeper, a cell for a cell.

    python benchmarks/plan_scale.py [cells of ours, 10000] [cells of Hydra's, 100]

Ours is the whole command in a fresh folder: composed, checked, hashed, and each trial looked up among the
finished ones. Hydra's composes the same cells and hands each to a task that does nothing. Each runs in a process
of its own; its time without cells (one cell) is told apart, so that the ratio is of cells only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ablate.core.identity import flatten
from ablate.core.study import Cell, Study, Trial
from ablate.store import history, manifest

ROOT = Path(__file__).resolve().parent.parent

OURS = "from ablate.run import main; main()"

BASIC = f"""
import hydra
from ablate.planning import schema
schema.register()
@hydra.main(version_base="1.3", config_path={str(ROOT / "conf")!r}, config_name="config")
def task(config):
    pass
task()
"""

TO_BASIC = ("hydra/sweeper=basic", "hydra.sweep.dir=.", "hydra.sweep.subdir=.")


def main() -> None:
    ours_cells, basic_cells = (int(word) for word in (*sys.argv[1:], *("10000", "100")[len(sys.argv) - 1 :]))
    print(f"Planning one study on {os.cpu_count()} cores: recipe.lr x width, one seed a cell")
    ours = measure("ablate.run mode=plan", OURS, ours_cells, ("seeds=1", "mode=plan"))
    basic = measure("Hydra's BasicSweeper", BASIC, basic_cells, ("seeds=1", *TO_BASIC))
    print(f"Ours takes {basic / ours:.0f} times less for a cell.")
    print(f"Writing down a study of 10,000 trials that is written down already: {remembering_s(2000):.1f} s of CPU")
    print(f"Reading what 10,000 finished trials took: {history_s(10_000):.1f} s of CPU")


def history_s(trials: int) -> float:
    """Return the CPU seconds for so many trials. Their logs hold no predictions, which have a file of their own."""
    ends = (
        {"attempt": 1, "event": "Started", "device": "cpu"},
        {"attempt": 1, "event": "Done", "metrics": {"wall_s": 1.0}},
    )
    log = "".join(json.dumps(end) + "\n" for end in ends)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(trials):
            directory = Path(folder, f"t{number}")
            directory.mkdir()
            (directory / "config.json").write_text(json.dumps({"seed": number, "recipe": {"lr": 0.1}}))
            (directory / "events.jsonl").write_text(log)
        began = time.process_time()
        assert sum(1 for _ in history.finished_trials(Path(folder))) == trials
        return time.process_time() - began


def remembering_s(cells: int) -> float:
    """CPU seconds for a study of so many cells with 5 seeds each."""
    trials = []
    for cell in range(cells):
        for seed in range(5):
            config = {"recipe": {"epochs": 3, "lr": cell / 7}, "seed": seed, **{f"key{n}": {"v": n} for n in range(20)}}
            trials.append(Trial(Cell((("recipe.lr", cell / 7),)), seed, config, flatten(config), f"t{cell}.{seed}"))
    study = Study("large", {"recipe.lr": [cell / 7 for cell in range(cells)]}, trials)
    with tempfile.TemporaryDirectory() as folder:
        manifest.save(study, Path(folder), None)
        began = time.process_time()
        manifest.save(study, Path(folder), None)
        return time.process_time() - began


def measure(name: str, code: str, cells: int, words: tuple[str, ...]) -> float:
    """Run it with one cell and with so many; print both, and return the seconds of a cell beyond the start."""
    start_s, _ = run(code, ("recipe.lr=0.1", *words))
    levels = ",".join(str(n / 10_000) for n in range(1, cells // 10 + 1))
    whole_s, peak_bytes = run(code, (f"recipe.lr={levels}", "width=range(1,11)", *words))
    cell_s = (whole_s - start_s) / (cells // 10 * 10)
    print(
        f"  {name:22} {cells // 10 * 10:6} cells  {whole_s:6.1f} s in all, {start_s:.1f} s of it to start"
        f"  {1 / cell_s:8.0f} cells/s  {1000 * cell_s:7.2f} ms a cell  {peak_bytes / 1e6:4.0f} MB at the peak"
    )
    return cell_s


def run(code: str, words: tuple[str, ...]) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of a process in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, "-m", *words],
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
    return wall_s, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
