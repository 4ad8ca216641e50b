"""The card: the metadata of an exported model, the same in every file format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ablate.core.config import Config
from ablate.core.identity import at_current_paths, is_trial_id

KEY = "ablate"
"""The key of the card in a file's metadata."""

PREPROCESSING = "none: pixel values 0 to 255 as they are, (channels, rows, columns); the network scales them itself"


MOST_PIXELS = 1 << 16
"""Along one side of an image, and the most channels."""


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
        """Return the card that `to_json` wrote. What it names is not checked here: see `core.trust`.

        Raises:
            ValueError: it is any other text.
        """
        try:
            values = json.loads(text)
            values["config"] = at_current_paths(values["config"])
            card = cls(**{**values, "shape": tuple(values["shape"]), "labels": tuple(values["labels"])})
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"its card is none of ours: {type(error).__name__} {error}") from error
        card._check()
        return card

    def _check(self) -> None:
        """Raise ValueError for values that no trial has."""
        config = self.config
        groups = [config.get(name) for name in ("model", "norm", "dataset")]
        fits = {
            "trial_id": is_trial_id(self.trial_id),
            "shape": len(self.shape) == 3 and all(type(size) is int and 0 < size < MOST_PIXELS for size in self.shape),
            "labels": len(self.labels) > 0 and all(isinstance(label, str) for label in self.labels),
            "test_acc": isinstance(self.test_acc, int | float)
            and (math.isnan(self.test_acc) or 0 <= self.test_acc <= 1),
            "made_with": isinstance(self.made_with, str),
            "preprocessing": self.preprocessing == PREPROCESSING,
            "config": all(isinstance(group, Mapping) and isinstance(group.get("_target_"), str) for group in groups)
            and all(_is_size(config.get(key)) for key in ("depth", "width", "bits")),
        }
        for name, fit in fits.items():
            if not fit:
                raise ValueError(f"its card's {name} is {str(getattr(self, name))[:80]}")


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0
