"""The format of a study in MLflow: the tags and params of its runs.

A study is an experiment with a parent run (`StudyRecord`) and a child run for each trial (`TrialRecord`). The tracker
writes these records, and the report reads them. This module alone knows the names of tags; encoding.py holds the
encodings, artifacts.py the artifacts, and trial_metadata.py what trials bring to a study's metadata.

Text is written as it is, so that searches such as `tags.outcome = 'done'` work. Every other value is JSON.
Versions of the format:

0   has no `record_version`. A factor's levels are joined by ", ", so a level that holds ", " reads as two.
1   writes a factor's levels as a JSON list, and continues a JSON value that is too long for one tag in further tags.
2   groups the names of a trial's metrics (metric_names.py), and logs those that come with its result at step 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from ablate.core.errors import UsageError
from ablate.core.levels import Level, show
from ablate.core.requests import REQUESTS, Request
from ablate.core.study import Study, Trial
from ablate.tracking import trial_metadata
from ablate.tracking.encoding import CONTINUED, below, factor_levels, joined, level, split
from ablate.tracking.metric_names import GROUPED_SINCE

RECORD_VERSION = GROUPED_SINCE

OWNER = "ablate.user"
"""Tag of an experiment: the user who made it."""

PARENT_RUN = "mlflow.parentRunId"
"""Tag of a trial's run: the id of the study's parent run, below which MLflow's pages show it."""

OUTCOME = "outcome"
REASON = "reason"
_VERSION, _KIND, _TRIAL_ID, _CELL = "record_version", "kind", "trial_id", "cell"
_HOST, _DEVICE, _THREADS, _EPOCHS = "host", "device", "threads", "epochs"
_MACHINE = "machine."
_CODE_VERSION = "code_version"
_USER = "mlflow.user"
_SOURCE = {"mlflow.source.name": "ablate"}
_REQUESTED_AT = "last_said"
_CONTRAST = "contrast"

_FACTOR = "factor."
_DERIVED = "derived."
_METADATA = "terms."

Kind = Literal["study", "trial", "tuning"]

EVERY_TRIAL = f"tags.{_TRIAL_ID} LIKE 't%'"
"""MLflow filter: the runs of all trials, those of tuning included."""


def of_kind(kind: Kind) -> str:
    """Return the MLflow filter for the runs of a kind."""
    return f"tags.{_KIND} = '{kind}'"


def of_trial(trial_id: str) -> str:
    """Return the MLflow filter for the runs of one trial. Trials that tuning tried have none here."""
    return f"tags.{_TRIAL_ID} = '{trial_id}' and {of_kind('trial')}"


@dataclass(frozen=True)
class Origin:
    """Where a study's runs come from.

    code_version: the release, and the commit in a git checkout.
    requested_at: when the study was requested, in seconds since the epoch; None stands for now.
    """

    code_version: str | None = None
    requested_at: float | None = None

    @classmethod
    def of_tags(cls, tags: Mapping[str, str], requested_at: float | None = None) -> Self:
        """Return the origin that the tags in a study's manifest name."""
        return cls(tags.get(_CODE_VERSION), requested_at)


@dataclass(frozen=True)
class StudyRecord:
    """A study's parent run.

    factors: each factor's levels, in the order typed.
    requested_at: the time of the last request, in seconds since the epoch; kept to the millisecond.
    derived: the config keys that nobody typed and whose values follow from another choice.
    contrast: the factor, with two of its levels, that the report compares.
    metadata: JSON-ready values by name, as in `Study`.
    """

    factors: Mapping[str, Sequence[Level]]
    requested_at: float
    derived: Sequence[str] = ()
    contrast: tuple[str, Sequence[Level]] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    code_version: str | None = None

    @classmethod
    def of(cls, study: Study, requested_at: float, *, user: str | None, code_version: str | None) -> Self:
        """Return the record of a study as it is requested now."""
        factors = {name: tuple(levels) for name, levels in study.factors.items()}
        contrast = (study.contrast[0], tuple(study.contrast[1])) if study.contrast else None
        return cls(
            factors,
            requested_at,
            derived=tuple(study.derived),
            contrast=contrast,
            metadata=study.metadata,
            user=user,
            code_version=code_version,
        )

    def to_tags(self) -> dict[str, str]:
        """Return the parent run's tags."""
        tags = {_VERSION: str(RECORD_VERSION), _KIND: "study", _REQUESTED_AT: f"{self.requested_at:.3f}"}
        tags |= split({f"{_FACTOR}{name}": json.dumps(list(levels)) for name, levels in self.factors.items()})
        tags |= {f"{_DERIVED}{key}": "" for key in self.derived}
        tags |= metadata_tags(self.metadata)
        tags |= _origin_tags(self.user, self.code_version)
        if self.contrast:
            factor, levels = self.contrast
            tags[_CONTRAST] = json.dumps({"factor": factor, "levels": list(levels)})
        return tags

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Self:
        """Return the record that a parent run's tags hold, of this version of the format or an earlier one.

        Raises:
            UsageError: a later release wrote the tags.
        """
        is_json = _version(tags) >= 1
        values = joined(tags)
        contrast = json.loads(tags.get(_CONTRAST, "null"))
        return cls(
            {name: factor_levels(text, is_json=is_json) for name, text in below(_FACTOR, values).items()},
            requested_at(tags),
            derived=tuple(below(_DERIVED, values)),
            contrast=(contrast["factor"], tuple(contrast["levels"])) if contrast else None,
            metadata={name: json.loads(text) for name, text in below(_METADATA, values).items()},
            user=tags.get(_USER),
            code_version=tags.get(_CODE_VERSION),
        )

    @property
    def chosen(self) -> list[trial_metadata.Chosen]:
        """Return what tuning chose for each tuned cell whose tuning is over, in the order of the design."""
        return trial_metadata.chosen(self.metadata)

    @property
    def tried(self) -> list[str]:
        """Return the ids of the trials that tuning tried."""
        return trial_metadata.tried(self.metadata)

    @property
    def drawn(self) -> dict[int, Mapping[str, Level]]:
        """Return the nuisance factors' values of each seed."""
        return trial_metadata.drawn(self.metadata)

    @property
    def request(self) -> dict[str, Any]:
        """Return the metadata that says what the study asks: all but what its trials brought, and its requests."""
        return {name: value for name, value in trial_metadata.without(self.metadata).items() if name != REQUESTS}

    @property
    def requests(self) -> Sequence[Request]:
        """Return every request of the study; empty where earlier releases wrote it."""
        return list(self.metadata.get(REQUESTS, ()))


@dataclass(frozen=True)
class TrialRecord:
    """A trial's run.

    cell: the levels of its cell, as a user would type them.
    tuning: whether tuning tried the trial.
    host, device, threads: where it runs; None for a trial that failed before it started.
    machine: the models of its CPU and GPU, and versions, as in `Started`; empty in runs of earlier releases.
    outcome: "done" or the kind of failure; None while it has none.
    reason: why it failed; empty for a trial that is done.
    epochs: how many epochs it trained, where tuning tried it.
    params: its config, flat, as in `Trial`. A text that reads as JSON, such as "8", comes back as what it reads as.
    version: of the format in which its run is written, to the end.
    """

    trial_id: str
    cell: str = ""
    tuning: bool = False
    host: str | None = None
    device: str | None = None
    threads: int | None = None
    machine: Mapping[str, str] = field(default_factory=dict)
    outcome: str | None = None
    reason: str = ""
    epochs: int | None = None
    user: str | None = None
    code_version: str | None = None
    params: Mapping[str, Level] = field(default_factory=dict)
    version: int = RECORD_VERSION

    @classmethod
    def of(cls, trial: Trial, *, user: str | None = None, code_version: str | None = None) -> Self:
        """Return the record of a trial that neither runs nor has an outcome. Its levels are its first params."""
        levels = (key for key, _ in (*trial.cell.levels, *trial.values, ("seed", trial.seed)))
        params = {key: trial.params[key] for key in (*levels, *trial.params) if key in trial.params}
        return cls(trial.trial_id, str(trial.cell), trial.tuning, user=user, code_version=code_version, params=params)

    def to_tags(self) -> dict[str, str]:
        """Return the tags of the trial's run."""
        tags = {
            _VERSION: str(self.version),
            _KIND: "tuning" if self.tuning else "trial",
            _TRIAL_ID: self.trial_id,
            _CELL: self.cell,
        }
        tags |= _known({_HOST: self.host, _DEVICE: self.device, _THREADS: self.threads})
        tags |= {f"{_MACHINE}{name}": text for name, text in self.machine.items()}
        return tags | _origin_tags(self.user, self.code_version) | self.outcome_tags()

    def outcome_tags(self) -> dict[str, str]:
        """Return those of the tags that are written once the trial has an outcome."""
        reason = self.reason if self.outcome not in (None, "done") else None
        return _known({OUTCOME: self.outcome, REASON: reason, _EPOCHS: self.epochs})

    def to_params(self) -> dict[str, str]:
        """Return the params of the trial's run, as a user would type them."""
        return {key: show(level) for key, level in self.params.items()}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], params: Mapping[str, str]) -> Self:
        """Return the record that the tags and params of a trial's run hold.

        Raises:
            UsageError: a later release wrote them.
        """
        version = _version(tags)
        return cls(
            tags[_TRIAL_ID],
            tags.get(_CELL, ""),
            tags.get(_KIND) == "tuning",
            host=tags.get(_HOST),
            device=tags.get(_DEVICE),
            threads=int(tags[_THREADS]) if _THREADS in tags else None,
            machine=below(_MACHINE, tags),
            outcome=tags.get(OUTCOME),
            reason=tags.get(REASON, ""),
            epochs=int(tags[_EPOCHS]) if _EPOCHS in tags else None,
            user=tags.get(_USER),
            code_version=tags.get(_CODE_VERSION),
            params={key: level(text) for key, text in params.items()},
            version=version,
        )


def metadata_tags(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a study's metadata, which are rewritten as trials end."""
    return split({f"{_METADATA}{name}": json.dumps(value) for name, value in metadata.items()})


def is_of_request(tag: str) -> bool:
    """Return whether a parent run's tag belongs to one request alone: the next request deletes it or writes it anew."""
    return tag.startswith((_METADATA, CONTINUED))


def requested_at(tags: Mapping[str, str]) -> float:
    """Return when a study was requested last, in seconds since the epoch, from its parent run's tags."""
    return float(tags[_REQUESTED_AT])


def requested_by(tags: Mapping[str, str]) -> str | None:
    """Return the user who requested a study last, from its parent run's tags."""
    return tags.get(_USER)


def _origin_tags(user: str | None, code_version: str | None) -> dict[str, str]:
    return _SOURCE | _known({_USER: user, _CODE_VERSION: code_version})


def _known(tags: Mapping[str, str | int | None]) -> dict[str, str]:
    """Return the tags that have a value, as text."""
    return {name: str(value) for name, value in tags.items() if value is not None}


def _version(tags: Mapping[str, str]) -> int:
    version = int(tags.get(_VERSION, 0))
    if version > RECORD_VERSION:
        raise UsageError(
            f"{_VERSION}={version}: a later release of ablate wrote this run to MLflow; allowed: up to {RECORD_VERSION}"
        )
    return version
