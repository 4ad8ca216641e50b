"""What the requests of one study have to do with each other: what must be the same, and what is kept of each."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from ablate.core.identity import ADDED_LATER, CODE
from ablate.core.levels import Level, show
from ablate.core.study import Study

REQUESTS = "requests"
"""Name of the metadata that lists how the study was requested: an entry a command line, as `provenance.request`."""

Request = Mapping[str, Any]


def merged(metadata: Mapping[str, Any], before: Mapping[str, Any], *, had_results: bool) -> dict[str, Any]:
    """Return a request's metadata with what earlier requests of the study leave in it.

    What the study registered at its first request stays; a later word stands beside it. A request for more seeds after
    results were there, `seeds=auto` included, means that the study was looked at with fewer: `looks` holds the numbers
    of seeds. Seeds that were once added by results stay added by results. `code` is that of each part's last request.
    `requests` lists every request.

    Args:
        metadata: of this request. Its `seed_count` is absent where seeds are added until they decide.
        before: what this returned at the last request; empty for the first.
        had_results: whether any trial had a result before this request.

    >>> merged({"registered": 2}, {"registered": 1}, had_results=True)
    {'registered': 1, 'registered_later': 2}
    >>> merged({"seed_count": 5}, {"seed_count": 3}, had_results=True)
    {'seed_count': 5, 'looks': [3, 5]}
    >>> merged({"seed_count": 8}, {"seed_count": 5, "looks": [3, 5]}, had_results=True)
    {'seed_count': 8, 'looks': [3, 5, 8]}
    >>> merged({"seed_count": 5}, {"seed_count": 3}, had_results=False)
    {'seed_count': 5}
    """
    kept = dict(metadata)
    first, now = before.get("registered"), metadata.get("registered")
    if first is not None and now is not None and first != now:
        kept |= {"registered": first, "registered_later": now}
    if "seeds" in before:  # they were added by results, whatever this request says
        most = max(before["seeds"]["most"], metadata.get("seeds", before["seeds"])["most"])
        kept["seeds"] = {**before["seeds"], **metadata.get("seeds", {}), "most": most}
    if listed := _listed([*before.get(REQUESTS, ()), *metadata.get(REQUESTS, ())]):
        kept[REQUESTS] = listed
    if "code" in before:  # of parts that this request does not have
        kept["code"] = {**before["code"], **metadata.get("code", {})}
    count_before, seeds = before.get("seed_count"), metadata.get("seed_count")
    last = metadata["seeds"]["most"] if seeds is None and "seeds" in metadata else seeds
    looks = max(before.get("looks", []), metadata.get("looks", []), key=len)
    if count_before and last and last > max([count_before, *looks]) and had_results:
        looks = [*(looks or [count_before]), last]
    if count_before or seeds:
        kept["seed_count"] = max(count_before or 0, seeds or 0)
    return kept | ({"looks": looks} if looks else {})


def _listed(requests: Iterable[Request]) -> list[dict[str, Any]]:
    """Return the requests in the order of their first dates; of those that differ in their dates alone, one entry.

    >>> _listed([{"command": "a", "dates": [date]} for date in ("2026-02-01T10:00+00:00", "2026-01-01T10:00+00:00")])
    [{'command': 'a', 'dates': ['2026-01-01T10:00+00:00', '2026-02-01T10:00+00:00']}]
    """
    entries: list[tuple[dict[str, Any], set[str]]] = []
    for request in requests:
        rest = {key: value for key, value in request.items() if key != "dates"}
        same = next((dates for entry, dates in entries if entry == rest), None)
        if same is None:
            entries.append((rest, same := set()))
        same.update(request["dates"])
    listed = [{**rest, "dates": sorted(dates, key=_time)} for rest, dates in entries]
    return sorted(listed, key=lambda entry: _time(entry["dates"][0]))


def diffs(request: Request) -> list[str]:
    """Return the names of the patches that a request has: of the user's checkout, and of ablate's own."""
    named = (request.get(name, {}).get("diff") for name in ("git", "ablate_git"))
    return [name for name in named if name]


def _time(date: str) -> float:
    """Return the seconds since the epoch of a date with its time zone: drivers may be in several zones."""
    return datetime.datetime.fromisoformat(date).timestamp()


def seeds_before(
    metadata: Mapping[str, Any], cells_before: Mapping[str, int], cells_now: Mapping[str, int]
) -> int | None:
    """Return how many seeds a cell had before that has more now: of several such cells the one that had most.

    Where none has, it is the `seed_count` of the metadata before, or where an earlier release wrote none, the most
    seeds of any cell; None without a cell, and where seeds were added by results.

    Args:
        metadata: what the study has kept so far.
        cells_before: cell -> the seeds that it was requested with so far.
        cells_now: cell -> the seeds of this request.
    """
    if "seeds" in metadata:
        return None
    grown = [count for cell, count in cells_before.items() if count < cells_now.get(cell, 0)]
    return max(grown) if grown else metadata.get("seed_count", max(cells_before.values(), default=None))


def conflicts(before: Study, now: Study) -> dict[str, tuple[Level, Level]]:
    """Return the keys that both requests of a study hold fixed, at different values: the values before and now.

    What either request varies is no conflict, since the report keeps its levels apart. Nor is what follows from other
    choices in both. Of a group only its option is named where that differs.

    Args:
        before: the study as it was requested so far.
        now: the study as a new line requests it.
    """
    varied = [*before.factors, *now.factors]
    values_chosen = {key for study in (before, now) for trial in study.trials for key, _ in trial.values}
    left_out = ({*before.derived} & {*now.derived}) | values_chosen | {"seed", "numerics"}
    fixed_before, fixed_now = _fixed(before), _fixed(now)
    differing: dict[str, tuple[Level, Level]] = {}
    for key in sorted(fixed_before.keys() | fixed_now.keys()):
        above = [*varied, *differing]
        if key in left_out or key.endswith(CODE) or any(f"{key}.".startswith(f"{name}.") for name in above):
            continue
        absent = ADDED_LATER.get(key)
        pair = fixed_before.get(key, absent), fixed_now.get(key, absent)
        if _VARIES not in pair and show(pair[0]) != show(pair[1]):
            differing[key] = pair
    return differing


_VARIES = "\0varies"
"""Stands for the values of a key that differ between the trials of one request."""


def _fixed(study: Study) -> dict[str, Level]:
    """Return each key of the study's trials with its value, or with _VARIES."""
    values: dict[str, Level] = {}
    for trial in study.trials:
        for key, value in trial.params.items():
            if values.setdefault(key, value) != value:
                values[key] = _VARIES
    return values
