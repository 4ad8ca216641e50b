"""The descriptions of the norms in `norm`. Without torch."""

from __future__ import annotations

import math

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import Level, show
from ablate.networks.description import Norm


def batch_norm(config: Config) -> Norm:
    """Return the description of `norm.bn`. Raise UsageError for values that it refuses."""
    norm = config["norm"]
    for key, value in (("affine", norm["affine"]), ("sync", norm.get("sync", False))):
        if not isinstance(value, bool):
            raise UsageError(f"norm.{key}={show(value)}: allowed: true, false")
    _check_number("norm.eps", norm["eps"], above=0)
    return Norm(keeps_input=True, learns=norm["affine"])


def group_norm(config: Config) -> Norm:
    """Return the description of `norm.gn`. Raise UsageError for values that it refuses."""
    groups = config["norm"]["groups"]
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise UsageError(
            f"norm.groups={show(groups)}: allowed: a whole number from 1 up that divides each stage's channels"
        )
    _check_number("norm.eps", config["norm"]["eps"], above=0)
    _check_temperature(config)
    return Norm(keeps_input=True, learns=True, groups=groups)


def layer_norm(config: Config) -> Norm:
    """Return the description of `norm.ln`. Raise UsageError for values that it refuses."""
    _check_number("norm.eps", config["norm"]["eps"], above=0)
    _check_temperature(config)
    return Norm(keeps_input=True, learns=True)


def no_norm(config: Config) -> Norm:
    """Return the description of `norm.none`. Raise UsageError for values that it refuses."""
    _check_temperature(config)
    return Norm(keeps_input=False, learns=False)


def shifted_relu(config: Config) -> Norm:
    """Return the description of `norm.srelu`. Raise UsageError for values that it refuses."""
    _check_number("norm.floor", config["norm"]["floor"])
    _check_temperature(config)
    return Norm(keeps_input=False, learns=False)


def _check_temperature(config: Config) -> None:
    _check_number("norm.temperature", config["norm"]["temperature"], above=0)


def _check_number(key: str, value: Level, *, above: float = -math.inf) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > above:
        return
    allowed = "a number" if above == -math.inf else f"a number above {above:g}"
    raise UsageError(f"{key}={show(value)}: allowed: {allowed}")
