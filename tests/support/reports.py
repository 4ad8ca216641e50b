"""Reports that a test has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def folder_of(name: str) -> Path:
    """Return the folder of a study's report that was written last, of whatever options."""
    folders = [path for path in Path("reports").iterdir() if path.name.partition("+")[0] == name]
    return max(folders, key=lambda path: (path / "report.json").stat().st_mtime_ns)


def numbers_of(name: str) -> dict[str, Any]:
    """Return what its report.json holds."""
    content: dict[str, Any] = json.loads((folder_of(name) / "report.json").read_text())
    return content
