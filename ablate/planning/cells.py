"""Which combinations of the levels in a line are its cells: what design, where, when, zip and reference say."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override

from ablate.core import expression
from ablate.core.errors import UsageError
from ablate.core.expression import Expression, quoted
from ablate.core.levels import Level, same, show
from ablate.planning import doe
from ablate.planning.doe import Point

KEYS = ("where", "when", "zip", "reference")


@dataclass
class Asked:
    """What was typed of these keys."""

    where: Any = None
    when: dict[str, Any] = field(default_factory=dict)
    zip: list[list[str]] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)


def asked(overrides: Iterable[Override]) -> Asked:
    """What the words of a line say of these keys; a later word stands in the place of an earlier one.

    Raises:
        UsageError: a word has not the form that its key takes.
    """
    found = Asked()
    for override in overrides:
        node, _, name = override.key_or_group.partition(".")
        if node in KEYS and not override.is_delete():
            typed, value = str(override.input_line), _one(override)
            if node == "where" and not name:
                found.where = value
            elif node == "zip" and not name:
                found.zip = _zips(typed, value)
            elif node in ("when", "reference") and (name or isinstance(value, dict)):
                getattr(found, node).update(_by_name(name, value))
            else:
                allowed = {"where": quoted("where", "norm == bn"), "zip": "zip=[depth,width]"}
                raise UsageError(f"{typed}: allowed: {allowed.get(node, f'{node}.FACTOR=...')}")
    return found


def _one(override: Override) -> Any:
    typed = str(override.input_line)
    node, _, text = typed.partition("=")
    if not override.is_sweep_override():
        return override.value()
    if node.lstrip("+").startswith(("where", "when.")):
        raise UsageError(f"{typed}: allowed in quotes, for the shell too: {quoted(node, text)}")
    raise UsageError(f"{typed}: allowed: one {'level' if 'reference' in node else 'list in brackets'}")


def _by_name(name: str, value: Any) -> dict[str, Any]:
    """{"norm.temperature": ...}, however deep it was typed."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        key: held
        for last, inner in value.items()
        for key, held in _by_name(f"{name}.{last}".lstrip("."), inner).items()
    }


def _zips(typed: str, value: Any) -> list[list[str]]:
    zips = [value] if value and _is_list_of_text(value) else value
    if not isinstance(zips, list) or not all(_is_list_of_text(one) and len(one) > 1 for one in zips):
        raise UsageError(f"{typed}: allowed: two factors or more, zip=[depth,width], or several such lists")
    names = [name for one in zips for name in one]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{typed}: {name} stands there twice; allowed: once")
    return zips


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@dataclass(frozen=True)
class _Axis:
    """What a design varies as one: a factor, or several zipped. levels: tuples of a level of each."""

    names: tuple[str, ...]
    levels: Sequence[tuple[Any, ...]]

    def __str__(self) -> str:
        return self.names[0] if len(self.names) == 1 else f"[{','.join(self.names)}]"


class Selection:
    """The cells of a line.

    Args:
        factors: the levels of each factor, as typed; those of zipped ones may repeat.
        groups: the factors that are groups of the config.
        said: what the line says.
        design: the values of conf/design/: its kind, and what that needs.
    """

    def __init__(
        self, factors: Mapping[str, Sequence[Any]], groups: Collection[str], said: Asked, design: Mapping[str, Any]
    ) -> None:
        self.said, self.design = said, design
        self.factors = {name: list({show(one): one for one in levels}.values()) for name, levels in factors.items()}
        self.axes = _axes(factors, said.zip)
        self.sizes = {str(axis): len(axis.levels) for axis in self.axes}
        self.when = self._conditions(groups)
        self.where = expression.read("where", said.where, self.factors, self.when) if said.where is not None else None
        self.center = self._reference()
        self.reference = self._collapsed(self.center)
        self.bare = self._collapsed(doe.bare(self.sizes, self.center))

    @property
    def _needed(self) -> dict[str, Point]:
        """The cells that the design's words speak of, by name."""
        reference = {"reference": self.reference} if self.design["kind"] != "full" or self.said.reference else {}
        return reference | ({"bare": self.bare} if self.design["kind"] == "add_one_in" else {})

    def points(self) -> list[Point]:
        """The points of the cells, in the order of the full grid. A point is the place of each axis' level.

        Raises:
            UsageError: these factors have no such design, or `where` leaves out what it needs, or everything.
        """
        for name, point in self._needed.items():
            if not self._keeps(point):
                cell = " ".join(f"{factor}={show(level)}" for factor, level in self.levels(point).items())
                allowed = "another reference, as in reference.FACTOR=LEVEL"
                raise UsageError(f"where={self.said.where}: leaves out the {name} cell {cell}; allowed: {allowed}")
        if self.design["kind"] == "random":
            return sorted(doe.draw(self.design, self.sizes, self.reference, self._keeps))
        made: Iterable[Point] = doe.points(self.design, self.sizes, self.center)
        if self.design["kind"] != "full":
            made = sorted({self._collapsed(point) for point in made})
        kept = [point for point in made if self._keeps(point)]
        if not kept:
            raise UsageError(f"where={self.said.where}: leaves no cell; allowed: what is true for one at least")
        return kept

    def levels(self, point: Point) -> dict[str, Any]:
        """The level of each factor that is set in a cell."""
        level_of = {
            name: level
            for axis, place in zip(self.axes, point, strict=True)
            for name, level in zip(axis.names, axis.levels[place], strict=True)
        }
        for name, condition in self.when.items():
            if not condition.holds(level_of):
                del level_of[name]
        return level_of

    def in_order(self, name: str, points: Sequence[Point], levels: Sequence[Level]) -> list[Level]:
        """The different levels of a factor as typed, given the level in effect at each of the points."""
        axis = next(place for place, one in enumerate(self.axes) if name in one.names)
        placed = sorted(zip((point[axis] for point in points), levels, strict=True), key=lambda one: one[0])
        return list({exactly(level): level for _, level in placed}.values())

    def terms(self, cell_at: Callable[[Point], Mapping[str, Level]]) -> dict[str, Any]:
        """What a report must know of it, JSON-ready; nothing for a full grid.

        `base` is the cell that all others of a design are compared with, where it has one.

        Args:
            cell_at: the levels in effect in the cell at a point.
        """
        told: dict[str, Any] = {name: dict(cell_at(point)) for name, point in self._needed.items()}
        if self.design["kind"] in ("one_factor", "leave_one_out", "add_one_in"):
            told["base"] = told.get("bare", told["reference"])
        if self.design["kind"] == "fractional" and max(self.sizes.values()) == 2:
            told["resolution"] = doe.resolution(list(self.sizes.values()).count(2), self.design["fraction"])
        if self.where:
            told["where"] = self.where.text
        if self.when:
            told["when"] = {name: one.text for name, one in self.when.items()}
        if self.said.zip:
            told["zip"] = self.said.zip
        return {"design": {**self.design, **told}} if told else {}

    def _conditions(self, groups: Collection[str]) -> dict[str, Expression]:
        """What each conditional factor asks, those first that others name."""
        read: dict[str, Expression] = {}
        values = [name for name in self.factors if name not in groups]
        for name, text in self.said.when.items():
            typed = f"when.{name}={show(text)}"
            if name in groups:
                raise UsageError(f"{typed}: {name} is a group, and each cell has one; allowed: {_listed(values)}")
            if name not in self.factors:
                raise UsageError(f"{typed}: {name} is not a factor; allowed: {_listed(values)}")
            read[name] = expression.read(f"when.{name}", text, self.factors, self.said.when)
        try:
            order = graphlib.TopologicalSorter({name: one.names & read.keys() for name, one in read.items()})
            return {name: read[name] for name in order.static_order()}
        except graphlib.CycleError as error:
            name = error.args[1][0]
            raise UsageError(
                f"when.{name}={read[name].text}: {name} depends on itself; allowed: other factors"
            ) from error

    def _reference(self) -> Point:
        """The first level typed of each factor, or what `reference` says."""
        for name, level in self.said.reference.items():
            typed = f"reference.{name}={show(level)}"
            if name not in self.factors:
                raise UsageError(f"{typed}: {name} is not a factor; allowed: {_listed(list(self.factors))}")
            if not any(same(level, one) for one in self.factors[name]):
                raise UsageError(
                    f"{typed}: not a level of it here; allowed: {', '.join(map(show, self.factors[name]))}"
                )
        return tuple(self._reference_of(axis) for axis in self.axes)

    def _reference_of(self, axis: _Axis) -> int:
        wanted = {name: self.said.reference[name] for name in axis.names if name in self.said.reference}
        for place, levels in enumerate(axis.levels):
            level_of = dict(zip(axis.names, levels, strict=True))
            if all(same(level_of[name], level) for name, level in wanted.items()):
                return place
        typed = " ".join(f"reference.{name}={show(level)}" for name, level in wanted.items())
        tuples = ", ".join(f"({', '.join(map(show, levels))})" for levels in axis.levels)
        raise UsageError(f"{typed}: zip={axis} has no such level; allowed: {tuples}")

    def _keeps(self, point: Point) -> bool:
        """Whether a point is a cell: `where` is true there, and it is the one that stands for its duplicates."""
        if not self.where and not self.when:
            return True
        return self._collapsed(point) == point and (not self.where or self.where.holds(self.levels(point)))

    def _collapsed(self, point: Point) -> Point:
        """The first point that sets the same factors to the same levels; `when` makes such duplicates."""
        if not self.when:
            return point
        level_of = self.levels(point)
        return tuple(
            place if all(name in level_of for name in axis.names) else _first_alike(axis, level_of)
            for axis, place in zip(self.axes, point, strict=True)
        )


def _first_alike(axis: _Axis, level_of: Mapping[str, Any]) -> int:
    def alike(levels: Sequence[Any]) -> bool:
        both = [(level_of[name], one) for name, one in zip(axis.names, levels, strict=True) if name in level_of]
        return all(exactly(first) == exactly(second) for first, second in both)

    return next(place for place, levels in enumerate(axis.levels) if alike(levels))


def _axes(factors: Mapping[str, Sequence[Any]], zips: Sequence[Sequence[str]]) -> list[_Axis]:
    """Each factor, or in the place of the first of a zip the zip."""
    zip_of = {name: one for one in zips for name in one}
    for name, one in zip_of.items():
        if name not in factors:
            raise UsageError(f"zip=[{','.join(one)}]: {name} is not a factor; allowed: {_listed(list(factors))}")
    for one in zips:
        if len({len(factors[name]) for name in one}) > 1:
            told = ", ".join(f"{name} has {len(factors[name])}" for name in one)
            raise UsageError(f"zip=[{','.join(one)}]: {told} levels; allowed: as many of each")
    names = dict.fromkeys(tuple(zip_of.get(name, [name])) for name in factors)
    return [_Axis(one, list(_distinct(zip(*(factors[name] for name in one), strict=True)))) for one in names]


def _distinct(levels: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    return iter({tuple(map(exactly, one)): one for one in levels}.values())


def exactly(level: Any) -> Any:
    """A key under which 1, 1.0 and true are three levels."""
    return (type(level), level) if isinstance(level, Level) else repr(level)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "a key with several levels; there is none"
