"""Descriptions that MLflow's pages show of an experiment, a study's parent run and a trial's run, in Markdown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablate.core import invocation
from ablate.core.events import Done, Outcome
from ablate.core.levels import Level, show
from ablate.core.study import PREFERRED, Study, Trial
from ablate.core.text import counted
from ablate.tracking import pages

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NOTE = "mlflow.note.content"
"""Tag of an experiment or a run: its description."""

DIGEST = "described"
"""Tag of a parent run: the digest of the description that ablate wrote last. Another text is a user's own."""

_MOST_LEVELS = 8
_MOST_LINES = 5
_MOST_CHARACTERS_OF_REASON = 1000
_MOST_CHARACTERS = 4500  # earlier releases of MLflow take 5000 in a tag of an experiment


def of_study(
    study: Study, metadata: Mapping[str, Any], page: pages.StudyPage, counts: Mapping[str, int] | None = None
) -> str:
    """Return the description of a study: its question, its lines, its counts, and where its numbers are.

    Args:
        study: as it is requested now.
        metadata: the study's, with what earlier requests left in it.
        page: the study's place in MLflow.
        counts: how many trials have which outcome; None while they run, when the parent run's metrics tell.
    """
    parts = [question(study), "  \n".join(_design(study, counts)), _where(study, page), *_lines(metadata)]
    return "\n\n".join(parts)[:_MOST_CHARACTERS]


def question(study: Study) -> str:
    """Return what a study asks, as a sentence.

    >>> question(Study("s", {"norm": ["bn", "srelu"], "bits": [1, 32]}, []))
    'How much does norm (bn against srelu) change the test accuracy, and how does that depend on bits (1, 32)?'
    """
    accuracy = f"the test accuracy{_on_data(study)}"
    factor, levels = study.contrast or PREFERRED
    is_compared = len(levels) == 2 and set(map(show, levels)) <= set(map(show, study.factors.get(factor, ())))
    if not is_compared:
        varied = [f"{name} ({_listed(levels)})" for name, levels in study.factors.items() if len(levels) > 1]
        return f"How much do {' and '.join(varied)} change {accuracy}?" if varied else f"What is {accuracy}?"
    sentence = f"How much does {factor} ({show(levels[0])} against {show(levels[1])}) change {accuracy}"
    others = [f"{name} ({_listed(of)})" for name, of in study.factors.items() if name != factor and len(of) > 1]
    return f"{sentence}, and how does that depend on {' and '.join(others)}?" if others else f"{sentence}?"


def of_trial(trial: Trial, outcome: Outcome | None = None) -> str:
    """Return the description of a trial: its result, its id, and the commands that take the id."""
    result = []
    if isinstance(outcome, Done) and "test_acc" in outcome.metrics:
        result = [f"**{100 * outcome.metrics['test_acc']:.2f}% test accuracy**"]
    elif outcome is not None and not isinstance(outcome, Done):
        result = [f"**{outcome.kind}**: {_escaped(outcome.reason[:_MOST_CHARACTERS_OF_REASON])}"]
    trained = isinstance(outcome, Done) and not trial.tuning
    commands = [f"`{invocation.command(command)} trial={trial.trial_id}`" for command in ("evaluate", "export")]
    return "  \n".join([*result, _escaped(str(trial)), f"trial `{trial.trial_id}`", *(commands if trained else ())])


def write(client: MlflowClient, experiment_id: str, parent_id: str, text: str) -> None:
    """Write the description of a study to its experiment and its parent run, but not over one that a user wrote."""
    from mlflow.entities import RunTag

    before = client.get_run(parent_id).data.tags.get(DIGEST)
    there = client.get_experiment(experiment_id).tags.get(NOTE)
    if not there or (there != text and _digest(there) == before):
        client.set_experiment_tag(experiment_id, NOTE, text)
    if _digest(text) != before:
        client.log_batch(parent_id, tags=[RunTag(NOTE, text), RunTag(DIGEST, _digest(text))])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lines(metadata: Mapping[str, Any]) -> list[str]:
    """Return the command lines by which the study was requested, the last first."""
    lines = list(dict.fromkeys(request["command"] for request in reversed(metadata.get("requests", ()))))
    left_out = len(lines) - _MOST_LINES
    return [f"```\n{line}\n```" for line in lines[:_MOST_LINES]] + (
        [f"and {counted(left_out, 'earlier line')}"] if left_out > 0 else []
    )


def _design(study: Study, counts: Mapping[str, int] | None) -> list[str]:
    shown = f": {', '.join(f'{count} {name}' for name, count in counts.items() if count)}" if counts else ""
    levels = [f"{name}: {_escaped(_listed(levels))}" for name, levels in study.factors.items()]
    return [f"{counted(len(study.cells), 'cell')}, {counted(len(study.trials), 'trial')}{shown}", *levels]


def _on_data(study: Study) -> str:
    """Return the data set that all trials have, after a space."""
    names = {trial.params.get("dataset") for trial in study.trials}
    return f" on {show(names.pop())}" if len(names) == 1 and None not in names else ""


def _where(study: Study, page: pages.StudyPage) -> str:
    return "  \n".join(
        [
            f"MLflow: [every trial]({page.trials}), [means over seeds]({page.cells}), [the study's run]({page.parent})",
            f"Report: `{invocation.command('report')} study={study.name}`; it leaves margins in the study's run, and "
            f"[a copy of itself]({page.report})",
        ]
    )


def _listed(levels: Sequence[Level]) -> str:
    shown = ", ".join(map(show, levels[:_MOST_LEVELS]))
    return f"{shown}, ... {len(levels)} in all" if len(levels) > _MOST_LEVELS else shown


def _escaped(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([\\`*_<>\[\]#|~])", r"\\\1", " ".join(text.split()))
