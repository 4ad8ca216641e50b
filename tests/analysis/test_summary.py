from __future__ import annotations

import dataclasses

import numpy as np

from analysis.effects import contrasts
from analysis.findings import find
from analysis.rendering import sentences
from tests.support.frames import rows


def study(margin_pp, *, seeds=5, bits=(1, 32), noise_pp=0.1, drop=()):
    rng = np.random.default_rng(1)
    return rows(
        *(
            (
                {"norm": norm, "bits": bit},
                seed,
                "diverged"
                if (norm, bit) in drop
                else 0.9 + ((norm == "bn") * margin_pp(bit) + noise_pp * rng.normal()) / 100,
            )
            for norm in ("bn", "srelu")
            for bit in bits
            for seed in range(seeds)
        )
    )


def told(runs, right=None):
    chosen = contrasts.choose_contrasts(runs)
    return sentences.sentences(find(runs, chosen, equivalence_pp=0.5, right=right))


def test_the_verdicts_of_all_cells_stand_in_one_sentence():
    first, *_ = told(study(lambda bits: 2.0 if bits == 32 else 0.0))
    assert first.startswith("bn against srelu, 2 cells: bn is better in 1 (by 2.04")
    assert first.endswith("they are equivalent within 0.5 points in 1.")


def test_one_cell_is_told_with_its_numbers():
    first, *_ = told(study(lambda bits: 2.0, bits=(32,)))
    assert first.startswith("norm: bn minus srelu: +2.00 points, 95% interval ")
    assert first.endswith("n = 5: bn better.")


def test_cells_without_a_margin_are_counted_and_nothing_is_said_of_a_study_without_any():
    first, *_ = told(study(lambda bits: 2.0, drop=[("srelu", 1)]))
    assert first.endswith("n = 5: bn better. In 1 more no seed is done in both arms.")
    assert "Not done: 5 diverged of 20 trials (norm=srelu bits=1)." in told(
        study(lambda bits: 2.0, drop=[("srelu", 1)])
    )
    first, *_ = told(study(lambda bits: 2.0, drop=[("srelu", 1), ("srelu", 32)]))
    assert first == "norm: bn minus srelu: no cell has a seed that is done in both arms."


def test_what_the_margin_depends_on_is_said_with_its_size_and_what_it_does_not_too():
    text = " ".join(told(study(lambda bits: 2.0 if bits == 32 else 0.0)))
    assert "The margin depends on bits: at 32 it is " in text
    assert "The margin is not shown to depend on bits." in told(study(lambda bits: 1.0))[1]


def test_the_test_sets_share_of_the_uncertainty_is_said():
    runs = study(lambda bits: 1.0, noise_pp=0.02)
    rng = np.random.default_rng(0)
    right = {run_id: rng.uniform(size=360) < 0.9 for run_id in runs.frame["run_id"]}
    last = told(runs, right)[-1]
    assert last.startswith(
        "All of it is about these test images (360 of them): in 2 of 2 cells their sampling error is larger"
    )
    assert "2 decided cells lie within that error (95%)" in last


def test_mixed_versions_and_keys_that_nobody_swept_are_warned_of():
    runs = study(lambda bits: 1.0)
    frame = runs.frame.assign(code_version=["1"] * 10 + ["2"] * 10, width=[1, 2] * 10)
    runs = dataclasses.replace(runs, frame=frame)
    found = find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5)
    assert sentences.warnings(found, "left") == [
        "Mixed code versions: 1, 2.",
        "Trials differ in more than the factors: width. Only trials that agree in all of these are paired.",
        "left",
    ]
