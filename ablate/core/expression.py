"""`where` and `when`: a comparison of factors with levels, read by a grammar of its own and never run as Python.

An expression compares factors with levels (== != < <= > >= in, not in; chained ones too), and joins comparisons with
and, or, not and parentheses. A bare word that is no factor is a level. Anything else is a UsageError.
"""

from __future__ import annotations

import ast
import operator
import shlex
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import show

Holds = Callable[[Mapping[str, Any]], bool]
"""Whether an expression is true, given each factor's level; a factor that is not set counts as null."""

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
    """names: the factors that it compares."""

    text: str
    names: frozenset[str]
    holds: Holds


def read(key: str, text: Any, factors: Mapping[str, Sequence[Any]], optional: Collection[str] = ()) -> Expression:
    """The expression that was typed as `key="text"`.

    Args:
        key: where it stands: where, or when.FACTOR.
        text: what was typed, without the quotes.
        factors: the levels of each factor. A level that a factor does not have is a UsageError.
        optional: the factors that may be not set, and then are null.

    Raises:
        UsageError: it is not of the grammar above, or names a factor or a level that there is not.

    >>> holds = read("where", "norm == bn and bits > 1", {"norm": ["bn", "gn"], "bits": [1, 32]}).holds
    >>> [holds({"norm": "bn", "bits": 32}), holds({"norm": "bn", "bits": 1}), holds({"norm": "gn", "bits": 32})]
    [True, False, False]
    """
    example = next((f"{name} == {show(levels[0])}" for name, levels in factors.items()), "norm == bn")
    quotes = f"in quotes, for the shell too: {quoted(key, example)}"
    if not isinstance(text, str):
        raise UsageError(f"{key}={show(text)}: allowed: an expression {quotes}")
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
    """An expression as one types it: quotes for Hydra's grammar, and those of the shell around them.

    >>> print(quoted("where", "norm == bn or bits == 1"))
    'where="norm == bn or bits == 1"'
    """
    escaped = text.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def same(one: Any, other: Any) -> bool:
    """Whether two levels are one: numbers by value, all else as typed.

    >>> same(1, 1.0), same("none", None), same(True, 1), same("8", 8)
    (True, False, False, True)
    """
    return one == other if _is_number(one) and _is_number(other) else show(one) == show(other)


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


@dataclass(frozen=True)
class _Factor:
    name: str


class _Reader:
    """Turns the parsed text into functions of a cell's levels. `names` are the factors met."""

    def __init__(self, typed: str, factors: Mapping[str, Sequence[Any]], optional: Collection[str]) -> None:
        self.typed, self.factors, self.optional = typed, factors, optional
        self.names: set[str] = set()

    def truth(self, node: ast.expr) -> Holds:
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(value) for value in node.values]
            if isinstance(node.op, ast.And):
                return lambda cell: all(part(cell) for part in parts)
            return lambda cell: any(part(cell) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            denied = self.truth(node.operand)
            return lambda cell: not denied(cell)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = [self.comparison(*pair) for pair in zip(sides, node.ops, sides[1:], strict=False)]
            return pairs[0] if len(pairs) == 1 else lambda cell: all(pair(cell) for pair in pairs)
        part = self._text(node)
        if isinstance(node, ast.Name | ast.Attribute) and part in self.factors:
            raise self._mistake(f"{part} alone is no comparison; allowed: {part} == {show(self.factors[part][0])}")
        if isinstance(node, ast.Name | ast.Attribute | ast.Constant):
            raise self._mistake(f"{part} alone is no comparison; allowed: {_ALLOWED}")
        raise self._refused(node)

    def comparison(self, left: ast.expr, by: ast.cmpop, right: ast.expr) -> Holds:
        if isinstance(by, ast.In | ast.NotIn):
            return self._member(left, right, wanted=isinstance(by, ast.In))
        if isinstance(by, ast.Is | ast.IsNot):
            raise self._mistake(f"is: allowed: {_ALLOWED}")
        first, second = self.operand(left), self.operand(right)
        factors = [side for side in (first, second) if isinstance(side, _Factor)]
        if not factors:
            raise self._no_factor(left, right)
        get_first, get_second = _getter(first), _getter(second)
        if type(by) in _ORDERS:
            for side in (first, second):
                self._check_number(side)
            order = _ORDERS[type(by)]
            return lambda cell: _in_order(order, get_first(cell), get_second(cell))
        for side in (first, second):
            if not isinstance(side, _Factor):
                self._check_level(factors[0], side)
        if isinstance(by, ast.Eq):
            return lambda cell: same(get_first(cell), get_second(cell))
        return lambda cell: not same(get_first(cell), get_second(cell))

    def _member(self, left: ast.expr, right: ast.expr, *, wanted: bool) -> Holds:
        if not isinstance(right, ast.List | ast.Tuple):
            raise self._mistake(f"in {self._text(right)}: allowed: a list of levels in brackets, as norm in [bn, gn]")
        factor = self.operand(left)
        if not isinstance(factor, _Factor):
            raise self._no_factor(left)
        levels = [self.operand(one) for one in right.elts]
        for level in levels:
            if isinstance(level, _Factor):
                raise self._mistake(f"{level.name}: a factor in a list; allowed: levels of {factor.name}")
            self._check_level(factor, level)
        return lambda cell: any(same(cell.get(factor.name), level) for level in levels) == wanted

    def operand(self, node: ast.expr) -> Any:
        """A factor, or a level."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            number = node.operand.value if isinstance(node.operand, ast.Constant) else None
            if _is_number(number):
                return -number if isinstance(node.op, ast.USub) else number  # type: ignore[operator]
        name = _dotted(node)
        if name in self.factors:
            self.names.add(name)
            return _Factor(name)
        if isinstance(node, ast.Name):
            return _WORDS.get(node.id, node.id)
        if name:
            raise self._mistake(f"{name}: {self._factors()}")
        raise self._refused(node)

    def _check_level(self, factor: _Factor, level: Any) -> None:
        levels = self.factors[factor.name]
        if level is None and factor.name in self.optional:
            return
        if not any(same(level, one) for one in levels):
            raise self._mistake(f"{factor.name} has no level {show(level)}; allowed: {', '.join(map(show, levels))}")

    def _check_number(self, side: Any) -> None:
        levels = self.factors[side.name] if isinstance(side, _Factor) else [side]
        for level in levels:
            if not (_is_number(level) or (level is None and isinstance(side, _Factor))):
                named = f"{side.name}'s level {show(level)}" if isinstance(side, _Factor) else show(level)
                raise self._mistake(f"{named} is not a number; allowed with < <= > >=: numbers")

    def _no_factor(self, *sides: ast.expr) -> UsageError:
        names = [side for side in sides if isinstance(side, ast.Name) and side.id not in _WORDS] or sides
        return self._mistake(f"{self._text(names[0])}: {self._factors()}")

    def _factors(self) -> str:
        return f"no such factor; allowed: {', '.join(self.factors) or 'keys with several levels; there is none'}"

    def _refused(self, node: ast.AST) -> UsageError:
        return self._mistake(f"{self._text(node)}: allowed: {_ALLOWED}")

    def _text(self, node: ast.AST) -> str:
        return _dotted(node) or ast.unparse(node)

    def _mistake(self, told: str) -> UsageError:
        return UsageError(f"{self.typed}: {told}")


def _dotted(node: ast.AST) -> str:
    """A name with its dots; empty for anything else."""
    if isinstance(node, ast.Attribute):
        above = _dotted(node.value)
        return above and f"{above}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _getter(side: Any) -> Callable[[Mapping[str, Any]], Any]:
    if isinstance(side, _Factor):
        return lambda cell: cell.get(side.name)
    return lambda cell: side


def _in_order(order: Callable[[Any, Any], bool], first: Any, second: Any) -> bool:
    """Null is neither below nor above a number."""
    return first is not None and second is not None and order(first, second)
