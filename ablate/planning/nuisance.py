"""Nuisance factors: values that differ between seeds and are the same in every cell.

Margins average over them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

from ablate.core.levels import Level
from ablate.planning.search_space import Space


def draw(space: Space, seed: int) -> dict[str, Level]:
    """Return the values of one seed. Over the seeds, however many, they cover the space evenly.

    Each key has its own low-discrepancy sequence, with a start that follows from the key and its range.

    Args:
        space: what the values are drawn from.
        seed: of the trial.

    Source: Halton (1960); a random start as in Cranley and Patterson (1976).
    """
    return {
        key: dimension.at((_radical_inverse(seed + 1, base) + _start(f"{key}={dimension!r}")) % 1.0)
        for (key, dimension), base in zip(space.items(), _primes(), strict=False)
    }


def _radical_inverse(number: int, base: int) -> float:
    """Return the digits of a number in a base, mirrored at the point.

    >>> [_radical_inverse(number, 2) for number in (1, 2, 3, 4)]
    [0.5, 0.25, 0.75, 0.125]
    """
    share, value = 1.0, 0.0
    while number:
        number, digit = divmod(number, base)
        share /= base
        value += digit * share
    return value


def _start(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def _primes() -> Iterator[int]:
    """Yield the prime numbers in ascending order."""
    return (
        number for number in itertools.count(2) if all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    )
