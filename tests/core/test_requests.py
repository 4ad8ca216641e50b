"""What a study's metadata keeps of earlier requests."""

from __future__ import annotations

from ablate.core.requests import merged


def test_the_same_request_again_is_no_look():
    once = merged({"seed_count": 3}, {}, had_results=False)
    assert merged({"seed_count": 3}, once, had_results=True) == {"seed_count": 3}


def test_fewer_seeds_later_leave_the_looks_as_they_are():
    grown = merged({"seed_count": 5}, {"seed_count": 3}, had_results=True)
    assert merged({"seed_count": 3}, grown, had_results=True) == {"seed_count": 5, "looks": [3, 5]}


def test_seeds_added_until_they_decide_are_no_look_and_forget_none():
    auto = {"seeds": {"most": 20}}
    assert merged(auto, {"seed_count": 3}, had_results=True) == {**auto, "seed_count": 3}
    before = {"seed_count": 5, "looks": [3, 5]}
    assert merged(auto, before, had_results=True) == {**auto, **before}


def test_a_study_tracked_from_another_folder_keeps_the_longer_list():
    assert merged({"seed_count": 8, "looks": [3, 5, 8]}, {"seed_count": 3}, had_results=False)["looks"] == [3, 5, 8]
