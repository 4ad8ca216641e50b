"""What a user's own network draws from the global generators: the trial's seed decides it, and nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from ablate.tasks import image_classification
from ablate.training import build, generators
from tests.support.own_parts import DATA, NETWORK
from tests.tasks.test_image_classification import config, numbers


def disturb(*_):
    random.random()
    np.random.rand(3)
    torch.rand(2)


def states():
    return repr(generators.global_states())


def run(folder, between=lambda event: None, **changes):
    folder.mkdir()
    events = image_classification.run(config(model=NETWORK, **changes), folder, threads=1, device="cpu")
    kept = []
    for event in events:
        kept.append(event)
        between(event)
    return numbers(kept)


def test_the_same_trial_twice_gives_the_same_numbers_to_the_last_bit_whatever_the_process_draws(tmp_path):
    torch.manual_seed(1)
    first = run(tmp_path / "first")
    disturb()
    assert run(tmp_path / "second", disturb) == first


def test_another_seed_gives_other_numbers(tmp_path):
    assert run(tmp_path / "first") != run(tmp_path / "second", seed=1)


def test_a_trial_leaves_the_process_the_generators_as_they_were(tmp_path):
    before = states()
    seen = []
    run(tmp_path / "trial", lambda event: seen.append(states()))
    assert {*seen, states()} == {before}


def test_a_trial_that_fails_leaves_them_too(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        disturb()
        raise RuntimeError

    before = states()
    monkeypatch.setattr(build, "recipe", fail)
    with pytest.raises(RuntimeError):
        run(tmp_path / "trial")
    assert states() == before


def test_states_can_be_set_again():
    kept = generators.global_states()
    first = random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()
    disturb()
    generators.set_global_states(kept)
    assert (random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()) == first


def test_ranks_draw_other_numbers_and_each_seed_has_its_own():
    drawn = set()
    before = generators.global_states()
    for seed in (0, 1):
        for rank in (0, 1):
            generators.seed_globals(seed, rank=rank)
            drawn |= {random.random(), np.random.rand(), torch.rand(1).item()}
    generators.set_global_states(before)
    assert len(drawn) == 12


def test_a_data_set_of_ones_own_is_the_same_whichever_trial_reads_it_first():
    def pixels(seed):
        build._dataset.cache_clear()
        generators.seed_globals(seed)
        return build.dataset({"dataset": DATA}).train.images.tolist()

    before = generators.global_states()
    assert pixels(0) == pixels(1)
    build._dataset.cache_clear()
    generators.set_global_states(before)


def test_trials_in_the_process_that_read_the_data_set_are_as_in_others(tmp_path):
    build._dataset.cache_clear()
    first = run(tmp_path / "reads", dataset=DATA)
    assert run(tmp_path / "has-read", dataset=DATA) == first
    build._dataset.cache_clear()
