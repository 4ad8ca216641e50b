"""The pairs of cells that a contrast compares: the rows of a study's table of margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablate.core.levels import Level
from ablate.core.study import PREFERRED, Cell

Pair = tuple[Cell, Cell]


def pairs(
    cells: Sequence[Cell],
    factors: Mapping[str, Sequence[Level]],
    contrast: tuple[str, Sequence[Level]] | None = None,
    base: Cell | None = None,
) -> list[Pair]:
    """Return the pairs that a study's report compares unless others are requested.

    Args:
        cells: of the study.
        factors: of the study, with their levels.
        contrast: a factor and the levels compared, where the study names them; the first is compared with each other.
        base: the cell that all others are compared with, in a design that changes one factor at a time.
    """
    if base is not None:
        return [(base, cell) for cell in cells if cell != base]
    if contrast is None:
        contrast = _usual(factors)
    if contrast is None:
        return []
    factor, (first, *others) = contrast
    alike: dict[str, dict[str, list[Cell]]] = {}  # the other factors' levels -> this one's level -> cells
    for cell in cells:
        rest = [level for level in cell.levels if level[0] != factor and not level[0].startswith(f"{factor}.")]
        at_level = repr(dict(cell.levels)[factor])  # as text, since true is not 1
        alike.setdefault(repr(rest), {}).setdefault(at_level, []).append(cell)
    return [
        (cell, other)
        for level in others
        for group in alike.values()
        for cell in group.get(repr(first), ())
        for other in group.get(repr(level), ())
        if _match(cell, other, factor)
    ]


def _usual(factors: Mapping[str, Sequence[Level]]) -> tuple[str, Sequence[Level]] | None:
    """Return the factor and levels compared by default: the papers' contrast where they vary, else the first factor."""
    varied = {name: levels for name, levels in factors.items() if len(levels) > 1}
    name, preferred = PREFERRED
    if name in varied and set(preferred) <= set(varied[name]):
        return name, [*preferred, *(level for level in varied[name] if level not in preferred)]
    if not varied:
        return None
    name, levels = next(iter(varied.items()))
    numbers = [level for level in levels if isinstance(level, int | float)]
    return name, [*sorted(numbers), *(level for level in levels if level not in numbers)]


def _match(cell: Cell, other: Cell, factor: str) -> bool:
    """Return whether the factor's own keys, such as norm.temperature, agree where both cells have them."""
    second = dict(other.levels)
    own = [(level, second[name]) for name, level in cell.levels if name.startswith(f"{factor}.")]
    return all(None in pair or pair[0] == pair[1] for pair in own)
