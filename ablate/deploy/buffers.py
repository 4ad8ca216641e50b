"""Where each map of a graph stands in memory while one image passes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.deploy.graph import Graph

IN_PLACE = ("scale", "offset", "floor", "add", "group_norm", "channel_norm")
"""Kinds of operation that may write over the first map that they read, once nobody else reads it."""


@dataclass(frozen=True)
class Buffer:
    """Numbers of memory that hold maps one after the other.

    maps: their numbers in the graph. size: numbers of the largest one. begin, end: the places in the graph's order
    of the operations that first write and last read it.
    """

    maps: Sequence[int]
    size: int
    begin: int
    end: int


def buffers(graph: Graph) -> list[Buffer]:
    """The buffers of all maps, but of the image and the logits, which are the caller's."""
    last_read = {one.number: place for place, op in enumerate(graph.ops) for one in op.reads}
    holder: dict[int, int] = {}
    held: list[list[int]] = []
    begins: list[int] = []
    sizes: dict[int, int] = {}
    for place, op in enumerate(graph.ops):
        if op.writes == graph.logits:
            continue
        sizes[op.writes.number] = op.writes.size
        over = _written_over(op.kind, [one.number for one in op.reads], place, last_read, holder)
        if over is None:
            holder[op.writes.number] = len(held)
            held.append([op.writes.number])
            begins.append(place)
        else:
            holder[op.writes.number] = holder[over]
            held[holder[over]].append(op.writes.number)
    return [
        Buffer(maps, max(sizes[one] for one in maps), begin, max(last_read[one] for one in maps))
        for maps, begin in zip(held, begins, strict=True)
    ]


def most_at_once(found: Sequence[Buffer]) -> int:
    """Numbers that the buffers in use at one time hold, at most."""
    ends = [one.end for one in found]
    return max((sum(one.size for one in found if one.begin <= at <= one.end) for at in ends), default=0)


def places(found: Sequence[Buffer]) -> tuple[list[int], int]:
    """Each buffer's place in one array, those in use at one time apart, and the array's size; all in numbers.

    The largest is placed first, each as far to the front as it goes: seldom more than `most_at_once`.
    """
    placed: dict[int, int] = {}
    for index in sorted(range(len(found)), key=lambda one: -found[one].size):
        mine = found[index]
        taken = sorted(
            (placed[other], placed[other] + found[other].size)
            for other in placed
            if found[other].begin <= mine.end and mine.begin <= found[other].end
        )
        at = 0
        for begin, end in taken:
            if at + mine.size <= begin:
                break
            at = max(at, end)
        placed[index] = at
    size = max((placed[index] + found[index].size for index in placed), default=0)
    return [placed[index] for index in range(len(found))], size


def _written_over(
    kind: str, reads: Sequence[int], place: int, last_read: dict[int, int], holder: dict[int, int]
) -> int | None:
    """The map whose memory the operation's result takes; of an addition's two either."""
    candidates = reads if kind == "add" else reads[:1]
    if kind not in IN_PLACE or len(set(reads)) < len(reads):
        return None
    return next((one for one in candidates if last_read[one] == place and one in holder), None)
