"""How the user calls the commands: `ablate run`, or `python -m ablate.run`. Lines that are suggested have that form."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = "ablate"


def command(name: str) -> str:
    """Return what to type for a command, in the form of the line that runs now."""
    if is_script():
        return f"{SCRIPT} {name}"
    module = _report_module() if name == "report" else f"ablate.{name}"
    return f"python -m {module}"


def is_script() -> bool:
    """Return whether `ablate NAME` was typed, or `python -m ablate NAME`, rather than `python -m ablate.NAME`."""
    program = Path(sys.argv[0] if sys.argv else "")
    is_package = program.name == "__main__.py" and program.parent.name == SCRIPT
    return is_package or program.name in (SCRIPT, f"{SCRIPT}.exe")


def _report_module() -> str:
    """Return the module of the report that works here: `ablate.report` where `analysis` is something of the user's."""
    here, ours = Path.cwd(), Path(__file__).resolve().parents[2]
    in_the_way = here != ours and (Path("analysis.py").exists() or Path("analysis").is_dir())
    return "ablate.report" if in_the_way else "analysis.report"
