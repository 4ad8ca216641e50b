from __future__ import annotations

import dataclasses

import numpy as np

from analysis.effects import contrasts
from analysis.findings import find
from analysis.rendering import sentences
from analysis.sources import outcomes
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


def sentences_of(runs, right=None):
    chosen = contrasts.choose_contrasts(runs)
    return sentences.sentences(find(runs, chosen, equivalence_pp=0.5, right=right))


def test_the_verdicts_of_all_cells_are_one_sentence():
    first, *_ = sentences_of(study(lambda bits: 2.0 if bits == 32 else 0.0))
    assert first.startswith("bn against srelu, 2 cells: bn is better in 1 (by 2.04")
    assert first.endswith("they are equivalent within 0.5 points in 1.")


def test_a_single_cell_is_reported_with_its_numbers():
    first, *_ = sentences_of(study(lambda bits: 2.0, bits=(32,)))
    assert first.startswith("norm: bn minus srelu: +2.00 points, 95% interval ")
    assert first.endswith("n = 5: bn better.")


def test_cells_without_a_margin_are_counted_and_a_study_without_any_margin_says_so():
    first, *_ = sentences_of(study(lambda bits: 2.0, drop=[("srelu", 1)]))
    assert first.endswith("n = 5: bn better. In 1 more no seed is done in both arms.")
    assert "Failed, or not over: 5 diverged of 20 trials (norm=srelu bits=1)." in sentences_of(
        study(lambda bits: 2.0, drop=[("srelu", 1)])
    )
    first, *_ = sentences_of(study(lambda bits: 2.0, drop=[("srelu", 1), ("srelu", 32)]))
    assert first == "norm: bn minus srelu: no cell has a seed that is done in both arms."


def test_sentences_name_the_factors_on_which_the_margin_depends_and_those_on_which_it_does_not():
    text = " ".join(sentences_of(study(lambda bits: 2.0 if bits == 32 else 0.0)))
    assert "The margin depends on bits: at 32 it is " in text
    assert "The margin is not shown to depend on bits." in sentences_of(study(lambda bits: 1.0))[1]


def crossed_study(margin_pp, keep=lambda width, bits: True):
    rng = np.random.default_rng(1)
    return rows(
        *(
            (
                {"norm": norm, "width": width, "bits": bits},
                seed,
                0.9 + ((norm == "bn") * margin_pp(width, bits) + noise) / 100,
            )
            for norm in ("bn", "srelu")
            for width in (1, 4)
            for bits in (1, 32)
            if keep(width, bits)
            for seed, noise in enumerate(rng.normal(0, 0.1, 5))
        ),
        factors=("norm", "width", "bits"),
    )


def test_a_sentence_names_an_interaction_as_one():
    text = " ".join(sentences_of(crossed_study(lambda width, bits: 3.0 if (width == 4) == (bits == 32) else -3.0)))
    assert (
        "The margin depends on width x bits together: at (4, 32), and where an even number of these change to (1, 1), "
        "it is 6.0" in text
    )
    assert "not shown to depend" not in text
    text = " ".join(sentences_of(crossed_study(lambda width, bits: 1.0)))
    assert "The margin is not shown to depend on width or bits, alone or together." in text


def test_a_sentence_names_what_a_grid_with_holes_cannot_compare():
    text = " ".join(sentences_of(crossed_study(lambda width, bits: 1.0, lambda width, bits: 1 in (width, bits))))
    assert "The margin is not shown to depend on width or bits. Left out, for want of cells that agree in all" in text
    assert "else: width x bits." in text


def test_with_one_seed_nothing_is_undecided_or_not_shown_but_not_testable():
    text = " ".join(sentences_of(study(lambda bits: 1.0, seeds=1)))
    assert text.startswith(
        "bn against srelu, 2 cells: not testable (one seed, no interval). Whether the margin depends on bits is not "
        "testable, with one seed or without a spread between seeds."
    )
    assert "not shown" not in text
    assert "undecided" not in text


def test_a_sentence_gives_the_uncertainty_from_the_test_set():
    runs = study(lambda bits: 1.0, noise_pp=0.02)
    rng = np.random.default_rng(0)
    right = {run_id: rng.uniform(size=360) < 0.9 for run_id in runs.frame["run_id"]}
    first, *_, last, _ = sentences_of(runs, right)
    assert first.startswith("bn against srelu, 2 cells: all undecided")
    assert last.startswith(
        "Verdicts and intervals of margins are about new seeds and new test images (360 here). "
        "In 2 of 2 cells the images' error is larger than that of the seeds"
    )
    assert "On these very images seeds alone show a difference in 2 undecided cells" in last


def test_without_predictions_all_of_it_is_about_these_images():
    assert sentences_of(study(lambda bits: 1.0))[-2].startswith("All of it is about the test items of these runs")


def test_one_of_ten_collapsed_is_said_and_leaves_the_margin_of_those_that_trained():
    """Nine seeds at +1.0; the tenth of srelu, or of bn, is at chance, which a mean over all would call 7 points."""
    runs = study(lambda bits: 1.0, bits=(32,), seeds=10, noise_pp=0.02)
    frame = runs.frame.copy()
    frame.loc[(frame["norm"] == "bn") & (frame["seed"] == 3), "acc"] = 0.1
    classes = dict.fromkeys(frame["run_id"], 10)
    runs = dataclasses.replace(runs, frame=outcomes.with_collapsed(frame, classes, None))
    first, second, *_ = sentences_of(runs)
    assert first.startswith("norm: bn minus srelu: +1.0")
    assert first.endswith("n = 9: bn better where both trained.")
    assert second == (
        "Failed: bn in 1 of 10 trials (0 to 45%), srelu in 0 of 10 trials (0 to 31%); that they fail equally often: "
        "p = 1.000, by seeds. Margins are among the seeds for which both arms trained."
    )


def test_noise_moves_nothing_most():
    rng = np.random.default_rng(5)
    named = 0
    for _ in range(12):
        noise = rows(
            *(
                ({"norm": norm, "width": width}, seed, 0.9 + 0.003 * rng.normal())
                for norm in ("bn", "srelu")
                for width in (1, 2, 4)
                for seed in range(3)
            )
        )
        named += any("Shown to move" in line for line in sentences_of(noise))
    assert named <= 3  # of 12 studies, an error of at most 10% in each


def test_mixed_versions_and_unswept_keys_give_warnings():
    runs = study(lambda bits: 1.0)
    frame = runs.frame.assign(code_version=["1"] * 10 + ["2"] * 10, width=[1, 2] * 10)
    runs = dataclasses.replace(runs, frame=frame)
    findings = find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5)
    assert sentences.warnings(findings, "left") == [
        "Mixed code versions: 1, 2.",
        "Trials differ in more than the factors: width. Only trials that agree in all of these are paired.",
        "left",
    ]
