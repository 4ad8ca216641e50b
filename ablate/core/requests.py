"""What a study's metadata keeps of its earlier requests: what it registered first, and when it was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(metadata: Mapping[str, Any], before: Mapping[str, Any], *, had_results: bool) -> dict[str, Any]:
    """Return a request's metadata with what earlier requests of the study leave in it.

    What the study registered at its first request stays; a later word stands beside it. A request for more seeds after
    results were there means that the study was looked at with fewer: `looks` holds the numbers of seeds.

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
    seeds_before, seeds = before.get("seed_count"), metadata.get("seed_count")
    looks = max(before.get("looks", []), metadata.get("looks", []), key=len)
    if seeds_before and seeds and seeds > seeds_before and had_results:
        looks = [*(looks or [seeds_before]), seeds]
    if seeds_before or seeds:
        kept["seed_count"] = max(seeds_before or 0, seeds or 0)
    return kept | ({"looks": looks} if looks else {})
