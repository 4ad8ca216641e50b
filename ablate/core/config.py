"""The type of a resolved config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]
"""A trial's or a cell's resolved config, or a group of it: nested, with plain values, as JSON would hold it.

It is open: a group's YAML names a class or function of ours or of a user's, with whatever arguments that takes.
"""
