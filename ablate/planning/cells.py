"""The combinations of a line's levels that are its cells, as design, where, when, zip and reference select them."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict, cast

from ablate.core import expression
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.expression import Expression
from ablate.core.levels import Level, same, show
from ablate.planning import doe
from ablate.planning.doe import Point
from ablate.planning.typed_selection import TypedSelection


class Design(TypedDict, total=False):
    """What a report must know of a study's design, JSON-ready. A key that does not apply is left out.

    A design may have further keys of conf/design/. `base` is the cell that all others are compared with.
    """

    kind: Required[str]
    reference: dict[str, Level]
    bare: dict[str, Level]
    base: dict[str, Level]
    resolution: int
    where: str
    when: dict[str, str]
    zip: list[list[str]]


@dataclass(frozen=True)
class _Axis:
    """What a design varies together: one factor, or several zipped ones. `levels` hold a level of each of the names."""

    names: tuple[str, ...]
    levels: Sequence[tuple[Any, ...]]

    def __str__(self) -> str:
        return self.names[0] if len(self.names) == 1 else f"[{','.join(self.names)}]"


class Selection:
    """The cells of a line.

    Args:
        factors: the levels of each factor, as typed; the levels of a zipped factor may repeat.
        groups: the factors that are groups of the config.
        typed: what the line says of where, when, zip and reference.
        design: the values of conf/design/: its kind, and what that kind needs.
    """

    def __init__(
        self, factors: Mapping[str, Sequence[Any]], groups: Collection[str], typed: TypedSelection, design: Config
    ) -> None:
        self.typed, self.design = typed, design
        self.factors = {
            name: list({show(level): level for level in levels}.values()) for name, levels in factors.items()
        }
        self.axes = _axes(factors, typed.zip)
        self.sizes = {str(axis): len(axis.levels) for axis in self.axes}
        self.when = self._conditions(groups)
        self.where = expression.read("where", typed.where, self.factors, self.when) if typed.where is not None else None
        self.center = self._reference()
        self.reference = self._collapsed(self.center)
        self.bare = self._collapsed(doe.bare(self.sizes, self.center))

    @property
    def _needed(self) -> dict[str, Point]:
        """The cells that the design is made around, by name: `where` must not leave them out."""
        reference = {"reference": self.reference} if self.design["kind"] != "full" or self.typed.reference else {}
        return reference | ({"bare": self.bare} if self.design["kind"] == "add_one_in" else {})

    def points(self) -> list[Point]:
        """Return the points of the cells, in the order of the full grid. A point is the index of each axis' level.

        Raises:
            UsageError: these factors have no such design, or `where` leaves out what it needs, or everything.
        """
        for name, point in self._needed.items():
            if not self._keeps(point):
                cell = " ".join(f"{factor}={show(level)}" for factor, level in self.levels(point).items())
                allowed = "another reference, as in reference.FACTOR=LEVEL"
                raise UsageError(f"where={self.typed.where}: leaves out the {name} cell {cell}; allowed: {allowed}")
        if self.design["kind"] == "random":
            return sorted(doe.draw(self.design, self.sizes, self.reference, self._keeps))
        made: Iterable[Point] = doe.points(self.design, self.sizes, self.center)
        if self.design["kind"] != "full":
            made = sorted({self._collapsed(point) for point in made})
        kept = [point for point in made if self._keeps(point)]
        if not kept:
            raise UsageError(
                f"where={self.typed.where}: leaves no cell; allowed: an expression that is true for at least one"
            )
        return kept

    def levels(self, point: Point) -> dict[str, Any]:
        """Return the level of each factor that is set in a cell."""
        level_of = {
            name: level
            for axis, index in zip(self.axes, point, strict=True)
            for name, level in zip(axis.names, axis.levels[index], strict=True)
        }
        for name, condition in self.when.items():
            if not condition.holds(level_of):
                del level_of[name]
        return level_of

    def in_order(self, name: str, points: Sequence[Point], levels: Sequence[Level]) -> list[Level]:
        """Return the distinct levels of a factor in the order typed, given the level in effect at each point."""
        factor = next(index for index, axis in enumerate(self.axes) if name in axis.names)
        by_index = sorted(zip((point[factor] for point in points), levels, strict=True), key=lambda pair: pair[0])
        return list({exactly(level): level for _, level in by_index}.values())

    def metadata(self, cell_at: Callable[[Point], Mapping[str, Level]]) -> Design | None:
        """Return what a report must know of the design; None for a full grid.

        Args:
            cell_at: returns the levels in effect in the cell at a point.
        """
        needed = {name: dict(cell_at(point)) for name, point in self._needed.items()}
        made = cast(Design, {**self.design, **needed})
        if self.design["kind"] in ("one_factor", "leave_one_out", "add_one_in"):
            made["base"] = made.get("bare", made["reference"])
        if self.design["kind"] == "fractional" and max(self.sizes.values()) == 2:
            made["resolution"] = doe.resolution(list(self.sizes.values()).count(2), self.design["fraction"])
        if self.where:
            made["where"] = self.where.text
        if self.when:
            made["when"] = {name: condition.text for name, condition in self.when.items()}
        if self.typed.zip:
            made["zip"] = self.typed.zip
        return made if made != self.design else None

    def _conditions(self, groups: Collection[str]) -> dict[str, Expression]:
        """Return the condition of each conditional factor; a factor that others name comes before them."""
        read: dict[str, Expression] = {}
        values = [name for name in self.factors if name not in groups]
        for name, text in self.typed.when.items():
            typed = f"when.{name}={show(text)}"
            if name in groups:
                raise UsageError(f"{typed}: {name} is a group, and each cell has one; allowed: {_listed(values)}")
            if name not in self.factors:
                raise UsageError(f"{typed}: {name} is not a factor; allowed: {_listed(values)}")
            read[name] = expression.read(f"when.{name}", text, self.factors, self.typed.when)
        try:
            order = graphlib.TopologicalSorter(
                {name: condition.names & read.keys() for name, condition in read.items()}
            )
            return {name: read[name] for name in order.static_order()}
        except graphlib.CycleError as error:
            name = error.args[1][0]
            raise UsageError(
                f"when.{name}={read[name].text}: {name} depends on itself; allowed: other factors"
            ) from error

    def _reference(self) -> Point:
        """Return the point of the level that `reference` names for each factor, or of its first level typed."""
        for name, level in self.typed.reference.items():
            typed = f"reference.{name}={show(level)}"
            if name not in self.factors:
                raise UsageError(f"{typed}: {name} is not a factor; allowed: {_listed(list(self.factors))}")
            if not any(same(level, other) for other in self.factors[name]):
                raise UsageError(
                    f"{typed}: not a level of it here; allowed: {', '.join(map(show, self.factors[name]))}"
                )
        return tuple(self._reference_of(axis) for axis in self.axes)

    def _reference_of(self, axis: _Axis) -> int:
        named = {name: self.typed.reference[name] for name in axis.names if name in self.typed.reference}
        for index, levels in enumerate(axis.levels):
            level_of = dict(zip(axis.names, levels, strict=True))
            if all(same(level_of[name], level) for name, level in named.items()):
                return index
        typed = " ".join(f"reference.{name}={show(level)}" for name, level in named.items())
        tuples = ", ".join(f"({', '.join(map(show, levels))})" for levels in axis.levels)
        raise UsageError(f"{typed}: zip={axis} has no such level; allowed: {tuples}")

    def _keeps(self, point: Point) -> bool:
        """Return whether a point is a cell: `where` is true there, and it is the first of its duplicates."""
        if not self.where and not self.when:
            return True
        return self._collapsed(point) == point and (not self.where or self.where.holds(self.levels(point)))

    def _collapsed(self, point: Point) -> Point:
        """Return the first point that sets the same factors to the same levels; `when` makes such duplicates."""
        if not self.when:
            return point
        level_of = self.levels(point)
        return tuple(
            index if all(name in level_of for name in axis.names) else _first_alike(axis, level_of)
            for axis, index in zip(self.axes, point, strict=True)
        )


def _first_alike(axis: _Axis, level_of: Mapping[str, Any]) -> int:
    def alike(levels: Sequence[Any]) -> bool:
        pairs = [(level_of[name], level) for name, level in zip(axis.names, levels, strict=True) if name in level_of]
        return all(exactly(first) == exactly(second) for first, second in pairs)

    return next(index for index, levels in enumerate(axis.levels) if alike(levels))


def _axes(factors: Mapping[str, Sequence[Any]], zips: Sequence[Sequence[str]]) -> list[_Axis]:
    """Return an axis for each factor. A zip has one axis, where its first factor is."""
    zip_of = {name: names for names in zips for name in names}
    for name, names in zip_of.items():
        if name not in factors:
            raise UsageError(f"zip=[{','.join(names)}]: {name} is not a factor; allowed: {_listed(list(factors))}")
    for names in zips:
        if len({len(factors[name]) for name in names}) > 1:
            counts = ", ".join(f"{name} has {len(factors[name])}" for name in names)
            raise UsageError(f"zip=[{','.join(names)}]: {counts} levels; allowed: as many of each")
    names_of_axes = dict.fromkeys(tuple(zip_of.get(name, [name])) for name in factors)
    return [
        _Axis(names, list(_distinct(zip(*(factors[name] for name in names), strict=True)))) for names in names_of_axes
    ]


def _distinct(levels: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    return iter({tuple(map(exactly, level)): level for level in levels}.values())


def exactly(level: Any) -> Any:
    """Return a key under which 1, 1.0 and true are three levels."""
    return (type(level), level) if isinstance(level, Level) else repr(level)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "a key with several levels; there is none"
