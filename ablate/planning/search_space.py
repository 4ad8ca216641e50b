"""The space that a key is drawn from, as typed after `tune.space.` or `nuisance.`: levels, or a range.

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
from ablate.core.levels import Level, is_number, show

DIGITS = 4
"""Significant digits of a number drawn from a range: enough to tell recipes apart, few enough to type again."""

FORMS = "a,b  choice(a,b)  range(1,9)  interval(0.1,1)  tag(log,interval(1e-3,1))"

EDGE = 0.05
"""The share of a range, on each side, in which a value counts as near the end."""


@dataclass(frozen=True)
class Levels:
    """A list of levels, each as likely as any other."""

    levels: tuple[Level, ...]

    @property
    def size(self) -> float:
        """The number of levels."""
        return len(self.levels)

    @property
    def ends(self) -> tuple[Level, ...]:
        """All the levels: each of them may be out of range."""
        return self.levels

    def at(self, share: float) -> Level:
        """Return the level at a share of the way, 0 to below 1."""
        return self.levels[int(share * len(self.levels))]

    def edge(self, value: Level) -> str:
        """Return "lowest" or "highest" for a value at that end of numeric levels, else ""."""
        numbers = [level for level in self.levels if is_number(level)]
        if len(numbers) < len(self.levels) or len(numbers) < 2:
            return ""
        return "lowest" if value == min(numbers) else "highest" if value == max(numbers) else ""

    def __str__(self) -> str:
        return ", ".join(map(show, self.levels))


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included.

    Attributes:
        low: the lowest number.
        high: the highest number.
        log: whether numbers are spread evenly in their logarithm.
        whole: whether they are whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> float:
        """The count of numbers; infinite unless they are whole."""
        return self.high - self.low + 1 if self.whole else math.inf

    @property
    def ends(self) -> tuple[Level, ...]:
        """The lowest and the highest number, as a config holds them."""
        return (self.rounded(self.low), self.rounded(self.high))

    def at(self, share: float) -> Level:
        """Return the number at a share of the way, 0 to below 1."""
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return self.rounded(math.floor(value) if self.whole else value)

    def rounded(self, value: float) -> Level:
        """Return the number as a config holds it, within the range.

        >>> Range(0.001, 1.0, log=True).rounded(0.0123456)
        0.01235
        """
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def edge(self, value: Level) -> str:
        """Return "lowest", "near the lowest" or the same of the highest in the outer twentieth of a side, else ""."""
        if not is_number(value):
            return ""
        position, low, high = float(value), float(self.low), float(self.high)
        if self.log:
            position, low, high = math.log(position), math.log(low), math.log(high)
        share = (position - low) / (high - low)
        if EDGE <= share <= 1 - EDGE:
            return ""
        side = "lowest" if share < EDGE else "highest"
        return side if value in self.ends else f"near the {side}"

    def __str__(self) -> str:
        kind = " ".join(word for word, is_so in (("whole", self.whole), ("log", self.log)) if is_so)
        return f"{show(self.ends[0])} to {show(self.ends[1])}" + (f" ({kind})" if kind else "")


Dimension = Levels | Range
Space = Mapping[str, Dimension]
"""Config key -> what it may be drawn from."""


def split(words: Sequence[str], prefix: str) -> tuple[Space, list[str]]:
    """Return the space that the words after a prefix span, and the other words.

    Raises:
        UsageError: a word spans nothing, or a key is typed twice.
    """
    space: dict[str, Dimension] = {}
    others = []
    for word in words:
        key, equals, _ = word.partition("=")
        if not key.lstrip("+").startswith(f"{prefix}."):
            others.append(word)
            continue
        name = key.lstrip("+").removeprefix(f"{prefix}.")
        if name in space:
            raise UsageError(f"{word}: {name} is typed twice; allowed: once")
        if not (name and equals):
            raise UsageError(f"{word}: allowed: {prefix}.KEY={FORMS}")
        try:
            override = OverridesParser.create().parse_override(f"{name}={word.partition('=')[2]}")
        except HydraException as error:
            raise UsageError(f"{word}: allowed: {FORMS}") from error
        space[name] = _dimension(override, word)
    return space, others


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


def _range(interval: IntervalSweep, typed: str) -> Range:
    unknown = interval.tags - {"log"}
    if unknown:
        raise UsageError(f"{typed}: tag {', '.join(sorted(unknown))}; allowed: log")
    log = "log" in interval.tags
    low, high = (math.nan if end is None else end for end in (interval.start, interval.end))
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"{typed}: allowed: interval(LOW,HIGH), the low end below the high one")
    if log and low <= 0:
        raise UsageError(f"{typed}: a range in the logarithm begins above 0; allowed: tag(log,interval(1e-3,1))")
    whole = isinstance(low, int) and isinstance(high, int)
    return Range(low, high, log, whole)


def size(space: Space) -> float:
    """Return how many configurations there are; infinite with a range of real numbers.

    >>> size({"a": Levels((1, 2)), "b": Range(1, 5, whole=True)})
    10
    """
    return math.prod(dimension.size for dimension in space.values())


def _plain(level: object) -> object:
    """Return the text of a quoted level: Hydra keeps it with its quotes."""
    return getattr(level, "text", level)
