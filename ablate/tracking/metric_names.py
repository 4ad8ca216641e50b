"""Names of a trial's metrics in MLflow, whose pages make a section of charts for each text before a slash.

Sections, and the charts in each, stand in the order of the alphabet there: the first chart is the test accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping

GROUPED_SINCE = 2
"""The version of the format that groups names. Before it, metrics had the names that events give them."""

_GROUPS = {
    "accuracy": ("test_acc", "test_acc_multicrop", "train_acc", "valid_acc"),
    "cost": (
        *("parameters", "weight_bytes", "norm_moments", "inference_peak_bytes", "multiply_adds", "multiplications"),
        *("norm_ops", "activation_ops", "scale_ops", "add_ops", "pool_ops"),
    ),
    "loss": ("test_loss", "train_loss", "valid_loss"),
    "speed": (
        *("latency_ms", "latency_low_ms", "latency_high_ms"),
        *("inference_images_per_s", "inference_low_images_per_s", "inference_high_images_per_s"),
    ),
    "test": ("test_correct", "test_items", "restart_test_acc"),
    "train": ("lr", "train_s", "wall_s", "train_images_per_s", "peak_bytes", "saved_bytes", "train_peak_tensor_bytes"),
}

_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}
_POSITION = {name: position for position, name in enumerate(_GROUP_OF)}


def in_mlflow(name: str, version: int = GROUPED_SINCE) -> str:
    """Return the name in MLflow of a metric of an event, in a run whose record has this version.

    >>> in_mlflow("test_acc"), in_mlflow("test_acc", version=1), in_mlflow("a_users_own")
    ('accuracy/test_acc', 'test_acc', 'a_users_own')
    """
    group = _GROUP_OF.get(name) if version >= GROUPED_SINCE else None
    return f"{group}/{name}" if group else name


def every(name: str) -> list[str]:
    """Return all names that MLflow may have for a metric of an event, that of today first.

    >>> every("wall_s"), every("a_users_own")
    (['train/wall_s', 'wall_s'], ['a_users_own'])
    """
    return list(dict.fromkeys((in_mlflow(name), name)))


def of_events(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a run's metrics by the names that events give them, whatever the version of its record.

    >>> of_events({"accuracy/test_acc": 0.5, "wall_s": 2.0, "other/test_acc": 0.1})
    {'test_acc': 0.5, 'wall_s': 2.0, 'other/test_acc': 0.1}
    """
    return {of_event(name): value for name, value in metrics.items()}


def position(name: str) -> int:
    """Return where a metric of an event stands among others: accuracies first, what is not known last.

    >>> sorted(["lr", "a_users_own", "valid_acc", "test_acc"], key=position)
    ['test_acc', 'valid_acc', 'lr', 'a_users_own']
    """
    return _POSITION.get(name, len(_POSITION))


def of_event(name: str) -> str:
    """Return the name that events give a metric of MLflow's.

    >>> of_event("loss/valid_loss"), of_event("valid_loss"), of_event("other/valid_loss")
    ('valid_loss', 'valid_loss', 'other/valid_loss')
    """
    short = name.rpartition("/")[2]
    return short if in_mlflow(short) == name else name
