"""The card: the metadata of an exported model, the same in every file format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ablate.core.config import Config
from ablate.core.identity import at_current_paths

KEY = "ablate"
"""The key of the card in a file's metadata."""

PREPROCESSING = "none: pixel values 0 to 255 as they are, (channels, rows, columns); the network scales them itself"


@dataclass(frozen=True)
class Card:
    """The trial behind a model, the shape of its images and the names of its classes.

    config: the trial's resolved config, as its run directory holds it.
    shape: (C, H, W) of an image.
    labels: a name for each class, in the order of the logits.
    test_acc: in [0, 1], as the trial measured it.
    """

    trial_id: str
    config: Config
    shape: Sequence[int]
    labels: Sequence[str]
    test_acc: float
    made_with: str
    preprocessing: str = PREPROCESSING

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.labels)

    def to_json(self) -> str:
        """Return the card as JSON on one line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Return the card that `to_json` wrote. Raise ValueError, KeyError or TypeError for any other text."""
        values = json.loads(text)
        values["config"] = at_current_paths(values["config"])
        card = cls(**{**values, "shape": tuple(values["shape"]), "labels": tuple(values["labels"])})
        if len(card.shape) != 3:
            raise ValueError(f"shape {card.shape}")
        return card
