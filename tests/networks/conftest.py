from __future__ import annotations

from tests.support.threads import one_thread  # noqa: F401
