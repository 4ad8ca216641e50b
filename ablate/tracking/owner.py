"""Whose experiment is whose on a server of many: two people may give their studies one name."""

from __future__ import annotations

from typing import Any

from ablate.core import provenance

OWNER = "ablate.user"
"""Tag of an experiment: who made it."""


def experiment_name(client: Any, uri: str, study: str) -> str:
    """The study's name, or on a server where that is another person's, the name with one's own behind it."""
    if not uri.startswith("http"):
        return study
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_experiment_by_name(study)
    except MlflowException as error:
        if error.get_http_status_code() != 403:
            raise
        return f"{study}@{provenance.name()}"  # another's, and not for us to see
    is_own = found is None or found.tags.get(OWNER, provenance.name()) == provenance.name()
    return study if is_own else f"{study}@{provenance.name()}"
