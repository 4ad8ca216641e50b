"""The part of a study's metadata that its trials bring: what tuning tried and chose, and what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from ablate.core.levels import Level
from ablate.tracking.encoding import below

_CHOSEN = "chosen."
_TRIED = "tried."
_DRAWN = "drawn."

MOST_ENTRIES = 100
"""Trials, or seeds, in one entry of the metadata that lists them."""


class Chosen(TypedDict):
    """What a search chose for a cell, as in `analysis.sources.runs.Choice`. `values` is empty where no trial finished.

    Earlier releases, which had one search for each cell, wrote no `search`.
    """

    cell: Mapping[str, Level]
    values: Mapping[str, Level]
    edges: Mapping[str, str]
    search: NotRequired[int]


def collect(
    choices: Mapping[int, Chosen],
    tried_ids: Mapping[int, Sequence[str]],
    drawn_values: Sequence[tuple[int, Mapping[str, Level]]],
) -> dict[str, Any]:
    """Return the metadata that a study's trials bring, as the functions below read it.

    Args:
        choices: by a search's position, what it chose: those of a cell after those of the cells before.
        tried_ids: by a search's position, the ids of the trials that it tried.
        drawn_values: each seed with its nuisance factors' values, in the order of the seeds.
    """
    metadata: dict[str, Any] = {f"{_CHOSEN}{position}": entry for position, entry in choices.items()}
    for position, trial_ids in tried_ids.items():
        for start in range(0, len(trial_ids), MOST_ENTRIES):
            metadata[f"{_TRIED}{position}.{start}"] = list(trial_ids[start : start + MOST_ENTRIES])
    for start in range(0, len(drawn_values), MOST_ENTRIES):
        metadata[f"{_DRAWN}{start}"] = dict(drawn_values[start : start + MOST_ENTRIES])
    return metadata


def chosen(metadata: Mapping[str, Any]) -> list[Chosen]:
    """Return what tuning chose for each tuned cell whose tuning is over, in the order of the design."""
    entries = below(_CHOSEN, metadata)
    return [entries[position] for position in sorted(entries, key=int)]


def tried(metadata: Mapping[str, Any]) -> list[str]:
    """Return the ids of the trials that tuning tried."""
    return [trial_id for trial_ids in below(_TRIED, metadata).values() for trial_id in trial_ids]


def drawn(metadata: Mapping[str, Any]) -> dict[int, Mapping[str, Level]]:
    """Return the nuisance factors' values of each seed."""
    return {int(seed): values for of_seeds in below(_DRAWN, metadata).values() for seed, values in of_seeds.items()}


def without(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata without what the trials brought."""
    of_trials = (_CHOSEN, _TRIED, _DRAWN)
    return {name: value for name, value in metadata.items() if not name.startswith(of_trials)}
