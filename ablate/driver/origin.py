"""Where a study comes from: each request is kept with it, and the changes in the user's checkout beside its runs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from ablate.core import provenance
from ablate.core.checkout import Checkout
from ablate.core.config import Config
from ablate.core.requests import REQUESTS, Request, diffs
from ablate.data import files
from ablate.planning.plan import Plan
from ablate.store.run_directory import CODE_FOLDER


def recorded(planned: Plan, runs: Path) -> Plan:
    """Return the plan with this request in its study's metadata; keep the changes in the user's checkout, if any.

    Args:
        planned: the plan, all of whose checks are done.
        runs: the runs folder, which exists.
    """
    states = provenance.checkouts(Path.cwd(), outputs={runs.name})
    request = provenance.request(states, data_sets(planned.cell_configs))
    _keep_diffs(states.values(), request, runs / CODE_FOLDER)
    study = planned.study
    metadata = {**study.metadata, REQUESTS: [request]}
    return dataclasses.replace(planned, study=dataclasses.replace(study, metadata=metadata))


def data_sets(configs: Iterable[Config]) -> dict[str, str]:
    """Return the name of each data set that has files -> what identifies their content."""
    contents = {}
    for config in configs:
        dataset = config["dataset"]
        target = str(dataset["_target_"])
        if content := dataset.get("content") or files.published_content(target):
            contents[target.rpartition(".")[2]] = str(content)
    return contents


def _keep_diffs(states: Iterable[Checkout], request: Request, folder: Path) -> None:
    """Write each patch that the request names, once. `ablate.submit` sends them as files of the working directory."""
    patches = {state.diff_name: state.diff for state in states}
    for name in diffs(request):
        sent = Path(name)
        content = sent.read_bytes() if sent.is_file() else patches.get(name)
        if content is not None and not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.write_bytes(content)
            temporary.replace(folder / name)
