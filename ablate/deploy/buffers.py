"""The memory of each map of a graph while one image passes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.deploy.graph import Graph

OVERWRITING = ("scale", "offset", "floor", "add", "group_norm", "channel_norm")
"""Kinds of operation that may write over the first map that they read, once no later operation reads it."""


@dataclass(frozen=True)
class Buffer:
    """Memory that holds maps one after the other, counted in numbers, not in bytes.

    maps: their numbers in the graph.
    size: of the largest map.
    begin: index of the operation that first writes it.
    end: index of the operation that last reads it.
    """

    maps: Sequence[int]
    size: int
    begin: int
    end: int


def buffers(graph: Graph) -> list[Buffer]:
    """Return the buffers of all maps except the image and the logits, which belong to the caller."""
    last_read = {source.number: index for index, op in enumerate(graph.ops) for source in op.reads}
    buffer_of: dict[int, int] = {}
    maps_of: list[list[int]] = []
    begins: list[int] = []
    sizes: dict[int, int] = {}
    for index, op in enumerate(graph.ops):
        if op.writes == graph.logits:
            continue
        sizes[op.writes.number] = op.writes.size
        reads = [source.number for source in op.reads]
        free = [number for number in reads if number in buffer_of and last_read[number] == index]
        overwritten = _overwritten(op.kind, reads, free)
        if overwritten is None:
            buffer_of[op.writes.number] = len(maps_of)
            maps_of.append([op.writes.number])
            begins.append(index)
        else:
            buffer_of[op.writes.number] = buffer_of[overwritten]
            maps_of[buffer_of[overwritten]].append(op.writes.number)
    return [
        Buffer(maps, max(sizes[number] for number in maps), begin, max(last_read[number] for number in maps))
        for maps, begin in zip(maps_of, begins, strict=True)
    ]


def most_at_once(graph_buffers: Sequence[Buffer]) -> int:
    """Return the largest total size of buffers that are in use at the same time."""
    totals = (
        sum(buffer.size for buffer in graph_buffers if buffer.begin <= end <= buffer.end)
        for end in {buffer.end for buffer in graph_buffers}
    )
    return max(totals, default=0)


def offsets(graph_buffers: Sequence[Buffer]) -> tuple[list[int], int]:
    """Return each buffer's offset in one array, and the size of that array.

    Buffers in use at the same time do not overlap. The largest is placed first, and each goes as far to the front as
    possible: the array is seldom larger than `most_at_once`.
    """
    offset_of: dict[int, int] = {}
    for index in sorted(range(len(graph_buffers)), key=lambda index: -graph_buffers[index].size):
        buffer = graph_buffers[index]
        taken = sorted(
            (offset_of[other], offset_of[other] + graph_buffers[other].size)
            for other in offset_of
            if graph_buffers[other].begin <= buffer.end and buffer.begin <= graph_buffers[other].end
        )
        offset = 0
        for begin, end in taken:
            if offset + buffer.size <= begin:
                break
            offset = max(offset, end)
        offset_of[index] = offset
    size = max((offset_of[index] + graph_buffers[index].size for index in offset_of), default=0)
    return [offset_of[index] for index in range(len(graph_buffers))], size


def _overwritten(kind: str, reads: Sequence[int], free: Sequence[int]) -> int | None:
    """Return the map whose memory the operation's result takes, if any. An addition may take either of its two.

    free: those of the maps read that are in buffers, and that no later operation reads.
    """
    candidates = reads if kind == "add" else reads[:1]
    if kind not in OVERWRITING or len(set(reads)) < len(reads):
        return None
    return next((number for number in candidates if number in free), None)
