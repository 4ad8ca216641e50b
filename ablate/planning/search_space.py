"""What a key may be drawn from, as typed after `tune.space.` or `nuisance.`: levels, or a range.

The grammar is Hydra's for sweeps: a,b  choice(a,b)  range(1,9,2)  interval(0.1,1)  tag(log,interval(1e-3,1)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from ablate.core.errors import UsageError
from ablate.core.levels import Level, show

DIGITS = 4
"""Significant digits of a number drawn from a range: enough to tell recipes apart, few enough to type again."""

FORMS = "a,b  choice(a,b)  range(1,9)  interval(0.1,1)  tag(log,interval(1e-3,1))"


@dataclass(frozen=True)
class Levels:
    """Any of these."""

    levels: tuple[Level, ...]

    @property
    def size(self) -> float:
        return len(self.levels)

    @property
    def ends(self) -> tuple[Level, ...]:
        return self.levels

    def at(self, share: float) -> Level:
        """The level at a share of the way, 0 to below 1."""
        return self.levels[int(share * len(self.levels))]

    def edge(self, value: Level) -> str:
        """Where the levels are numbers and the value is the last of them on one side: lowest, or highest."""
        numbers = [level for level in self.levels if _is_number(level)]
        if len(numbers) < len(self.levels) or len(numbers) < 2:
            return ""
        return "lowest" if value == min(numbers) else "highest" if value == max(numbers) else ""  # type: ignore[type-var]

    def __str__(self) -> str:
        return ", ".join(map(show, self.levels))


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included: whole ones with `whole`, evenly in the logarithm with `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> float:
        return self.high - self.low + 1 if self.whole else math.inf

    @property
    def ends(self) -> tuple[Level, ...]:
        return (self.rounded(self.low), self.rounded(self.high))

    def at(self, share: float) -> Level:
        """The number at a share of the way, 0 to below 1."""
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return self.rounded(math.floor(value) if self.whole else value)

    def rounded(self, value: float) -> Level:
        """The number as a config holds it, within the range.

        >>> Range(0.001, 1.0, log=True).rounded(0.0123456)
        0.01235
        """
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def edge(self, value: Level) -> str:
        """Where the value lies in the outer twentieth of the range on one side: lowest, near the highest, and so on."""
        if not _is_number(value):
            return ""
        place, low, high = (float(one) for one in (value, self.low, self.high))  # type: ignore[arg-type]
        if self.log:
            place, low, high = math.log(place), math.log(low), math.log(high)
        share = (place - low) / (high - low)
        if EDGE <= share <= 1 - EDGE:
            return ""
        side = "lowest" if share < EDGE else "highest"
        return side if value in self.ends else f"near the {side}"

    def __str__(self) -> str:
        kind = " ".join(word for word, is_so in (("whole", self.whole), ("log", self.log)) if is_so)
        return f"{show(self.ends[0])} to {show(self.ends[1])}" + (f" ({kind})" if kind else "")


EDGE = 0.05

Dimension = Levels | Range
Space = Mapping[str, Dimension]
"""Config key -> what it may be drawn from."""


def taken(words: Sequence[str], prefix: str) -> tuple[Space, list[str]]:
    """The space that the words after a prefix span, and the other words.

    Raises:
        UsageError: a word spans nothing, or a key stands there twice.
    """
    space: dict[str, Dimension] = {}
    rest = []
    for word in words:
        key, equals, _ = word.partition("=")
        if not key.lstrip("+").startswith(f"{prefix}."):
            rest.append(word)
            continue
        name = key.lstrip("+").removeprefix(f"{prefix}.")
        if name in space:
            raise UsageError(f"{word}: {name} stands there twice; allowed: once")
        if not (name and equals):
            raise UsageError(f"{word}: allowed: {prefix}.KEY={FORMS}")
        try:
            override = OverridesParser.create().parse_override(f"{name}={word.partition('=')[2]}")
        except HydraException as error:
            raise UsageError(f"{word}: allowed: {FORMS}") from error
        space[name] = _dimension(override, word)
    return space, rest


def _dimension(override: Override, typed: str) -> Dimension:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _range(value, typed)
    if isinstance(value, ChoiceSweep | RangeSweep):
        levels = list(override.sweep_iterator())
    elif isinstance(value, list):
        levels = value
    else:
        raise UsageError(f"{typed}: one value leaves nothing to choose; allowed: {FORMS}")
    plain = tuple(dict.fromkeys(level for level in map(_plain, levels) if isinstance(level, Level)))
    if any(not isinstance(_plain(level), Level) for level in levels):
        raise UsageError(f"{typed}: allowed: {FORMS}")
    if len(plain) < 2:
        raise UsageError(f"{typed}: one value leaves nothing to choose; allowed: {FORMS}")
    return Levels(plain)


def _range(asked: IntervalSweep, typed: str) -> Range:
    unknown = asked.tags - {"log"}
    if unknown:
        raise UsageError(f"{typed}: tag {', '.join(sorted(unknown))}; allowed: log")
    log = "log" in asked.tags
    low, high = (math.nan if end is None else end for end in (asked.start, asked.end))
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"{typed}: allowed: interval(LOW,HIGH), the low end below the high one")
    if log and low <= 0:
        raise UsageError(f"{typed}: a range in the logarithm begins above 0; allowed: tag(log,interval(1e-3,1))")
    whole = isinstance(low, int) and isinstance(high, int)
    return Range(low, high, log, whole)


def size(space: Space) -> float:
    """How many configurations there are; infinite with a range of real numbers.

    >>> size({"a": Levels((1, 2)), "b": Range(1, 5, whole=True)})
    10
    """
    return math.prod(one.size for one in space.values())


def _plain(level: object) -> object:
    """Hydra keeps the quotes of a quoted level."""
    return getattr(level, "text", level)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
