from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import service

NEEDED = ("ip", "nsenter", "unshare")


@pytest.fixture(scope="session")
def cluster() -> Iterator[service.Service]:
    """PostgreSQL, MLflow with auth, and three Ray nodes with token auth beside the driver's host."""
    if os.geteuid() or not all(map(shutil.which, NEEDED)) or not Path("/usr/lib/postgresql").is_dir():
        pytest.skip("needs root, iproute2, util-linux and postgresql")
    folder = Path(tempfile.mkdtemp(prefix="ablate-service-"))
    try:
        with service.running(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)
