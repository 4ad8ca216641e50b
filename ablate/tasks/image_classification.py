"""Image classification: one config -> its parts -> the trial's events. A worker needs little more than torch for it.

torch is imported inside functions, so that the driver can name `run` and `warm` without paying for it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.core import garbage
from ablate.core.config import Config
from ablate.core.errors import Stopped
from ablate.core.events import Done, Epoch, Event, Notice, from_dict, to_dict
from ablate.core.text import first_line
from ablate.store.run_directory import PRUNE
from ablate.training import build, memory
from ablate.training.checkpoint_policy import CheckpointPolicy
from ablate.training.environment import started

if TYPE_CHECKING:
    from ablate.data.splits import ImageDataset
    from ablate.training.evaluation import Scores
    from ablate.training.ranks import Ranks

Metrics = dict[str, float]


def run(
    config: Config,
    directory: Path,
    *,
    threads: int,
    device: str,
    policy: CheckpointPolicy | None = None,
    data: Callable[[], ImageDataset] | None = None,
    cost: bool = False,
    ranks: Ranks | None = None,
) -> Iterator[Event]:
    """Train and evaluate one trial, as its plain config says; yield its events.

    Where `directory` holds a checkpoint, the trial goes on from it, after yielding the epochs that the checkpoint
    reports. Before Done the trained weights are written there. With warm restarts, the epoch that ends a cycle
    reports its test accuracy, as in [WR] figure 5: for display, never to choose by. Until the last epoch that is with
    the running statistics of batch norms, since re-estimating them would take draws from the training.

    On several ranks all of them run this, each on its shard of every batch. The first rank alone reads and writes the
    directory, and its events are the trial's. A checkpoint of several ranks serves a single process, and the reverse.

    Args:
        config: the resolved scientific config of a trial, the seed included.
        directory: the trial's run directory; only the first rank's matters.
        threads: CPU threads for torch, of each rank; results on a CPU repeat to the last bit at one thread count.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        policy: of checkpoints; None for the default one.
        data: returns the data set of this config, as `build.dataset` does; None to load it here.
        cost: whether Done also reports what the network costs, as `ablate.training.cost` measures it.
        ranks: the processes that train it together, as many as `recipe.shards`; None for this one alone.

    Raises:
        Diverged: the training loss is NaN or infinite.
        UsageError: an image file is damaged.
        Stopped: the trial is requested to stop.
        Pruned: a tuning requests it to stop.
    """
    policy = policy or CheckpointPolicy()
    _stop_if_requested(directory, policy, ranks)
    garbage.collect_as_usual()
    warm()
    from ablate.training import compute, generators
    from ablate.training.ranks import ALONE

    device = compute.prepared(threads, device)
    epochs = config["recipe"]["epochs"]
    yield started(device, threads, epochs)
    memory.begin(device)
    began = time.perf_counter()

    def events() -> Iterator[Event]:
        parts = build.parts(config, device, threads=threads, ranks=ranks or ALONE, load_dataset=data)
        attempt = _Attempt(config, directory, policy, parts, began)
        yield from attempt.restore()
        metrics, test = yield from attempt.epochs()
        yield from attempt.finish(metrics, test, cost=cost)

    yield from generators.apart(events())


def warm() -> None:
    """Import what every trial needs: a worker process does so while the plan is made and data is read."""
    with garbage.not_collecting():
        import hydra.utils  # noqa: F401

        from ablate.data import loader  # noqa: F401
        from ablate.networks import wrn  # noqa: F401
        from ablate.training import checkpoint, evaluation, loop  # noqa: F401


def _stop_if_requested(directory: Path, policy: CheckpointPolicy, ranks: Ranks | None) -> None:
    """Raise Stopped where the first rank sees the stop file, before torch is imported in a process that is alone."""
    is_requested = policy.stop is not None and (directory / policy.stop).exists()
    if ranks.first_value(is_requested) if ranks else is_requested:
        raise Stopped


class _Attempt:
    """A trial between Started and Done: its parts, its checkpoints, and the epochs that it has reported.

    Args:
        config: the trial's resolved config.
        directory: its run directory.
        policy: of checkpoints.
        parts: what the config makes.
        began: when the attempt began, in seconds of `time.perf_counter`.
    """

    def __init__(
        self, config: Config, directory: Path, policy: CheckpointPolicy, parts: build.Parts, began: float
    ) -> None:
        from ablate.training.checkpoint import Checkpoints, CheckpointWriter

        self.config, self.directory, self.policy, self.parts = config, directory, policy, parts
        self.began = began
        """Moved back by the seconds of earlier attempts when a checkpoint is restored."""
        self.reported: list[Epoch] = []
        self.pending: Metrics | None = None
        """Of the epoch that is trained but not yet reported."""
        self.peak_bytes_before = 0
        self.device = parts.compute.device.type
        self.checkpoints = Checkpoints(directory, epochs=policy.epochs, minutes=policy.minutes)
        stop = None if policy.stop is None else directory / policy.stop
        self.writer = CheckpointWriter(self.checkpoints, stop, directory / PRUNE, self.state, parts.ranks)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds, its format aside."""
        return {
            "training": self.parts.training.state(),
            "history": [to_dict(epoch) for epoch in self.reported],
            "pending": self.pending,
            "wall_s": self.wall_s(),
            "peak_bytes": self.peak_bytes(),
        }

    def wall_s(self) -> float:
        """Return the seconds that the trial has taken, earlier attempts included."""
        return time.perf_counter() - self.began

    def peak_bytes(self) -> int:
        """Return the peak memory of this attempt, of the rank with the most."""
        return int(self.parts.ranks.largest(memory.peak_bytes(self.device)))

    def restore(self) -> Iterator[Event]:
        """Go on from the newest whole checkpoint, if there is one; yield the epochs that it reports, and notices."""
        ranks, training = self.parts.ranks, self.parts.training
        state, complaints = ranks.first_value(self.checkpoints.load() if ranks.is_first else (None, []))
        if state is not None:
            training.restore(state["training"])
            self.reported, self.pending = [_epoch(values) for values in state["history"]], state["pending"]
            self.began, self.peak_bytes_before = self.began - state["wall_s"], state["peak_bytes"]
            yield from self.reported
        for complaint in complaints:
            where = f"in epoch {training.epoch + 1}, from the one before" if state else "from the beginning"
            yield Notice(text=f"{complaint}; it goes on {where}")

    def epochs(self) -> Generator[Event, None, tuple[Metrics, Scores]]:
        """Train, evaluate and report the remaining epochs; return the last epoch's metrics and its test scores.

        A restored checkpoint may hold an epoch that is trained but not yet evaluated, which then comes first.
        """
        recipe, training = self.config["recipe"], self.parts.training
        restarts = build.restarts(recipe)
        metrics: Metrics = {}
        test: Scores | None = None
        for trained in itertools.chain([self.pending] if self.pending else [], training.epochs(self.writer.between)):
            epoch, self.pending = training.epoch, trained
            is_last, is_restart = epoch == recipe["epochs"], epoch in restarts
            self.writer.after_epoch(epoch, is_last=is_last)
            # From here on the last epoch's batch norms are no longer those of the training, which cannot be kept.
            between = self.writer.stop_if_requested if is_last else self.writer.between
            if is_last and recipe["moments"] == "reestimated":
                self._reestimate_batch_norms(between)
            metrics = trained | self._validation(between)
            if is_last or is_restart:
                test = self._scores("test", between)
            displayed = {"restart_test_acc": test.acc} if test and is_restart else {}
            self.reported.append(Epoch(epoch=epoch, metrics=metrics | displayed | {"wall_s": self.wall_s()}))
            self.pending = None
            yield self.reported[-1]
        assert test is not None
        return metrics, test

    def finish(self, metrics: Metrics, test: Scores, *, cost: bool) -> Iterator[Event]:
        """Write the trained weights, measure the costs, yield Done; then remove checkpoints that are not to be kept.

        Args:
            metrics: of the last epoch.
            test: the scores on the test images.
            cost: as in `run`.
        """
        parts, is_first = self.parts, self.parts.ranks.is_first
        metrics = metrics | {"test_loss": test.loss, "test_acc": test.acc} | self._multi_crop()
        metrics |= {"test_correct": test.correct, "test_items": test.items}
        metrics["peak_bytes"] = max(self.peak_bytes_before, self.peak_bytes())
        if self.policy.keep != "none" and is_first:
            build.keep_weights(parts.network, self.directory)
        if cost and is_first:
            metrics |= yield from self._cost()
            epochs_s = [epoch.metrics["train_s"] for epoch in self.reported[1:] or self.reported]  # the first warms up
            metrics["train_images_per_s"] = len(parts.loaders["train"]) / statistics.median(epochs_s)
        yield Done(
            metrics=metrics | {"wall_s": self.wall_s()},
            predicted=test.predicted.tolist(),
            labels=parts.dataset.test.labels.tolist(),
        )
        if self.policy.keep != "all" and is_first:
            self.checkpoints.remove()

    def _reestimate_batch_norms(self, between: Callable[[], None]) -> None:
        from ablate.training import evaluation, loop

        parts = self.parts
        evaluation.reestimate_batch_norms(
            parts.network,
            parts.loaders["train"],
            parts.compute,
            batch_size=loop.part_size(parts.recipe),
            augment=parts.recipe.augment,
            generators=parts.generators,
            between=between,
            partition=parts.partition,
        )

    def _scores(self, split: str, between: Callable[[], None]) -> Scores:
        from ablate.training import evaluation

        parts = self.parts
        return evaluation.evaluate(parts.network, parts.loaders[split], parts.compute, between, parts.ranks)

    def _validation(self, between: Callable[[], None]) -> Metrics:
        """Return the scores on the validation images; nothing where none are set aside."""
        if "valid" not in self.parts.loaders:
            return {}
        valid = self._scores("valid", between)
        return {"valid_loss": valid.loss, "valid_acc": valid.acc}

    def _multi_crop(self) -> Metrics:
        """Return the accuracy on the test images in crops; nothing where they are not cropped."""
        from ablate.training import evaluation

        parts = self.parts
        if "test_crops" not in parts.loaders:
            return {}
        crops, between = parts.loaders["test_crops"], self.writer.stop_if_requested
        acc = evaluation.multi_crop_acc(parts.network, crops, parts.compute, between, parts.ranks)
        return {"test_acc_multicrop": acc}

    def _cost(self) -> Generator[Notice, None, Metrics]:
        """Return what the trained network costs.

        A network of a user's own may have costs that cannot be measured. That is a notice, and the trial goes on.
        """
        from ablate.training import cost

        parts, image = self.parts, self.parts.loaders["test"].first()
        channels, classes = parts.dataset.channels, parts.dataset.classes
        try:
            of_training = cost.of_training(
                lambda: build.make_network(self.config, channels, classes),
                tuple(image.shape[1:]),
                parts.recipe,
                parts.compute,
            )
            return of_training | cost.of_inference(parts.network, image, parts.compute)
        except Exception as error:
            yield Notice(text=f"its cost was not measured: {type(error).__name__}: {first_line(error)}")
            return {}


def _epoch(values: Mapping[str, Any]) -> Epoch:
    event = from_dict(values)
    assert isinstance(event, Epoch)
    return event
