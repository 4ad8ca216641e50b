"""The cells of a full grid that a design has. A cell is a point here: for each factor, the index of its level.

Pure. Factors that are zipped together count as one factor, whose levels are the tuples. A factor with a single level
is constant. The library of designs (pydoe) is imported only by the two designs that need it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import Level, is_whole, show

Point = tuple[int, ...]

MOST_LOOKED_AT = 1_000_000
"""The most points that a random design is chosen from. From a larger grid, this many are drawn at random first."""

MOST_BASIC = 20
"""The most basic factors of a regular fraction, which has 2^20 cells then."""

MOST_TRIES = 6_000_000
"""Steps of the search for a fraction of one resolution, before a lower one is tried: enough up to 15 factors."""


def points(design: Config, sizes: Mapping[str, int], reference: Point) -> Iterable[Point]:
    """Return the points of a design in an arbitrary order; of `full` and `random` the whole grid, in its order.

    Args:
        design: its `kind`, and `fraction` of a fractional one.
        sizes: the number of levels of each factor, by name.
        reference: the index of each factor's reference level.

    Raises:
        UsageError: these factors have no such design; the message says what is allowed.
    """
    kind = design.get("kind")
    if kind in ("full", "random"):
        return itertools.product(*map(range, sizes.values()))
    if kind in ("one_factor", "leave_one_out"):
        return around(reference, sizes)
    if kind == "add_one_in":
        return [*around(bare(sizes, reference), sizes), reference]
    if kind == "fractional":
        return _folded(_fraction(design.get("fraction"), _varied(sizes)), sizes, reference)
    if kind == "screening":
        return _folded(_screening(_varied(sizes)), sizes, reference)
    raise UsageError(
        f"design.kind={kind}: allowed: full, one_factor, leave_one_out, add_one_in, fractional, screening, random"
    )


def around(center: Point, sizes: Mapping[str, int]) -> Iterator[Point]:
    """Yield a point, and each point that differs from it in one factor alone.

    >>> list(around((0, 1), {"norm": 3, "bits": 2}))
    [(0, 1), (1, 1), (2, 1), (0, 0)]
    """
    yield center
    for factor, size in enumerate(sizes.values()):
        for level in range(size):
            if level != center[factor]:
                yield (*center[:factor], level, *center[factor + 1 :])


def bare(sizes: Mapping[str, int], reference: Point) -> Point:
    """Return the point with each factor at its last level other than the reference's.

    >>> bare({"norm": 3, "bits": 2, "depth": 1}, (0, 1, 0))
    (2, 0, 0)
    """
    return tuple(
        size - 1 if level != size - 1 else max(size - 2, 0)
        for size, level in zip(sizes.values(), reference, strict=True)
    )


def draw(design: Config, sizes: Mapping[str, int], reference: Point, keeps: Callable[[Point], bool]) -> list[Point]:
    """Return `cells` of the points that are kept, drawn without replacement; the reference comes first.

    A larger number of cells adds points to those of a smaller number.

    Raises:
        UsageError: `cells` or `seed` is not a number that is allowed.
    """
    count, seed = design.get("cells"), design.get("seed")
    if not is_whole(seed):
        raise UsageError(f"design.seed={show(seed)}: allowed: a whole number")
    others = (point for point in _shuffled(seed, list(sizes.values())) if point != reference and keeps(point))
    wanted = count if is_whole(count) and count >= 1 else None
    drawn = [reference, *itertools.islice(others, wanted and wanted - 1)]
    if len(drawn) != wanted:
        raise UsageError(f"design.cells={show(count)}: allowed: a number of cells, 1 to {len(drawn)}")
    return drawn


def _shuffled(seed: int, sizes: Sequence[int]) -> Iterator[Point]:
    """Yield the points of a grid in an order that the seed alone decides, under any release of Python."""
    draws, total = random.Random(seed).random, math.prod(sizes)
    if total <= MOST_LOOKED_AT:
        order: Iterable[int] = sorted(range(total), key=lambda _: draws())
    else:
        order = dict.fromkeys(int(draws() * total) for _ in range(MOST_LOOKED_AT))
    return (_point(number, sizes) for number in order)


def _point(number: int, sizes: Sequence[int]) -> Point:
    """Return the point with this number in the grid's order."""
    levels = []
    for size in reversed(sizes):
        number, level = divmod(number, size)
        levels.append(level)
    return tuple(reversed(levels))


def _varied(sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if size > 1}


def _folded(rows: Sequence[Sequence[int]], sizes: Mapping[str, int], reference: Point) -> Iterator[Point]:
    """Yield rows of coded levels, 0 up, as points; the first row becomes the reference.

    Of each factor, the first row's code and the reference are exchanged. That keeps every count that a design is
    balanced by.
    """
    first = rows[0]
    for row in rows:
        codes = iter(zip(first, row, strict=True))
        yield tuple(
            _exchanged(level, *next(codes)) if size > 1 else level
            for size, level in zip(sizes.values(), reference, strict=True)
        )


def _exchanged(reference: int, first: int, code: int) -> int:
    return {first: reference, reference: first}.get(code, code)


def _fraction(fraction: Level, sizes: Mapping[str, int]) -> list[Point]:
    if not is_whole(fraction) or fraction < 2:
        raise UsageError(
            f"design.fraction={show(fraction)}: allowed: 2, 4, ...: one half, one quarter, ... of the full grid"
        )
    if set(sizes.values()) <= {2}:
        return _regular(fraction, len(sizes))
    rows = _subset(fraction, sizes)
    if rows is None:
        allowed = [other for other in range(2, 1 + max(sizes.values())) if _subset(other, sizes)]
        raise UsageError(f"design.fraction={fraction}: allowed for {_shape(sizes)}: {_listed(allowed)}")
    return rows


def _regular(fraction: int, factors: int) -> list[Point]:
    """Return the regular fraction of two-level factors with the highest resolution."""
    allowed = [2**left_out for left_out in range(1, factors) if _can_leave_out(left_out, factors)]
    if fraction not in allowed:
        raise UsageError(f"design.fraction={fraction}: allowed for {factors} factors of two levels: {_listed(allowed)}")
    from pydoe import fracfact

    words = generators(factors, fraction.bit_length() - 1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    named = ["".join(letter for bit, letter in enumerate(letters) if word >> bit & 1) for word in words]
    return [tuple(int(code > 0) for code in row) for row in fracfact(" ".join(named))]


def _can_leave_out(left_out: int, factors: int) -> bool:
    """Return whether there are enough products of basic factors for each factor to have its own."""
    return factors < 2 ** (factors - left_out) and factors - left_out <= MOST_BASIC


def generators(factors: int, left_out: int) -> list[int]:
    """Return each two-level factor as a product of basic factors, in the 2^-left_out fraction of highest resolution.

    A product is a set of bits, one bit for each basic factor; the basic factors come first. A generated factor times
    its product is a word of the defining relation, as is every product of words. The length of the shortest word is the
    resolution. Griesmer's bound tells which resolutions are impossible.

    >>> generators(4, 1), generators(5, 2)
    ([1, 2, 4, 7], [1, 2, 4, 7, 6])

    Source: Box, Hunter & Hunter, Statistics for Experimenters (2005), chapter 6; Griesmer (1960).
    """
    basic = factors - left_out
    products = sorted(range(1, 2**basic), key=lambda word: (-word.bit_count(), -word))
    for resolution in range(factors, 2, -1):
        if sum(math.ceil(resolution / 2**power) for power in range(left_out)) > factors:
            continue
        fitting = [word for word in products if word.bit_count() >= resolution - 1]
        chosen = _independent(fitting, [1 << bit for bit in range(basic, factors)], resolution)
        if chosen is not None:
            return [*(1 << bit for bit in range(basic)), *chosen]
    raise AssertionError(f"{factors} factors, {left_out} left out: main effects are aliased")


def resolution(factors: int, fraction: int) -> int:
    """Return the length of the shortest word in the defining relation of a regular fraction.

    >>> resolution(3, 2), resolution(5, 2), resolution(7, 16)
    (3, 5, 3)
    """
    left_out = fraction.bit_length() - 1
    basic = factors - left_out
    relation = [0]
    for bit, product in enumerate(generators(factors, left_out)[basic:], basic):
        relation += [word ^ product ^ (1 << bit) for word in relation]
    return min(word.bit_count() for word in relation[1:])


def _independent(products: Sequence[int], generated: Sequence[int], resolution: int) -> list[int] | None:
    """Return a product for each generated factor (a bit), so that no word is shorter than the resolution.

    Return None if there is no such choice, or MOST_TRIES steps do not find it.
    """
    tries = iter(range(MOST_TRIES))

    def choose(start: int, factor: int, words: Sequence[int]) -> list[int] | None:
        if factor == len(generated):
            return []
        for index in range(start, len(products) - (len(generated) - factor) + 1):
            if next(tries, None) is None:
                return None
            new = [word ^ products[index] ^ generated[factor] for word in words]
            if all(word.bit_count() >= resolution for word in new):
                rest = choose(index + 1, factor + 1, [*words, *new])
                if rest is not None:
                    return [products[index], *rest]
        return None

    return choose(0, 0, [0])


def _subset(fraction: int, sizes: Mapping[str, int]) -> list[Point] | None:
    """Return the generalized subset design; None where there is none, or main effects are aliased in it.

    Source: Surowiec et al., Analytical Chemistry 89 (2017).
    """
    import numpy as np
    from pydoe import gsd

    levels = list(sizes.values())
    if fraction > math.prod(levels) // (1 + sum(levels) - len(levels)):
        return None
    try:
        rows = np.asarray(gsd(levels, fraction))
    except ValueError:
        return None
    indicators = [rows[:, factor] == level for factor, size in enumerate(levels) for level in range(1, size)]
    main_effects = np.column_stack([np.ones(len(rows)), *indicators])
    if np.linalg.matrix_rank(main_effects) < main_effects.shape[1]:
        return None
    return [tuple(int(code) for code in row) for row in rows]


def _screening(sizes: Mapping[str, int]) -> list[Point]:
    """Return Plackett and Burman's design: the fewest runs, a multiple of 4, that keep main effects unaliased.

    The library lacks matrices for some numbers of runs. The first columns of the next larger one are as orthogonal.
    """
    for name, size in sizes.items():
        if size > 2:
            raise UsageError(f"design=screening: {name} has {size} levels; allowed: factors of two levels")
    if not sizes:
        raise UsageError("design=screening: no factor has two levels; allowed: factors of two levels, as norm=bn,srelu")
    from pydoe import pbdesign

    for columns in itertools.count(len(sizes)):
        try:
            rows = pbdesign(columns)
        except (AssertionError, ValueError):
            continue
        return list(dict.fromkeys(tuple(int(code > 0) for code in row[: len(sizes)]) for row in rows))
    raise AssertionError


def _shape(sizes: Mapping[str, int]) -> str:
    return " x ".join(map(str, sizes.values())) + " levels"


def _listed(fractions: Sequence[int]) -> str:
    return ", ".join(map(str, fractions)) or "none; design=full"
