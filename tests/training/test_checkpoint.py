"""A trial that is broken off, anywhere, ends as if it had not been."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from ablate.core.events import Done, Epoch, Notice, Started
from ablate.core.identity import flatten, trial_id
from ablate.core.study import Cell, Trial
from ablate.store import event_log, run_directory
from ablate.tasks import image_classification
from ablate.training import build, checkpoint, evaluation
from ablate.training.checkpoint_policy import CheckpointPolicy
from tests.support.image_files import write_imagenet
from tests.support.own_parts import NETWORK
from tests.tasks.test_image_classification import BN, RECIPE, SRELU, config, numbers

EVERY_BATCH = CheckpointPolicy(minutes=1e-9)
EVERY_EPOCH = CheckpointPolicy(epochs=1, minutes=None)


class Killed(BaseException):
    """The process is gone: nobody can catch this."""


def made(**changes):
    values = config(**changes)
    return Trial(Cell(()), values["seed"], values, flatten(values), trial_id(values))


def attempt(trial, runs, policy=EVERY_BATCH):
    return run_directory.attempt(
        functools.partial(image_classification.run, threads=1, device="cpu", policy=policy), trial, runs
    )


@pytest.fixture
def killed_after(monkeypatch):
    """killed_after(n): of batches, n are trained on, and the process is gone.

    There are 3 in each of 2 epochs, and 3 in the pass that re-estimates batch-norm statistics.
    """
    real = build.recipe

    def arm(batches):
        left = [batches]

        def recipe(*arguments, **options):
            made = real(*arguments, **options)

            def augment(images, draws):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return made.augment(images, draws)

            return dataclasses.replace(made, augment=augment)

        monkeypatch.setattr(build, "recipe", recipe)

    return arm


@pytest.fixture
def undisturbed(tmp_path):
    return lambda **changes: list(attempt(made(**changes), tmp_path / "undisturbed", CheckpointPolicy()))


def until_killed(trial, runs, policy=EVERY_BATCH):
    events = []
    try:
        for event in attempt(trial, runs, policy):
            events.append(event)
    except Killed:
        return events
    raise AssertionError("it was not killed")


@pytest.mark.parametrize("policy", [EVERY_BATCH, EVERY_EPOCH, CheckpointPolicy()], ids=["batch", "epoch", "never"])
@pytest.mark.parametrize("batches", [0, 1, 3, 4, 7, 8])
def test_a_killed_trial_ends_with_the_same_numbers_to_the_last_bit(
    tmp_path, killed_after, undisturbed, policy, batches
):
    killed_after(batches)
    until_killed(made(), tmp_path / "runs", policy)
    killed_after(1000)
    assert numbers(attempt(made(), tmp_path / "runs", policy)) == numbers(undisturbed())


@pytest.mark.parametrize("batches", [1, 4])
def test_a_network_that_draws_from_the_global_generators_ends_with_the_same_numbers_too(
    tmp_path, killed_after, undisturbed, batches
):
    killed_after(batches)
    until_killed(made(model=NETWORK), tmp_path / "runs")
    torch.rand(3)
    killed_after(1000)
    assert numbers(attempt(made(model=NETWORK), tmp_path / "runs")) == numbers(undisturbed(model=NETWORK))


@pytest.mark.parametrize(
    "arm", [{"norm": SRELU, "bits": 1}, {"recipe": {**RECIPE, "schedule": "cosine", "augment": "cutout"}}]
)
def test_a_trial_that_is_killed_again_and_again_ends_with_the_same_numbers(tmp_path, killed_after, undisturbed, arm):
    for _ in range(3):
        killed_after(2)
        until_killed(made(**arm), tmp_path / "runs")
    killed_after(1000)
    assert numbers(attempt(made(**arm), tmp_path / "runs")) == numbers(undisturbed(**arm))


def test_it_goes_on_from_its_checkpoint_and_trains_no_batch_twice(tmp_path, killed_after):
    killed_after(5)
    until_killed(made(), tmp_path)
    killed_after(2 * 3 + 3 - 5)
    assert isinstance(list(attempt(made(), tmp_path))[-1], Done)


def test_what_was_reported_is_reported_again_word_for_word_and_once(tmp_path, killed_after):
    killed_after(5)
    before = until_killed(made(), tmp_path, EVERY_EPOCH)
    assert [type(event) for event in before] == [Started, Epoch]
    killed_after(1000)
    after = list(attempt(made(), tmp_path, EVERY_EPOCH))
    assert after[:2] == before
    assert [type(event) for event in after] == [Started, Epoch, Epoch, Done]
    assert run_directory.history(made(), tmp_path) == after


def test_an_epoch_that_the_log_lost_is_reported_from_the_checkpoint(tmp_path, killed_after):
    killed_after(5)
    *_, reported = until_killed(made(), tmp_path)
    log = tmp_path / made().trial_id / run_directory.LOG
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    killed_after(1000)
    assert list(attempt(made(), tmp_path))[1] == reported


def test_requested_to_stop_a_trial_keeps_what_is_done_and_has_no_outcome(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_LOOKS", 0)
    stop = tmp_path / "stop"
    policy = CheckpointPolicy(stop=stop)
    events = []
    for event in attempt(made(), tmp_path / "runs", policy):
        events.append(event)
        if isinstance(event, Epoch):
            stop.touch()
    assert [type(event) for event in events] == [Started, Epoch]
    assert run_directory.outcome(made(), tmp_path / "runs") is None
    assert (tmp_path / "runs" / made().trial_id / run_directory.CHECKPOINTS[0]).is_file()
    assert list(attempt(made(), tmp_path / "runs", policy)) == events  # it does not even begin
    stop.unlink()
    assert numbers(attempt(made(), tmp_path / "runs", policy)) == numbers(undisturbed())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, killed_after, undisturbed, damage):
    killed_after(5)
    until_killed(made(), tmp_path)
    newest = tmp_path / made().trial_id / run_directory.CHECKPOINTS[0]
    whole = newest.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    newest.write_bytes({"truncated": whole[:-500], "flipped": flipped, "empty": b"", "other": b"a text"}[damage])
    killed_after(2 * 3 + 3 - 4)  # one batch more: that of the checkpoint before
    events = list(attempt(made(), tmp_path))
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert notice.text.startswith("checkpoint.pt is damaged (")
    assert notice.text.endswith("it goes on in epoch 2, from the one before")
    killed_after(1000)
    assert numbers(events) == numbers(undisturbed())


def test_with_both_checkpoints_damaged_it_begins_again_and_says_so(tmp_path, killed_after, undisturbed):
    killed_after(5)
    until_killed(made(), tmp_path)
    for name in run_directory.CHECKPOINTS:
        (tmp_path / made().trial_id / name).write_bytes(b"")
    killed_after(1000)
    events = list(attempt(made(), tmp_path))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 2
    assert all(text.endswith("it goes on from the beginning") for text in notices)
    assert numbers(events) == numbers(undisturbed())


def test_a_checkpoint_of_another_format_is_not_used(tmp_path, killed_after):
    killed_after(2)
    until_killed(made(), tmp_path)
    for name in run_directory.CHECKPOINTS:
        path = tmp_path / made().trial_id / name
        torch.save(torch.load(path, weights_only=True) | {"format": 0}, path)
    killed_after(1000)
    notices = [event.text for event in attempt(made(), tmp_path) if isinstance(event, Notice)]
    assert notices
    assert all(f"its format is 0, not {checkpoint.FORMAT}" in text for text in notices)


@pytest.mark.parametrize(
    ("keep", "kept"), [("none", []), ("weights", ["weights.pt"]), ("all", ["checkpoint.pt", "weights.pt"])]
)
def test_keep_says_what_stays_of_a_trial_that_is_done(tmp_path, keep, kept):
    list(attempt(made(), tmp_path, CheckpointPolicy(epochs=2, minutes=None, keep=keep)))
    assert sorted(path.name for path in (tmp_path / made().trial_id).glob("*.pt")) == kept


def test_a_trial_that_failed_begins_at_the_beginning(tmp_path, monkeypatch):
    real = evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: 1 / 0)
    assert list(attempt(made(), tmp_path))[-1].kind == "error"
    assert (tmp_path / made().trial_id / run_directory.CHECKPOINTS[0]).exists()
    monkeypatch.setattr(evaluation, "evaluate", real)
    events = list(attempt(made(), tmp_path))
    assert [type(event) for event in events] == [Started, Epoch, Epoch, Done]
    assert run_directory.history(made(), tmp_path) == events
    assert {line["attempt"] for line in event_log.lines(tmp_path / made().trial_id / run_directory.LOG)} == {1, 2}


def test_streamed_images_go_on_in_the_same_order_with_the_same_crops(tmp_path, killed_after, undisturbed):
    dataset = {
        "_target_": "ablate.data.folders.imagenet",
        "root": str(write_imagenet(tmp_path / "imagenet")),
        "valid_fraction": 0.0,
        "multi_crop": False,
        "workers": 0,
    }
    changes = {
        "dataset": dataset,
        "norm": BN,
        "model": {"_target_": "ablate.networks.imagenet_resnet.ImageNetResNet", "_partial_": True},
        "depth": 10,
        "width": 0.0625,
        "recipe": {**RECIPE, "batch_size": 2, "augment": "scale_crop_flip"},
    }
    killed_after(1)
    until_killed(made(**changes), tmp_path / "runs")
    killed_after(1000)
    assert numbers(attempt(made(**changes), tmp_path / "runs")) == numbers(undisturbed(**changes))
