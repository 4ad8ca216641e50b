"""What a study keeps of earlier requests, and which further ones it takes."""

from __future__ import annotations

import pytest

from ablate.core.requests import conflicts, merged, seeds_before


def test_the_same_request_again_is_no_look():
    once = merged({"seed_count": 3}, {}, had_results=False)
    assert merged({"seed_count": 3}, once, had_results=True) == {"seed_count": 3}


def test_fewer_seeds_later_leave_the_looks_as_they_are():
    grown = merged({"seed_count": 5}, {"seed_count": 3}, had_results=True)
    assert merged({"seed_count": 3}, grown, had_results=True) == {"seed_count": 5, "looks": [3, 5]}


AUTO = {"seeds": {"first": 3, "most": 20}}


def test_seeds_auto_after_a_look_at_a_fixed_number_is_one_more():
    """The first look had the whole level: 8.5% of such studies of one cell would end wrongly."""
    assert merged(AUTO, {"seed_count": 3}, had_results=True) == {**AUTO, "seed_count": 3, "looks": [3, 20]}
    assert merged(AUTO, {"seed_count": 3}, had_results=False) == {**AUTO, "seed_count": 3}


def test_seeds_once_added_by_results_stay_so():
    assert merged({"seed_count": 5}, AUTO, had_results=True) == {**AUTO, "seed_count": 5}
    more = {"seeds": {"first": 3, "most": 30}}
    assert merged(more, AUTO, had_results=True) == more
    assert merged(AUTO, more, had_results=True) == more


def test_a_study_tracked_from_another_folder_keeps_the_longer_list():
    assert merged({"seed_count": 8, "looks": [3, 5, 8]}, {"seed_count": 3}, had_results=False)["looks"] == [3, 5, 8]


def test_a_study_tracked_again_has_no_look_twice():
    tracked = {"seed_count": 5, "looks": [3, 5]}
    assert merged(tracked, {"seed_count": 3}, had_results=True) == tracked


@pytest.mark.parametrize(
    ("metadata", "before", "now", "expected"),
    [
        ({"seed_count": 7}, {"bits=1": 7, "bits=32": 3}, {"bits=32": 5}, 3),
        ({"seed_count": 7}, {"bits=1": 7, "bits=32": 3}, {"bits=8": 9}, 7),
        ({}, {"bits=1": 3}, {"bits=1": 5}, 3),  # written before there was a seed_count
        ({}, {"bits=1": 3}, {"bits=1": 3}, 3),
        ({}, {}, {"bits=1": 3}, None),
        (AUTO, {"bits=1": 3}, {"bits=1": 5}, None),
    ],
)
def test_the_seeds_before_are_those_of_the_cell_that_gets_more(metadata, before, now, expected):
    assert seeds_before(metadata, before, now) == expected


@pytest.mark.parametrize(
    ("words", "differing"),
    [
        (["norm=bn,srelu", "bits=1,32"], {}),
        (["norm=bn,srelu", "bits=1,32", "seeds=5"], {}),
        (["norm=bn,srelu,gn", "bits=1,2,32"], {}),
        (["norm=bn,srelu", "bits=1"], {}),
        (["norm=gn,ln", "bits=32"], {}),
        (["norm=bn,srelu", "depth=14,20"], {}),
        (["norm=bn,srelu", "bits=1,32", "depth=14", "recipe.lr=0.03"], {}),
        (["norm=bn,srelu", "bits=1,32", "depth=8"], {"depth": (14, 8)}),
        (["norm=srelu,gn", "bits=1,32", "depth=8", "width=1"], {"depth": (14, 8), "width": (2, 1)}),
        (["norm=bn,srelu", "bits=1,32", "recipe.lr=0.5"], {"recipe.lr": (0.03, 0.5)}),
        (["norm=bn,srelu", "bits=1,32", "resplit=true"], {"resplit": (False, True)}),
        (["norm=bn,srelu", "bits=1,32", "recipe=scaled_lr"], {"recipe": ("paper", "scaled_lr")}),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_a_study_holds_fixed_stays_as_it_is_and_what_it_varies_may_grow(planned, words, differing):
    before = planned("norm=bn,srelu", "bits=1,32").study
    assert conflicts(before, planned(*words).study) == differing


def test_of_a_group_the_option_is_named_and_not_what_follows_from_it(planned):
    before, now = (planned("norm=bn,srelu", f"dataset={name}").study for name in ("digits", "mnist"))
    differing = conflicts(before, now)
    assert differing["dataset"] == ("digits", "mnist")
    assert not [key for key in differing if key.startswith("dataset.")]


def test_what_differs_between_earlier_requests_is_no_longer_held_fixed(planned):
    import dataclasses

    first, second = (planned("norm=bn,srelu", f"depth={depth}").study for depth in (8, 14))
    mixed = dataclasses.replace(first, trials=[*first.trials, *second.trials])
    assert conflicts(mixed, planned("norm=bn,srelu", "depth=20").study) == {}


def request(command, *dates, **more):
    return {"command": command, "dates": list(dates), **more}


def test_each_request_is_listed_once_with_its_dates_the_oldest_first():
    morning, noon, evening = "2026-01-01T09:00:00+00:00", "2026-01-01T13:30:00+02:00", "2026-01-01T20:00:00+00:00"
    kept = {}
    for command, date in (("b", noon), ("a", evening), ("a", morning), ("a", evening)):
        kept = merged({"requests": [request(command, date)]}, kept, had_results=True)
    assert kept["requests"] == [request("a", morning, evening), request("b", noon)]


def test_a_request_with_other_code_is_another():
    first, second = (request("a", "2026-01-01T09:00:00+00:00", git={"commit": commit}) for commit in "12")
    assert len(merged({"requests": [second]}, {"requests": [first]}, had_results=True)["requests"]) == 2


def test_a_study_of_an_earlier_release_has_no_requests():
    assert "requests" not in merged({"seed_count": 3}, {"seed_count": 2}, had_results=False)
