"""A trial on two processes: its events, its checkpoints, and how both come to stop."""

from __future__ import annotations

import pytest
import torch

from ablate.core.errors import Diverged, Pruned, Stopped
from ablate.core.events import Done, Epoch
from ablate.data import augment
from ablate.store.run_directory import CHECKPOINTS, WEIGHTS, prune
from ablate.tasks import image_classification
from ablate.training import build, checkpoint, evaluation, generators, loop, shards
from ablate.training.checkpoint_policy import CheckpointPolicy
from ablate.training.compute import Compute
from ablate.training.ranks import Ranks
from ablate.training.shards import BatchPartition
from tests.support.fakes import TIMES, make_trial
from tests.support.image_files import config as of_folder
from tests.support.own_parts import NETWORK
from tests.support.processes import on_ranks
from tests.tasks.test_image_classification import BN, RECIPE, config

EVERY_BATCH = CheckpointPolicy(minutes=1e-9)
SHARDED = {**RECIPE, "shards": 2, "moments": "running", "augment": "none"}
CLOSE = {"rel": 2e-4, "abs": 1e-4}


def run(ranks, *, folder, policy=None, alter=None, **changes):
    """The numbers of the events up to the end, or the name of what was raised after them."""
    if alter:
        alter(ranks)
    reported = []
    try:
        for event in image_classification.run(
            config(**changes), folder, threads=1, device="cpu", policy=policy, ranks=ranks
        ):
            if isinstance(event, Epoch | Done):
                reported.append({key: value for key, value in event.metrics.items() if key not in TIMES})
            if isinstance(event, Done):
                reported.append(event.predicted)
    except (Stopped, Pruned, Diverged) as error:
        reported.append(f"{type(error).__name__} {error}".strip())
    return reported


def alone(folder, **changes):
    folder.mkdir(exist_ok=True)
    return run(Ranks(), folder=folder, **changes)


def assert_close(actual, expected):
    assert len(actual) == len(expected)
    for numbers, expected_numbers in zip(actual, expected, strict=True):
        if isinstance(numbers, dict):
            assert numbers == pytest.approx(expected_numbers, **CLOSE)
        else:
            assert numbers == expected_numbers


@pytest.mark.parametrize("recipe", [SHARDED, {**SHARDED, "augment": "light", "moments": "reestimated"}])
def test_both_ranks_report_what_one_process_with_two_shards_does(tmp_path, recipe):
    (tmp_path / "run").mkdir()
    several = on_ranks(run, 2, tmp_path / "ranks", folder=tmp_path / "run", recipe=recipe)
    expected = alone(tmp_path / "alone", recipe=recipe)
    assert len(expected) == 4
    for reported in several:
        assert_close(reported, expected)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [WEIGHTS]
    assert expected != alone(tmp_path / "whole", recipe={**recipe, "shards": 1})


def test_where_norms_are_synchronised_it_is_the_trial_of_a_whole_batch(tmp_path):
    (tmp_path / "run").mkdir()
    arm = {"norm": {**BN, "sync": True}}
    reported, _ = on_ranks(run, 2, tmp_path / "ranks", folder=tmp_path / "run", recipe=SHARDED, **arm)
    assert_close(reported, alone(tmp_path / "whole", recipe={**SHARDED, "shards": 1}))


class StopsAfter:
    """On the first rank alone the stop file is there after so many batches; the other one cannot see it."""

    def __init__(self, batches, path):
        self.left, self.path = batches, path

    def __call__(self, ranks):
        checkpoint.SECONDS_BETWEEN_LOOKS = 0
        real = checkpoint.CheckpointWriter._stop_request

        def looks(writer):
            self.left -= 1
            if self.left == 0:
                self.path.touch()
            return real(writer)

        checkpoint.CheckpointWriter._stop_request = looks
        if not ranks.is_first:
            checkpoint.CheckpointWriter._stop_request = unreachable


def unreachable(writer):
    raise AssertionError("only the first rank looks")


@pytest.mark.parametrize("after", [2, 7, 8], ids=["within an epoch", "in the evaluation", "in the last one"])
def test_requested_to_stop_both_ranks_stop_and_one_process_goes_on_from_their_checkpoint(tmp_path, after):
    (tmp_path / "run").mkdir()
    policy, alter = CheckpointPolicy(stop=tmp_path / "stop"), StopsAfter(after, tmp_path / "stop")
    how = {"folder": tmp_path / "run", "policy": policy, "alter": alter, "recipe": SHARDED}
    for reported in on_ranks(run, 2, tmp_path / "ranks", **how):
        assert reported[-1] == "Stopped"
    assert (tmp_path / "run" / CHECKPOINTS[0]).exists()
    assert_close(alone(tmp_path / "run", recipe=SHARDED), alone(tmp_path / "undisturbed", recipe=SHARDED))


def test_ranks_of_a_network_with_dropout_go_on_with_the_draws_of_each(tmp_path):
    for name in ("run", "undisturbed"):
        (tmp_path / name).mkdir()
    policy, alter = CheckpointPolicy(stop=tmp_path / "stop"), StopsAfter(2, tmp_path / "stop")
    own = {"recipe": SHARDED, "model": NETWORK}
    for reported in on_ranks(run, 2, tmp_path / "ranks", folder=tmp_path / "run", policy=policy, alter=alter, **own):
        assert reported == ["Stopped"]
    state = torch.load(tmp_path / "run" / CHECKPOINTS[0], weights_only=True)["training"]
    first, second = (states["torch"].tolist() for states in state["globals"])
    assert first != second
    resumed = on_ranks(run, 2, tmp_path / "again", folder=tmp_path / "run", **own)
    assert resumed == on_ranks(run, 2, tmp_path / "whole", folder=tmp_path / "undisturbed", **own)


def test_ranks_go_on_from_the_checkpoint_of_one_process(tmp_path, monkeypatch):
    made = tmp_path / make_trial(0).trial_id
    prune(make_trial(0), tmp_path, "worse than most")
    assert alone(made, recipe=SHARDED, policy=EVERY_BATCH)[-1] == "Pruned worse than most"
    before = torch.load(made / CHECKPOINTS[0], weights_only=True)
    assert before["training"]["batch"] == 1
    assert on_ranks(run, 2, tmp_path / "pruned", folder=made, recipe=SHARDED) == [["Pruned worse than most"]] * 2
    (made / "prune").unlink()
    reported, other = on_ranks(run, 2, tmp_path / "ranks", folder=made, recipe=SHARDED)
    assert_close(reported, alone(tmp_path / "undisturbed", recipe=SHARDED))
    assert_close(other, reported)


def test_before_anything_is_imported_only_the_first_rank_says_whether_to_stop(tmp_path):
    reported = on_ranks(run_with_stop_seen_by_the_first, 2, tmp_path / "ranks", folder=tmp_path)
    assert reported == [["Stopped"]] * 2


def run_with_stop_seen_by_the_first(ranks, *, folder):
    stop = folder / f"stop{ranks.rank}"
    if ranks.is_first:
        stop.touch()
    return run(ranks, folder=folder, policy=CheckpointPolicy(stop=stop))


def test_both_diverge_where_one_has_a_loss_that_is_nan(tmp_path):
    reported = on_ranks(run, 2, tmp_path / "ranks", folder=tmp_path, recipe=SHARDED, alter=nan_on_rank_1)
    assert reported == [["Diverged the training loss is nan in epoch 1"]] * 2


def nan_on_rank_1(ranks):
    real, calls = loop.functional.cross_entropy, []

    def loss(logits, labels):
        calls.append(1)
        return real(logits, labels) * (float("nan") if ranks.rank == 1 and len(calls) == 2 else 1)

    loop.functional.cross_entropy = loss


def test_at_fp16_both_leave_out_a_step_that_overflows_on_one(tmp_path):
    first, second = on_ranks(steps_at_fp16, 2, tmp_path / "ranks")
    assert [scale for scale, _ in first] == [2.0**15, 2.0**15]
    for (scale, weights), (second_scale, second_weights) in zip(first, second, strict=True):
        assert scale == second_scale
        assert torch.equal(weights, second_weights)
    assert not torch.equal(first[0][1], first[1][1])


def steps_at_fp16(ranks):
    partition, compute = BatchPartition(2, ranks), Compute("cpu", "fp16")
    data = build.loaders(build.dataset(config()), "cpu", threads=1, augment="none")["train"]
    of_weights, of_training = generators.from_seed(0, "cpu")
    made = compute.placed(shards.sharded(build.make_network(config(), 1, 4, of_weights), partition))
    recipe = build.recipe({**RECIPE, "batch_size": 90, "epochs": 1, "augment": "none"}, steps_per_epoch=2)
    fitting = loop.Training(made, data, recipe, generators=of_training, compute=compute, partition=partition)
    overflows = ranks.rank == 1
    made.stem.weight.register_hook(lambda gradient: gradient * float("inf") if overflows and not seen else gradient)
    seen = []
    list(fitting.epochs(lambda: seen.append((fitting.scaler.get_scale(), made.stem.weight.detach().clone()))))
    return seen


def test_each_rank_reads_its_share_of_the_files_and_scores_are_of_all(tmp_path, imagenet):
    first, second = on_ranks(streamed, 2, tmp_path / "ranks", root=imagenet)
    expected = streamed(Ranks(), root=imagenet)
    assert [[len(images) for images in scored["images"]] for scored in (first, second)] == [[4, 4, 1], [3, 3, 0]]
    for first_part, second_part, whole in zip(first["images"], second["images"], expected["images"], strict=True):
        assert torch.equal(torch.cat([first_part, second_part]), whole)
    for scored in (first, second):
        assert scored["scores"] == pytest.approx(expected["scores"], abs=1e-6)
        assert scored["multi_crop"] == pytest.approx(expected["multi_crop"])


def streamed(ranks, *, root):
    """Fifteen images in batches of 7; scores of six, and of their crops."""
    made = build.dataset({"dataset": of_folder(root, multi_crop=True)})
    loaders = build.loaders(made, "cpu", threads=1, augment="scale_crop_flip")
    drawn_from = generators.Generators(torch.Generator().manual_seed(2), torch.Generator().manual_seed(3))
    partition = BatchPartition(2, ranks)
    batches = partition.batches(loaders["train"], 7, augment=augment.scale_crop_flip, generators=drawn_from)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 3))
    with torch.no_grad():
        network[2].weight.copy_(torch.arange(36).view(3, 12) % 5 / 255)
        network[2].bias.zero_()
    scores = evaluation.evaluate(network, loaders["test"], Compute("cpu"), ranks=ranks)
    return {
        "images": [images for images, _ in batches],
        "scores": (scores.loss, scores.acc),
        "multi_crop": evaluation.multi_crop_acc(network, loaders["test_crops"], Compute("cpu"), ranks=ranks),
    }
