"""What an exported model says of itself, in whichever form it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ablate.core.identity import at_current_paths

KEY = "ablate"
"""Of the entry in a file's metadata that holds a card."""

PREPROCESSING = "none: pixel values 0 to 255 as they are, (channels, rows, columns); the network scales them itself"


@dataclass(frozen=True)
class Card:
    """The trial, its network, and how to feed and read it.

    config: the trial's resolved config, as its run directory holds it.
    shape: (C, H, W) of an image.
    labels: a name for each class, in the order of the logits.
    test_acc: in [0, 1], as the trial measured it.
    """

    trial_id: str
    config: Mapping[str, Any]
    shape: Sequence[int]
    labels: Sequence[str]
    test_acc: float
    made_with: str
    preprocessing: str = PREPROCESSING

    @property
    def classes(self) -> int:
        return len(self.labels)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Raise ValueError, KeyError or TypeError for what is no card."""
        values = json.loads(text)
        values["config"] = at_current_paths(values["config"])
        card = cls(**{**values, "shape": tuple(values["shape"]), "labels": tuple(values["labels"])})
        if len(card.shape) != 3:
            raise ValueError(f"shape {card.shape}")
        return card
