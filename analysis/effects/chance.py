"""The accuracy of guessing: what a configuration that did not train leaves one with."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd
from omegaconf import OmegaConf

from ablate import CONF


def classes_of(trials: pd.DataFrame) -> int | None:
    """Return how many classes the trials' data set has; None where that is unknown, or they have several data sets.

    Args:
        trials: one row each. A column `dataset.classes` counts, else `dataset`, the name of a data set of ours.

    >>> classes_of(pd.DataFrame({"dataset": ["cifar100", "cifar100"]})), classes_of(pd.DataFrame({"dataset": ["mine"]}))
    (100, None)
    """
    numbers: set[int | None]
    if "dataset.classes" in trials and trials["dataset.classes"].notna().all():
        numbers = {int(number) for number in trials["dataset.classes"]}
    elif "dataset" in trials:
        numbers = {_classes_in_yaml(str(name)) for name in trials["dataset"].unique()}
    else:
        return None
    return numbers.pop() if len(numbers) == 1 else None


@lru_cache
def _classes_in_yaml(name: str) -> int | None:
    """Return the classes that conf/dataset/ states of a data set; None for one that is not ours, or states none."""
    path = CONF / "dataset" / f"{name}.yaml"
    if not path.is_file():
        return None
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    classes = config.get("shape", {}).get("classes")
    return classes if isinstance(classes, int) else None
