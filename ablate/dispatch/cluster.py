"""A Ray cluster that is already running, which the driver joins for one study."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.dispatch import code_bundle, node_check
from ablate.dispatch.capacity import Machines
from ablate.dispatch.embedded_ray import SETTINGS
from ablate.dispatch.ray_private import raised_by_task
from ablate.dispatch.slot import Slot

JOB = "ABLATE_JOB"
"""The variable that is set in a submitted study, whose code is on the cluster already."""

SECONDS_FOR_ANSWERS = 120.0

_FOR_EMBEDDED_RAY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",)
"""The settings that keep an embedded Ray on loopback."""


class Cluster:
    """The cluster at an address, as a context manager: the driver belongs to it inside.

    On entering, every machine of it checks whether it can run the study.

    Args:
        address: HOST:PORT of its head. `cluster_access.check` has returned it.
        log: a file for what Ray prints.
        runs: the folder of run directories, which every node must see. None where they are elsewhere.
        recipes: the recipes of all trials.
        reads: a function for each data set that nodes read by themselves. It raises UsageError where they cannot.
        on_gpu: whether trials run on GPUs where there are any.

    Raises:
        UsageError: on entering, where a node cannot run the study or Ray does not let this machine join.
    """

    def __init__(
        self,
        address: str,
        *,
        log: Path,
        runs: Path | None,
        recipes: Sequence[Config],
        reads: Sequence[Callable[[], None]],
        on_gpu: bool,
    ) -> None:
        self.address, self.log, self.runs = address, log, runs
        self.recipes, self.reads, self.on_gpu = recipes, reads, on_gpu
        self.answers: dict[str, node_check.Answer] = {}
        self.ray: Any = None

    def __enter__(self) -> Self:
        with self.quiet():
            self.ray = self._join()
            try:
                self.answers = self._check_nodes()
                node_check.refuse(self.answers)
            except BaseException:
                self.ray.shutdown()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        with self.quiet():
            self.ray.shutdown()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Send what Ray prints inside this context to the log."""
        with self.log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield

    @property
    def warnings(self) -> list[str]:
        """Return the warnings of all nodes, each once."""
        return list(dict.fromkeys(warning for answer in self.answers.values() for warning in answer.warnings))

    def slots(self, slot: Slot) -> int:
        """Return how many trials run side by side now. Raise UsageError where a trial is larger than every node."""
        machines = Machines.of(self.ray, self.gpu_memory)
        return machines.slots(machines.resolve(slot))

    @property
    def gpu_memory(self) -> int | None:
        """Return the bytes of the smallest GPU of the cluster. None where it has no GPU."""
        return min((size for answer in self.answers.values() for size in answer.gpu_bytes), default=None)

    def _join(self) -> Any:
        """Join the cluster and return the module ray."""
        os.environ.update({key: value for key, value in SETTINGS.items() if key not in _FOR_EMBEDDED_RAY})
        import ray

        handler = signal.getsignal(signal.SIGTERM)
        with contextlib.ExitStack() as stack:
            code: dict[str, Any] = {}
            if JOB not in os.environ:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ablate-code-")))
                code_bundle.make(folder, Path.cwd())
                code["runtime_env"] = {"working_dir": str(folder)}
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level="error", **code)
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                reason = " ".join(str(error).split())
                raise UsageError(
                    f"dispatch.address={self.address}: Ray does not let this machine join: {reason}"
                ) from error
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)  # in place of the one that ray.init sets
        return ray

    def _check_nodes(self) -> dict[str, node_check.Answer]:
        """Return address -> answer of each node that has cores."""
        ray = self.ray
        mark = f".cluster-{secrets.token_hex(8)}"
        if self.runs is not None:
            (self.runs / mark).touch()
        try:
            question = node_check.Question(self.runs, mark, self.recipes, self.reads, self.on_gpu)
            task = ray.remote(num_cpus=0, max_retries=1)(node_check.answer)
            references = {
                node["NodeManagerAddress"]: task.options(scheduling_strategy=on_node(node["NodeID"])).remote(question)
                for node in with_cores(ray)
            }
            return {address: self._answer(address, reference) for address, reference in references.items()}
        finally:
            if self.runs is not None:
                (self.runs / mark).unlink(missing_ok=True)

    def _answer(self, address: str, reference: Any) -> node_check.Answer:
        """Wait for the answer of the node at this address. Raise UsageError where it has none."""
        errors = self.ray.exceptions
        try:
            answer: node_check.Answer = self.ray.get(reference, timeout=SECONDS_FOR_ANSWERS)
        except errors.GetTimeoutError as error:
            raise UsageError(
                f"dispatch=cluster: node {address} did not answer within {SECONDS_FOR_ANSWERS:.0f} s; "
                "allowed: a cluster whose machines answer (ray status)"
            ) from error
        except errors.RayError as error:
            lines = [line for line in str(raised_by_task(error)).splitlines() if line.strip()]
            raise UsageError(f"dispatch=cluster: node {address} cannot run trials: {lines[-1].strip()}") from error
        return answer


def with_cores(ray: Any) -> list[Mapping[str, Any]]:
    """Return the nodes that are alive and have cores for trials."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def on_node(node_id: str) -> Any:
    """Return the scheduling strategy that has Ray run a task on this node and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)
