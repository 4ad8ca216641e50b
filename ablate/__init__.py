"""Ablation studies: one line plans, runs and tracks them; `analysis` reports them."""

from pathlib import Path

__version__ = "0.1.0"

_PACKAGE = Path(__file__).resolve().parent
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
"""Hydra's config folder: inside the package in a wheel, beside it in a checkout."""
