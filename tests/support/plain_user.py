"""The rights of a plain user, for tests that root runs too, as in containers: root may write everywhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import pytest

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER = 1, 2, 3


@contextlib.contextmanager
def plain_user() -> Iterator[None]:
    """Take root's rights over files from this thread, and from those that it starts; nothing changes for others."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, before):
        pytest.skip("the capabilities of this process cannot be read")
    fewer = (ctypes.c_uint32 * 6)(*before)
    fewer[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH | 1 << _FOWNER)
    if libc.capset(header, fewer):
        pytest.skip("the capabilities of this process cannot be changed")
    try:
        yield
    finally:
        libc.capset(header, before)
