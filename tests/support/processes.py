"""Real processes that join one gloo group: on_ranks(function, count, folder, ...) -> what each returned."""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from ablate.training.ranks import Ranks

PATIENCE_S = 90
HANGS_AFTER = timedelta(seconds=30)


def on_ranks(function: Callable[..., Any], count: int, folder: Path, /, **arguments: Any) -> list[Any]:
    """function(ranks, **arguments) in so many processes of one thread; raises AssertionError with what one raised."""
    context = multiprocessing.get_context("forkserver")  # torch is imported once, and no thread is forked
    context.set_forkserver_preload(["tests.support.warmed"])
    folder.mkdir(parents=True, exist_ok=True)
    processes = [
        context.Process(target=_rank, args=(function, rank, count, folder, arguments), daemon=True)
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    until = time.monotonic() + PATIENCE_S
    try:
        while any(process.is_alive() for process in processes):
            failed = [path.read_text() for path in folder.glob("*.failed")]
            assert not failed, "\n".join(failed)
            assert time.monotonic() < until, "the ranks hang"
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.join()
    failed = [path.read_text() for path in folder.glob("*.failed")]
    assert not failed, "\n".join(failed)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _rank(function: Any, rank: int, count: int, folder: Path, arguments: Mapping[str, Any]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "group"), count)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=HANGS_AFTER)
    try:
        result = function(Ranks.joined(), **arguments)
    except BaseException:
        (folder / f"{rank}.failed").write_text(traceback.format_exc())
        sys.exit(1)
    torch.save(result, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
