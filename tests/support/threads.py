from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def single_thread():
    """Two threads on a busy core wait for each other at every operation: minutes in place of seconds."""
    torch.set_num_threads(1)
