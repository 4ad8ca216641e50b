"""How often Python looks for unreachable cycles."""

from __future__ import annotations

import gc

import pytest

from ablate.core import garbage


@pytest.fixture(autouse=True)
def thresholds_restored():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()


def test_a_command_collects_seldom_and_training_as_python_does():
    garbage.collect_seldom()
    assert gc.get_threshold() == garbage.SELDOM
    garbage.collect_as_usual()
    assert gc.get_threshold() == garbage.USUAL


@pytest.mark.parametrize("was_enabled", [True, False])
def test_imports_are_not_interrupted_and_the_collector_is_left_as_it_was(was_enabled):
    if not was_enabled:
        gc.disable()
    with pytest.raises(ImportError):
        _fail_to_import()
    assert gc.isenabled() == was_enabled


def _fail_to_import():
    with garbage.not_collecting():
        assert not gc.isenabled()
        raise ImportError
