"""The report of `analysis`: `python -m ablate.report`, where a folder of that name or an analysis.py is in the way.

`python -m analysis.report` is the same command. Python looks for `analysis` in the working directory first, where a
user's own may be; this module loads the one beside it.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def main() -> None:
    load_analysis()
    from analysis import report

    report.main()


def load_analysis() -> None:
    """Import `analysis` from where this package is, whatever else has the name.

    Raises:
        ImportError: it is not there.
    """
    folder = Path(__file__).resolve().parents[1]
    spec = PathFinder.find_spec("analysis", [str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no package analysis in {folder}")
    loaded = sys.modules.get("analysis")
    if loaded is not None and getattr(loaded, "__file__", None) == spec.origin:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "analysis"]:
        del sys.modules[name]
    module = importlib.util.module_from_spec(spec)
    sys.modules["analysis"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
