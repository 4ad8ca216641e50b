"""The folder of a report: the study's name, and what distinguishes the report from the study's default one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ablate.core.levels import show
from ablate.core.text import shortened

MOST_BYTES = 240
"""Of a folder's name, on the file systems that there are."""

Options = Mapping[str, object]
"""The options of a report that change its content and differ from the default, by name: JSON-ready values."""


def suffix(options: Options) -> str:
    """Return what is appended to a name for a report of other options than the default; empty for the default ones.

    >>> suffix({"metric": "train_loss", "lower_is_better": True, "contrast": ["bits", 32, 1]})
    '+metric=train_loss+lower_is_better+contrast=bits,32,1'
    """
    return "".join(f"+{key}" if value is True else f"+{key}={_words(value)}" for key, value in options.items())


def named(name: str, options: Options) -> str:
    """Return the name of the folder for a report of these options, where it is `name` for the default ones."""
    return shortened(_safe(f"{name}{suffix(options)}"), MOST_BYTES)


def of(out: Path, study: str, options: Options, source: Options) -> Path:
    """Return the folder for a report: the same one for the same report, and never one that holds another report.

    Args:
        out: the folder of reports.
        study: the study's name.
        options: as in `suffix`.
        source: what tells apart studies of one name, such as the database that they are in; JSON-ready values.
    """
    name = named(study, options)
    if _holds(out / name) in (None, [dict(options), dict(source)]):
        return out / name
    digest = hashlib.sha256(json.dumps([dict(options), dict(source)], sort_keys=True).encode()).hexdigest()[:8]
    return out / f"{shortened(name, MOST_BYTES - len(digest) - 1)}-{digest}"


def _holds(folder: Path) -> list[object] | None:
    """Return the options and the source of the report in the folder; None without one, or of an earlier release."""
    try:
        kept = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return [kept["options"], kept["source"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_words, value))
    return show(value) if value is None or isinstance(value, bool | int | float | str) else str(value)


def _safe(name: str) -> str:
    """Return a name with nothing in it that a file system or a shell takes for something else."""
    return re.sub(r"[^\w.+=,-]", "_", name)
