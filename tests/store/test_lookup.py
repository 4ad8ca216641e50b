from __future__ import annotations

import pytest

from ablate.core.errors import UsageError
from ablate.store import lookup


@pytest.fixture
def runs(tmp_path):
    for name in ("tabcdef0", "tabcdef1", "tfedcba0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    return tmp_path


def test_an_id_or_its_first_six_characters_name_a_trial(runs):
    assert lookup.full_id("tabcdef1", runs) == "tabcdef1"
    assert lookup.full_id("tfedcb", runs) == "tfedcba0"
    assert lookup.full_id("t99999", runs, ["t999999"]) == "t999999"


def test_characters_that_begin_several_ids_are_refused_with_the_ids(runs):
    with pytest.raises(UsageError, match="trial=tabcde: 2 ids begin so; allowed: tabcdef0, tabcdef1, in full"):
        lookup.full_id("tabcde", runs)


def test_fewer_characters_are_refused_with_ids_that_begin_so(runs):
    with pytest.raises(UsageError, match=r"trial=tfed: not in .*; did you mean tfedcba0\?"):
        lookup.full_id("tfed", runs)
