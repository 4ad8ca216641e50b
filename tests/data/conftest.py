from __future__ import annotations

from tests.support.threads import single_thread  # noqa: F401
