"""Rates as tables in Markdown, in percent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def each(rate: float) -> str:
    return f"{100 * rate:.1f}"


def lowest_to_highest(shares: Sequence[float]) -> str:
    return "–".join(dict.fromkeys((each(min(shares)), each(max(shares)))))


def print_rates(rows: Sequence[tuple[list[str], dict[str, Any]]], shown: Callable[[Any], str]) -> None:
    """Print a line for each row: its first cells, and its rates by name."""
    names = max((list(shares) for _, shares in rows), key=len)
    first = ["items", "seeds", "noise", "sd (pp)"][: len(rows[0][0])]
    lines = [[*cells, *(shown(shares[name]) if name in shares else "–" for name in names)] for cells, shares in rows]
    print_table([*first, *names], lines)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(line) + " |")
