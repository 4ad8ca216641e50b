"""Every exception that ablate raises on purpose, under one base class."""

from __future__ import annotations


class AblateError(Exception):
    """The base class of ablate's own exceptions."""


class UsageError(AblateError, ValueError):
    """A mistake in what the user typed. The message says in one line what was typed, why it fails, and what is allowed.

    Commands print the message and exit with status 2.
    """


class Diverged(AblateError, ArithmeticError):
    """The training loss is NaN or infinite. A trial raises it; it is reported as `Failed(diverged)`."""


class Stopped(AblateError):
    """The trial stopped on request. It has no outcome yet and continues from its checkpoint another time."""


class Pruned(AblateError):
    """Tuning stopped the trial, after its checkpoint was written. The message says why."""


class AlreadyLeased(AblateError):
    """Another process holds the lease on the trial and is working on it."""


class ProcessLost(AblateError):
    """One of the processes that train a trial together died. The trial has no outcome."""


class DiskFull(AblateError):
    """The disk that holds the run directories is full. No trial counts as failed because of it."""


class StorageUnavailable(AblateError):
    """The object store does not answer, or refuses access, for now. The message says why in one line."""
