"""What the run of a line would refuse, for mode=plan: the checks of a run that make and fetch nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from ablate import dispatch
from ablate.core import folders
from ablate.core.errors import UsageError
from ablate.core.study import Trial
from ablate.driver import preflight
from ablate.planning.plan import Plan
from ablate.store.run_store import RunStore
from ablate.tracking import address
from ablate.tuning import storage


def of_run(planned: Plan, store: RunStore, to_do: Sequence[Trial], *, on_cluster: bool) -> list[str]:
    """Return, a line each, what keeps the run of a plan from starting here and now.

    What a plan itself refuses is not among it. Nor is what only a trial shows, nor what cannot be known without a
    change: whether a bucket may be written to, whether files can be downloaded, and whether MLflow opens its database.

    Args:
        planned: the plan, which has passed its own checks.
        store: its run directories.
        to_do: the trials that are to run, of those known so far.
        on_cluster: whether trials run on the machines of a cluster.
    """
    settings, has_work = planned.settings, bool(to_do) or planned.is_adaptive
    checks: list[Callable[[], None]] = [
        functools.partial(folders.check_writable, "runs", settings.runs, store.runs),
        functools.partial(preflight.check_owner, planned, [trial.trial_id for trial in to_do], store.runs),
    ]
    if settings.track.uri is not None:
        checks.append(functools.partial(address.check_writable, settings.track.uri))
    if planned.tuning:
        name = planned.study.name
        checks.append(functools.partial(storage.check, planned.tuning.storage, name, Path(store.runs)))
    if has_work:
        checks.append(preflight.Data(planned.cell_configs, on_cluster=on_cluster, hook="look").read)
    if has_work and on_cluster:
        checks.append(lambda: _check_access(settings.dispatch.address or ""))
    return list(dict.fromkeys(line for check in checks if (line := _refusal(check))))


def _check_access(head: str) -> None:
    dispatch.check_access(head)


def _refusal(check: Callable[[], None]) -> str | None:
    try:
        check()
    except UsageError as refused:
        return str(refused)
    return None
