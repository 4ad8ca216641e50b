"""`where` and `when`: expressions that compare factors with levels. They are parsed, and never run as Python.

An expression compares factors with levels (== != < <= > >= in, not in; comparisons may be chained). It joins
comparisons with and, or, not and parentheses. A bare word that is not a factor is a level. Anything else raises
UsageError.
"""

from __future__ import annotations

import ast
import json
import operator
import shlex
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import Level, is_number, same, show

Holds = Callable[[Mapping[str, Level]], bool]
"""Takes each factor's level in a cell, returns whether the expression is true. A factor not set counts as null."""

_ORDERS: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_WORDS = {"true": True, "false": False, "null": None}
_ALLOWED = "comparisons (== != < <= > >= in, not in) of factors with levels, and, or, not, parentheses"


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    `text` is what the user typed. `names` are the factors that it compares. `holds` returns whether it is true in a
    cell.
    """

    text: str
    names: frozenset[str]
    holds: Holds


def read(key: str, text: object, factors: Mapping[str, Sequence[Level]], optional: Collection[str] = ()) -> Expression:
    """Parse the expression that the user typed as `key="text"`.

    Args:
        key: the key that it belongs to: where, or when.FACTOR.
        text: what the user typed, without the quotes; anything but a str raises UsageError.
        factors: the levels of each factor. A level that a factor does not have raises UsageError.
        optional: the factors that are null in cells that do not set them.

    Raises:
        UsageError: the text does not follow the grammar above, or names a factor or a level that does not exist.

    >>> holds = read("where", "norm == bn and bits > 1", {"norm": ["bn", "gn"], "bits": [1, 32]}).holds
    >>> [holds({"norm": "bn", "bits": 32}), holds({"norm": "bn", "bits": 1}), holds({"norm": "gn", "bits": 32})]
    [True, False, False]
    """
    example = next((f"{name} == {show(levels[0])}" for name, levels in factors.items()), "norm == bn")
    quotes = f"in quotes, for the shell too: {quoted(key, example)}"
    if not isinstance(text, str):
        raise UsageError(f"{key}={json.dumps(text)}: allowed: an expression {quotes}")
    reader = _Reader(f"{key}={text}", factors, optional)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise UsageError(f"{key}={text}: cannot be read ({error.msg}); allowed: {_ALLOWED}; {quotes}") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"{key}={text[:80]}: cannot be read; allowed: {_ALLOWED}; {quotes}") from error
    try:
        holds = reader.truth(tree)
        holds({})
    except RecursionError as error:
        raise UsageError(f"{key}={text[:80]}...: too deep in parentheses; allowed: {_ALLOWED}") from error
    return Expression(text, frozenset(reader.names), holds)


def quoted(key: str, text: str) -> str:
    """Return an expression as a user types it: in quotes for Hydra's grammar, and in the shell's quotes around them.

    >>> print(quoted("where", "norm == bn or bits == 1"))
    'where="norm == bn or bits == 1"'
    """
    escaped = text.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


@dataclass(frozen=True)
class _Factor:
    name: str


class _Reader:
    """Turns the parsed text into functions of a cell's levels. `names` collects the factors that occur in it."""

    def __init__(self, typed: str, factors: Mapping[str, Sequence[Level]], optional: Collection[str]) -> None:
        self.typed, self.factors, self.optional = typed, factors, optional
        self.names: set[str] = set()

    def truth(self, node: ast.expr) -> Holds:
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(value) for value in node.values]
            if isinstance(node.op, ast.And):
                return lambda cell: all(part(cell) for part in parts)
            return lambda cell: any(part(cell) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            operand = self.truth(node.operand)
            return lambda cell: not operand(cell)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = [self.comparison(*pair) for pair in zip(sides, node.ops, sides[1:], strict=False)]
            return pairs[0] if len(pairs) == 1 else lambda cell: all(pair(cell) for pair in pairs)
        part = self._text(node)
        if isinstance(node, ast.Name | ast.Attribute) and part in self.factors:
            raise self._error(f"{part} alone is no comparison; allowed: {part} == {show(self.factors[part][0])}")
        if isinstance(node, ast.Name | ast.Attribute | ast.Constant):
            raise self._error(f"{part} alone is no comparison; allowed: {_ALLOWED}")
        raise self._refused(node)

    def comparison(self, left: ast.expr, comparator: ast.cmpop, right: ast.expr) -> Holds:
        if isinstance(comparator, ast.In | ast.NotIn):
            return self._member(left, right, wanted=isinstance(comparator, ast.In))
        if isinstance(comparator, ast.Is | ast.IsNot):
            raise self._error(f"is: allowed: {_ALLOWED}")
        first, second = self.operand(left), self.operand(right)
        factors = [side for side in (first, second) if isinstance(side, _Factor)]
        if not factors:
            raise self._no_factor(left, right)
        get_first, get_second = _getter(first), _getter(second)
        if type(comparator) in _ORDERS:
            for side in (first, second):
                self._check_number(side)
            order = _ORDERS[type(comparator)]
            return lambda cell: _in_order(order, get_first(cell), get_second(cell))
        for side in (first, second):
            if not isinstance(side, _Factor):
                self._check_level(factors[0], side)
        if isinstance(comparator, ast.Eq):
            return lambda cell: same(get_first(cell), get_second(cell))
        return lambda cell: not same(get_first(cell), get_second(cell))

    def _member(self, left: ast.expr, right: ast.expr, *, wanted: bool) -> Holds:
        if not isinstance(right, ast.List | ast.Tuple):
            raise self._error(f"in {self._text(right)}: allowed: a list of levels in brackets, as norm in [bn, gn]")
        factor = self.operand(left)
        if not isinstance(factor, _Factor):
            raise self._no_factor(left)
        levels = []
        for level in [self.operand(element) for element in right.elts]:
            if isinstance(level, _Factor):
                raise self._error(f"{level.name}: a factor in a list; allowed: levels of {factor.name}")
            self._check_level(factor, level)
            levels.append(level)
        return lambda cell: any(same(cell.get(factor.name), level) for level in levels) == wanted

    def operand(self, node: ast.expr) -> _Factor | Level:
        """Return the factor or the level that a side of a comparison names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            number = node.operand.value if isinstance(node.operand, ast.Constant) else None
            if is_number(number):
                return -number if isinstance(node.op, ast.USub) else number
        name = _dotted(node)
        if name in self.factors:
            self.names.add(name)
            return _Factor(name)
        if isinstance(node, ast.Name):
            return _WORDS.get(node.id, node.id)
        if name:
            raise self._error(f"{name}: {self._factors()}")
        raise self._refused(node)

    def _check_level(self, factor: _Factor, level: Level) -> None:
        levels = self.factors[factor.name]
        if level is None and factor.name in self.optional:
            return
        if not any(same(level, known) for known in levels):
            raise self._error(f"{factor.name} has no level {show(level)}; allowed: {', '.join(map(show, levels))}")

    def _check_number(self, side: _Factor | Level) -> None:
        levels = self.factors[side.name] if isinstance(side, _Factor) else [side]
        for level in levels:
            if not (is_number(level) or (level is None and isinstance(side, _Factor))):
                named = f"{side.name}'s level {show(level)}" if isinstance(side, _Factor) else show(level)
                raise self._error(f"{named} is not a number; allowed with < <= > >=: numbers")

    def _no_factor(self, *sides: ast.expr) -> UsageError:
        names = [side for side in sides if isinstance(side, ast.Name) and side.id not in _WORDS] or sides
        return self._error(f"{self._text(names[0])}: {self._factors()}")

    def _factors(self) -> str:
        return f"no such factor; allowed: {', '.join(self.factors) or 'keys with several levels; there is none'}"

    def _refused(self, node: ast.AST) -> UsageError:
        return self._error(f"{self._text(node)}: allowed: {_ALLOWED}")

    def _text(self, node: ast.AST) -> str:
        return _dotted(node) or ast.unparse(node)

    def _error(self, reason: str) -> UsageError:
        return UsageError(f"{self.typed}: {reason}")


def _dotted(node: ast.AST) -> str:
    """Return a name with its dots, or an empty text for any other node."""
    if isinstance(node, ast.Attribute):
        above = _dotted(node.value)
        return above and f"{above}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _getter(side: _Factor | Level) -> Callable[[Mapping[str, Level]], Level]:
    if isinstance(side, _Factor):
        return lambda cell: cell.get(side.name)
    return lambda cell: side


def _in_order(order: Callable[[Any, Any], bool], first: Level, second: Level) -> bool:
    """Return whether two levels are in this order. Null is neither below nor above a number."""
    return first is not None and second is not None and order(first, second)
