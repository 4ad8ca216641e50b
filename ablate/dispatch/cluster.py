"""A Ray cluster that runs already, which the driver joins for one study."""

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

from ablate.core.errors import UsageError
from ablate.dispatch import code_bundle, node_check
from ablate.dispatch.capacity import Machines
from ablate.dispatch.embedded_ray import SETTINGS
from ablate.dispatch.slot import Slot

JOB = "ABLATE_JOB"
"""Set in a study that was submitted: its code is there already."""

SECONDS_FOR_ANSWERS = 120.0


class Cluster:
    """The cluster at an address, joined while this lasts; every machine of it was asked whether it can run the study.

    Args:
        address: of its head, HOST:PORT, which has let this person in.
        log: a file for what Ray prints.
        runs: the folder of run directories, which every node must see; None where they are elsewhere.
        recipes: of all trials.
        reads: one for each data set that nodes read by themselves; raises UsageError where they cannot.
        on_gpu: whether trials run on GPUs where there are any.

    Raises:
        UsageError: on entering; a node cannot run the study.
    """

    def __init__(
        self,
        address: str,
        *,
        log: Path,
        runs: Path | None,
        recipes: Sequence[Mapping[str, Any]],
        reads: Sequence[Callable[[], None]],
        on_gpu: bool,
    ) -> None:
        self.address, self.log, self.runs = address, log, runs
        self.recipes, self.reads, self.on_gpu = recipes, reads, on_gpu
        self.answers: dict[str, node_check.Answer] = {}
        self.ray: Any = None

    def __enter__(self) -> Self:
        with self.quiet():
            self.ray = self._joined()
            try:
                self.answers = self._asked()
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
        """While this lasts, what Ray prints goes to the log."""
        with self.log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield

    @property
    def warnings(self) -> list[str]:
        """What is only slow, each once."""
        return list(dict.fromkeys(told for one in self.answers.values() for told in one.warnings))

    def slots(self, slot: Slot) -> int:
        """Trials that run side by side now; raises UsageError where one is larger than every node."""
        machines = Machines.of(self.ray, self.gpu_memory)
        return machines.slots(machines.settled(slot))

    @property
    def gpu_memory(self) -> int | None:
        """Bytes of the smallest GPU of the cluster."""
        return min((held for one in self.answers.values() for held in one.gpu_bytes), default=None)

    def _joined(self) -> Any:
        os.environ.update({key: value for key, value in SETTINGS.items() if key not in _FOR_A_RAY_OF_OURS})
        import ray

        ours = signal.getsignal(signal.SIGTERM)
        with contextlib.ExitStack() as stack:
            how: dict[str, Any] = {}
            if JOB not in os.environ:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ablate-code-")))
                code_bundle.make(folder, Path.cwd())
                how["runtime_env"] = {"working_dir": str(folder)}
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level="error", **how)
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                reason = " ".join(str(error).split())
                raise UsageError(
                    f"dispatch.address={self.address}: Ray does not let this machine in: {reason}"
                ) from error
        if ours is not None:
            signal.signal(signal.SIGTERM, ours)  # Ray has put its own there
        return ray

    def _asked(self) -> dict[str, node_check.Answer]:
        """By address, what each node that has cores says of itself."""
        ray = self.ray
        mark = f".cluster-{secrets.token_hex(8)}"
        if self.runs is not None:
            (self.runs / mark).touch()
        try:
            question = node_check.Question(self.runs, mark, self.recipes, self.reads, self.on_gpu)
            task = ray.remote(num_cpus=0, max_retries=1)(node_check.answer)
            asked = {
                one["NodeManagerAddress"]: task.options(scheduling_strategy=on_node(one["NodeID"])).remote(question)
                for one in with_cores(ray)
            }
            return {node: self._answer(node, reference) for node, reference in asked.items()}
        finally:
            if self.runs is not None:
                (self.runs / mark).unlink(missing_ok=True)

    def _answer(self, node: str, reference: Any) -> node_check.Answer:
        errors = self.ray.exceptions
        try:
            answer: node_check.Answer = self.ray.get(reference, timeout=SECONDS_FOR_ANSWERS)
        except errors.GetTimeoutError as error:
            raise UsageError(
                f"dispatch=cluster: node {node} did not answer within {SECONDS_FOR_ANSWERS:.0f} s; "
                "allowed: a cluster whose machines answer (ray status)"
            ) from error
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            told = [line for line in str(cause).splitlines() if line.strip()]
            raise UsageError(f"dispatch=cluster: node {node} cannot run trials: {told[-1].strip()}") from error
        return answer


def with_cores(ray: Any) -> list[Mapping[str, Any]]:
    """The nodes that are there and have cores to give."""
    return [one for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU")]


def on_node(node_id: str) -> Any:
    """Have Ray run a task on this node, and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


_FOR_A_RAY_OF_OURS = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",)
