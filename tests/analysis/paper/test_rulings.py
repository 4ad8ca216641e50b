from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ablate.stats.interactions import cell_contrasts
from analysis.effects import interaction
from analysis.effects.contrasts import Contrast
from analysis.effects.interaction import difference
from analysis.effects.matched import margins
from analysis.paper import rulings
from tests.support.frames import rows


def study(over, arms=("bn", "srelu"), seeds=4, noise_pp=0.05, **levels):
    """Trials of every arm in every cell; keys with "__" for a dot.

    over: (arm, seed, cell's levels) -> points over 80% accuracy, or what became of the trial instead.
    """
    rng = np.random.default_rng(0)
    trials = []
    for combination in product(*levels.values()):
        cell = dict(zip(levels, combination, strict=True))
        for arm, seed in product(arms, range(seeds)):
            result = over(arm, seed, **cell)
            if not isinstance(result, str):
                result = 0.8 + seed / 100 + (result + rng.normal(0, noise_pp)) / 100
            named = {key.replace("__", "."): level for key, level in cell.items()}
            trials.append(({"norm": arm, **named}, seed, result))
    return rows(*trials, factors=["norm", *(key.replace("__", ".") for key in levels)])


def ruling_on(number, runs):
    return rulings.rulings(runs)[number - 1]


def bn(margin_pp):
    """A margin of batch norm that depends on the cell alone."""
    return lambda arm, seed, **cell: margin_pp(**cell) if arm.startswith("bn") else 0


def small(size):
    """A margin of 2 points, 6 less at batches of 1."""
    return -4 if size == 1 else 2


BATCHES = {"recipe__batch_size": [125, 16, 1]}
RESIDUAL = {"model__residual": [True, False]}


def test_a_study_without_both_arms_has_no_rulings():
    assert rulings.rulings(rows(({"norm": "bn"}, 0, 0.9), ({"norm": "gn"}, 0, 0.8))) == []
    assert rulings.rulings(rows(({"norm": "srelu"}, 0, 0.9), ({"norm": "gn"}, 0, 0.8))) == []
    assert rulings.rulings(rows(({"bits": 1}, 0, 0.9), factors=["bits"])) == []


def test_what_a_study_does_not_test_is_said_with_the_study_that_would():
    by_number = rulings.rulings(study(bn(lambda: 2)))
    assert [(ruling.number, ruling.word) for ruling in by_number] == [
        (1, "denied"),
        (2, "not tested"),
        (3, "not tested"),
        (4, "not tested"),
        (5, "not tested"),
    ]
    assert [ruling.command.rpartition("=")[2] for ruling in by_number if ruling.number in (2, 4, 5)] == [
        "sb_interaction",
        "sb_small_batch",
        "sb_residual",
    ]
    assert by_number[1].reason == "Not varied: dataset, width, depth, bits."


# The difference of margins, by hand.


def test_a_difference_of_margins_is_the_mean_over_matched_cells_of_each_seed():
    trials = [
        ({"norm": norm, "bits": bits, "width": width}, seed, acc)
        for norm, bits, width, accs in (
            ("bn", 1, 1, [0.85, 0.86]),
            ("bn", 32, 1, [0.87, 0.90]),
            ("bn", 1, 2, [0.90, 0.90]),
            ("bn", 32, 2, [0.91, 0.93]),
            ("srelu", 1, 1, [0.84, 0.84]),
            ("srelu", 32, 1, [0.84, 0.84]),
            ("srelu", 1, 2, [0.88, 0.88]),
            ("srelu", 32, 2, [0.88, 0.88]),
        )
        for seed, acc in enumerate(accs)
    ]
    runs = rows(*trials, factors=["norm", "bits", "width"])
    measured = difference("bn", margins(runs, Contrast("norm", "bn", "srelu")), "bits", 32, 1)
    assert measured.by_seed == pytest.approx([1.5, 3.5])  # seed 0: (3 - 1 + 3 - 2) / 2; seed 1: (6 - 2 + 5 - 2) / 2
    assert measured.cells == 2


def test_a_cell_or_a_seed_that_is_not_at_both_levels_is_left_out():
    runs = study(bn(lambda bits, width: bits / 10), bits=[1, 32], width=[1, 2], noise_pp=0)
    frame = runs.frame
    gone = (frame["bits"] == 32) & ((frame["width"] == 2) | ((frame["seed"] == 3) & (frame["norm"] == "bn")))
    bn_margins = margins(rows_without(runs, gone), Contrast("norm", "bn", "srelu"))
    measured = difference("bn", bn_margins, "bits", 32, 1)
    assert (measured.by_seed.tolist(), measured.cells) == ([3.1, 3.1, 3.1], 1)


def test_a_derived_key_does_not_have_to_match():
    trials = [
        (
            {"norm": norm, "bits": bits, "recipe.lr": bits / 100, "norm.temperature": t if norm == "srelu" else None},
            0,
            a,
        )
        for bits, t, accs in ((1, 40, (0.85, 0.84)), (32, 80, (0.9, 0.85)))
        for norm, a in zip(("bn", "srelu"), accs, strict=True)
    ]
    runs = rows(*trials, derived=["recipe.lr", "norm.temperature"])
    measured = difference("bn", margins(runs, Contrast("norm", "bn", "srelu")), "bits", 32, 1)
    assert measured.by_seed == pytest.approx([4])


def rows_without(runs, gone):
    return type(runs)(runs.study, runs.frame[~gone].reset_index(drop=True), runs.factors)


# Claim 1: no consistent advantage.


def test_claim_1_is_denied_confirmed_or_undecided_by_its_cells():
    assert ruling_on(1, study(bn(lambda bits: 2), bits=[1, 32])).word == "denied"
    ruling = ruling_on(1, study(bn(lambda bits: 2 if bits == 32 else 0), bits=[1, 32]))
    assert ruling.word == "confirmed"
    assert ruling.reason.startswith(
        "bn is significantly better than srelu in 1 of 2 cells, shown to be less than 0.5 points better in 1, "
        "neither in 0."
    )
    assert ruling_on(1, study(bn(lambda bits: 2), bits=[1, 32], seeds=1)).word == "undecided"


def test_claim_1_names_cells_without_a_test():
    ruling = ruling_on(1, study(bn(lambda bits: 2), bits=[1, 32], noise_pp=0))
    assert ruling.word == "undecided"
    assert "Without a test: 2, for want of two seeds that differ." in ruling.reason
    assert ruling.tests["p, above 0"].tolist() == ["–", "–"]


def test_claim_1_is_denied_by_twelve_clear_cells_of_three_seeds():
    ruling = ruling_on(1, study(bn(lambda width: 2), width=[*range(1, 13)], seeds=3, noise_pp=0.15))
    assert ruling.word == "denied"
    assert "Better in every cell: shown (p = 0.0" in ruling.reason
    assert "Negligible in 3 of 12 or more: not shown (p = 1.000, partial conjunction)." in ruling.reason
    assert "else denied if batch norm is shown to be better in every one of them." in ruling.reason


def test_a_cell_at_the_ceiling_does_not_confirm_claim_1_and_is_named():
    def over(arm, seed, width):
        return 19.7 - seed if width == 12 else 5 * (arm == "bn")

    ruling = ruling_on(1, study(over, width=[*range(1, 13)], noise_pp=0.1))
    assert ruling.word == "denied"
    assert "bn is significantly better than srelu in 11 of 11 cells" in ruling.reason
    assert "Both arms are at the ceiling, so that nothing can show, in: width 12." in ruling.reason
    assert ruling.tests[""].tolist() == [""] * 11 + ["at the ceiling"]


@pytest.mark.parametrize(("dataset", "silent"), [("cifar10", "at chance"), ("mine", "")])
def test_a_cell_at_chance_says_nothing_where_the_classes_are_known(dataset, silent):
    def over(arm, seed, bits, dataset):
        return -70 - seed if bits == 1 else 5 * (arm == "bn")

    ruling = ruling_on(1, study(over, bits=[1, 32], dataset=[dataset]))
    assert ruling.tests[""].tolist() == [silent, ""]
    assert ruling.word == ("denied" if silent else "confirmed")


def test_a_cell_near_the_ceiling_in_one_arm_alone_can_show_something():
    def over(arm, seed):
        return (19.8 if arm == "bn" else 19.0) - seed

    assert ruling_on(1, study(over)).word == "denied"
    assert ruling_on(1, study(over)).tests[""].tolist() == [""]


def test_a_cell_where_a_trial_diverged_is_not_silent():
    def over(arm, seed):
        return "diverged" if (arm, seed) == ("bn", 0) else 19.8 - seed

    assert ruling_on(1, study(over)).tests[""].tolist() == [""]


def test_a_cell_in_which_every_trial_of_batch_norm_diverged_is_no_advantage():
    def over(arm, seed, bits):
        return "diverged" if arm == "bn" and bits == 1 else 2 * (arm == "bn")

    ruling = ruling_on(1, study(over, bits=[1, 32]))
    assert ruling.word == "undecided"
    assert "better than srelu in 1 of 1 cells" in ruling.reason
    assert ruling.tests["margin (pp)"].tolist() == ["–", "+2.06"]


def test_both_batch_norms_are_tested_and_named():
    margin = {"bn": 2, "bn_fixed": -1, "srelu": 0}
    ruling = ruling_on(1, study(lambda arm, seed: margin[arm], arms=tuple(margin)))
    assert ruling.word == "confirmed"
    assert ruling.tests["arm"].tolist() == ["bn", "bn_fixed"]
    assert "bn_fixed is significantly better than srelu in 0 of 1 cells" in ruling.reason


# Claim 2: the margin depends on data, size and bits.


def test_claim_2_names_what_the_margin_depends_on_and_what_not():
    runs = study(bn(lambda bits, width: 2 if bits == 32 else 0), bits=[1, 32], width=[1, 4], seeds=5)
    ruling = ruling_on(2, runs)
    assert (ruling.word, ruling.label) == ("confirmed", "bits: confirmed")
    assert "Shown: The margin of bn at bits 32 is " in ruling.reason
    assert "Not shown: The margin of bn at width 4 is " in ruling.reason
    assert "Not varied: dataset, depth." in ruling.reason
    assert (
        "two-sided, Holm over 3 tests, half of the level for single factors, half of the rest for pairs"
        in ruling.reason
    )


def test_claim_2_compares_every_level_with_every_other_alone_and_together():
    ruling = ruling_on(2, study(bn(lambda dataset, width: 1), dataset=["cifar10", "svhn"], width=[10, 1, 4]))
    assert ruling.tests["levels"].tolist()[:4] == [
        "svhn against cifar10",
        "4 against 1",
        "10 against 1",
        "10 against 4",
    ]
    assert sorted(ruling.tests["levels"][4:]) == [
        f"dataset svhn against cifar10, width {pair}" for pair in ("10 against 1", "10 against 4", "4 against 1")
    ]


def crossed(dataset, width, bits):
    """Three points more or less, by all three factors together: each of them alone and each two do nothing."""
    return 3 if ((dataset == "svhn") + (width == 4) + (bits == 32)) % 2 else -3


def test_claim_2_is_confirmed_by_a_crossover_that_no_factor_makes_alone():
    levels = {"dataset": ["cifar10", "svhn"], "width": [1, 4], "bits": [1, 32]}
    ruling = ruling_on(2, study(bn(crossed), seeds=5, **levels))
    assert ruling.label == "dataset x width x bits: confirmed"
    assert "The margin of bn depends on dataset x width x bits together: in one half of the cells " in ruling.reason
    single_seed = ruling_on(2, study(bn(crossed), seeds=1, **levels))
    assert single_seed.word == "undecided"


def test_claim_2_does_not_depend_on_the_order_of_levels():
    size_pp = {"a": 0.0, "b": -0.35, "c": 0.35}
    words = {
        ruling_on(2, study(bn(lambda dataset: size_pp[dataset]), noise_pp=0.02, seeds=3, dataset=[*order])).word
        for order in ("abc", "bac", "cba")
    }
    assert words == {"confirmed"}


def test_claim_2_is_not_denied_where_a_cell_has_no_margin():
    def over(arm, seed, bits, width):
        return "lost" if (arm, bits, width) == ("bn", 1, 1) else 2 * (arm == "bn")

    assert ruling_on(2, study(over, bits=[1, 32], width=[1, 4])).word == "undecided"


def test_claim_2_names_what_no_complete_block_of_cells_compares():
    runs = study(bn(lambda bits, width: 1), bits=[1, 32], width=[1, 4])
    gone = (runs.frame["bits"] == 32) & (runs.frame["width"] == 4)
    ruling = ruling_on(2, rows_without(runs, gone))
    assert "Left out, for want of cells that agree in all else: bits x width." in ruling.reason


def test_claim_2_says_which_interactions_are_too_many(monkeypatch):
    monkeypatch.setattr(interaction, "cell_contrasts", lambda cells: cell_contrasts(cells, most=2))
    ruling = ruling_on(2, study(bn(lambda bits, width: 1), bits=[1, 32], width=[1, 4]))
    assert "Interactions of more than 1 factors are too many to be tested." in ruling.reason


def test_claim_2_compares_cells_that_agree_in_all_other_factors():
    runs = study(bn(lambda bits, model__residual: 3 * model__residual), bits=[1, 32], **RESIDUAL)
    assert ruling_on(2, runs).word == "denied"  # the margin depends on the skips, and not on the bits
    runs = study(bn(lambda bits, model__residual: 3 * (model__residual == (bits == 1))), bits=[1, 32], **RESIDUAL)
    assert ruling_on(2, runs).label == "bits x model.residual: confirmed"


def test_claim_2_is_denied_where_no_difference_reaches_half_a_point():
    ruling = ruling_on(2, study(bn(lambda bits: 2), bits=[1, 32]))
    assert (ruling.word, ruling.label) == ("denied", "bits: denied")
    assert "Every two cells are shown to lie within 0.5 points of each other" in ruling.reason


def test_claim_2_is_undecided_from_one_seed_or_from_seeds_that_scatter():
    single_seed = ruling_on(2, study(bn(lambda bits: bits / 10), bits=[1, 32], seeds=1))
    assert single_seed.word == "undecided"
    assert "n = 1: no test" in single_seed.reason
    same = ruling_on(2, study(bn(lambda bits: bits / 10), bits=[1, 32], noise_pp=0))
    assert "n = 4, all the same: no test" in same.reason
    assert ruling_on(2, study(bn(lambda bits: 0), bits=[1, 32], noise_pp=1)).word == "undecided"


# Claim 3: speed, memory, complexity.


def timed(seconds, machine=lambda arm, seed: "here", epochs=lambda arm: 2, **measured):
    """Trials that took so long; `measured` are further columns, each from the arm and the seed."""
    runs = study(bn(lambda bits: 1), bits=[1, 32])
    pairs = list(zip(runs.frame["norm"], runs.frame["seed"], strict=True))
    columns = {"train_s": seconds, "machine": machine, **measured}
    for key, of in columns.items():
        runs.frame[key] = [of(arm, seed) for arm, seed in pairs]
    runs.frame["recipe.epochs"] = [epochs(arm) for arm, _ in pairs]
    return type(runs)(runs.study, runs.frame, runs.factors, derived=["recipe.epochs"])


def times(ratio):
    """Of shifted ReLU over batch norm, with a spread between seeds."""
    return lambda arm, seed: 10 * (ratio * (1 + (-1) ** seed / 50) if arm == "srelu" else 1)


def counts(ratio):
    return lambda arm, seed: 1000 * (ratio if arm == "srelu" else 1)


COUNTED = (
    *("train_peak_tensor_bytes", "parameters", "norm_moments", "weight_bytes", "inference_peak_bytes"),
    *("multiply_adds", "norm_ops", "activation_ops", "scale_ops", "add_ops", "pool_ops"),
)


@pytest.mark.parametrize(
    ("ratio", "word"), [(0.8, "confirmed"), (1.25, "denied"), (1.0, "denied"), (0.95, "undecided")]
)
def test_claim_3_is_about_what_was_measured(ratio, word):
    ruling = ruling_on(3, timed(times(ratio)))
    assert ruling.label == f"training speed: {word}"
    assert f"Training speed: {word}; an epoch's training time of srelu {ratio:.2f} times bn's (95% " in ruling.reason
    assert "Not measured: training memory, training complexity, inference speed, inference memory" in ruling.reason


@pytest.mark.parametrize(("ratio", "word"), [(0.8, "confirmed"), (1.25, "denied")])
def test_claim_3_is_about_all_of_it_where_all_was_measured(ratio, word):
    ruling = ruling_on(3, timed(times(ratio), latency_ms=times(ratio), **dict.fromkeys(COUNTED, counts(ratio))))
    assert ruling.label == ruling.word == word
    assert ruling.tests["verdict"].tolist() == [word] * 6
    assert ruling.tests["p"].tolist().count("counted") == 4
    assert ruling.tests["srelu over arm"].tolist() == [f"{ratio:.2f}"] * 6
    assert "Not measured" not in ruling.reason


def test_claim_3_holds_in_part_where_lines_differ_and_names_those_that_hold():
    counted = {**dict.fromkeys(COUNTED, counts(1.0)), "train_peak_tensor_bytes": counts(0.6), "norm_ops": counts(0.9)}
    ruling = ruling_on(3, timed(times(1.2), latency_ms=times(1.0), **counted))
    assert ruling.label == "confirmed in part: training memory"
    words = ["denied", "confirmed", "denied", "denied", "denied", "denied"]
    assert ruling.tests["verdict"].tolist() == words
    assert "Inference complexity: denied; operations on one image of srelu 0.98 times bn's." in ruling.reason
    assert "Cheaper is 0.95 times or less." in ruling.reason


def test_a_line_needs_every_column_that_it_sums():
    ruling = ruling_on(3, timed(times(1.2), multiply_adds=counts(1.0)))
    assert "inference complexity" in ruling.reason.partition("Not measured: ")[2]


def test_times_are_an_epochs_and_a_first_epoch_tells_nothing():
    ruling = ruling_on(3, timed(lambda arm, seed: 10 + seed / 10, epochs=lambda arm: 2 if arm == "bn" else 4))
    assert "of srelu 1.00 times bn's" in ruling.reason
    assert ruling_on(3, timed(lambda arm, seed: 10 + seed / 10, epochs=lambda arm: 1)).word == "not tested"


def test_pairs_on_unlike_machines_are_left_out_and_counted():
    def elsewhere(arm, seed):
        return arm if seed == 0 else "here"

    apart = timed(
        lambda arm, seed: 10 + seed, machine=elsewhere, weight_bytes=counts(0.5), inference_peak_bytes=counts(1)
    )
    ruling = ruling_on(3, apart)
    assert ruling.tests["n"].tolist() == [3, 4]  # what is counted is the same on every machine
    assert "Pairs on unlike machines, left out: 2." in ruling.reason
    assert ruling_on(3, timed(lambda arm, seed: 10, machine=lambda arm, seed: arm)).word == "not tested"


def test_trials_without_a_time_leave_claim_3_untested():
    assert ruling_on(3, timed(lambda arm, seed: float("nan"))).word == "not tested"


# Claim 4: very small batches.


def at_batches(falls_pp, margin_pp=0.0, **options):
    """Batch norm at `margin_pp` over shifted ReLU, but `falls_pp` lower at batches of 1."""

    def over(arm, seed, recipe__batch_size):
        return (margin_pp - falls_pp * (recipe__batch_size == 1)) if arm == "bn" else 0

    return study(over, **BATCHES, **options)


def test_claim_4_names_the_batch_at_which_batch_norm_falls_below_itself_and_below_shifted_relu():
    ruling = ruling_on(4, at_batches(6, 2))
    assert (ruling.word, ruling.label) == ("confirmed", "at batches of 1: confirmed")
    assert "At batches of 1 bn is 6.00 points below itself at 125 (95% interval " in ruling.reason
    assert "n = 4), and 4.00 points below srelu (95% interval " in ruling.reason
    assert "Not shown for bn at 16." in ruling.reason
    assert ruling.tests["batch"].tolist() == ["1", "16"]
    assert ruling.arms[["recipe.batch_size", "norm", "n"]].values.tolist()[:2] == [["1", "bn", 4], ["1", "srelu", 4]]


def test_an_arm_that_only_falls_or_is_only_worse_does_not_confirm_claim_4():
    assert ruling_on(4, at_batches(4, 6)).word == "denied"  # still 2 points better
    assert ruling_on(4, at_batches(0, -6)).word == "denied"  # worse at every size


def test_shifted_relu_that_fails_at_large_batches_does_not_decide_claim_4():
    def over(arm, seed, recipe__batch_size):
        return -70 if arm == "srelu" and recipe__batch_size == 125 and seed == 0 else 0

    assert ruling_on(4, study(over, **BATCHES)).word == "denied"


def test_claim_4_is_denied_where_batch_norm_keeps_within_half_a_point():
    assert ruling_on(4, at_batches(0, 2)).word == "denied"
    assert ruling_on(4, at_batches(-1, 2)).word == "denied"


def test_claim_4_is_undecided_where_seeds_scatter():
    assert ruling_on(4, at_batches(0, 0, noise_pp=2)).word == "undecided"


def test_claim_4_needs_a_very_small_batch():
    ruling = ruling_on(4, study(bn(lambda recipe__batch_size: 2), recipe__batch_size=[32, 125]))
    assert ruling.word == "not tested"


def diverging(where, seeds=7, **options):
    """Trials of both arms that are alike but for those that diverged: where(arm, seed, batch size, width)."""

    def over(arm, seed, recipe__batch_size, width):
        return "diverged" if where(arm, seed, recipe__batch_size, width) else 0

    return study(over, seeds=seeds, **BATCHES, **({"width": [1]} | options))


def test_batch_norm_that_diverges_at_small_batches_confirms_claim_4_by_an_exact_test_over_seeds():
    runs = diverging(lambda arm, seed, size, width: arm == "bn" and size == 1)
    ruling = ruling_on(4, runs)
    assert ruling.word == "confirmed"  # 7 seeds: 1/128, in a family of 2
    assert ruling.label == "at batches of 1: confirmed"
    sentence = "Diverged at batches of 1: 7 of 7 bn, against 0 of 7 at 125, and 0 of 7 srelu at 1 (more than either, "
    assert sentence in ruling.reason
    assert "one-sided, p = 0.016)." in ruling.reason
    assert ruling.tests["n"].tolist() == [0, 7]


@pytest.mark.parametrize(
    "where",
    [
        lambda arm, seed, size, width: arm == "bn" and width > 2,  # alike at 1, 16 and 125
        lambda arm, seed, size, width: arm == "bn" and seed == 0,  # one seed, in all of its eight cells
        lambda arm, seed, size, width: arm == "bn" and seed == 0 and size == 1,
        lambda arm, seed, size, width: size == 1,  # both arms
    ],
)
def test_divergence_that_has_nothing_to_do_with_batch_norm_at_small_batches_does_not_confirm_claim_4(where):
    assert ruling_on(4, diverging(where, width=[*range(1, 9)])).word == "undecided"


def test_few_seeds_that_diverge_are_said_to_be_too_few():
    ruling = ruling_on(4, diverging(lambda arm, seed, size, width: arm == "bn" and size == 1, seeds=4))
    assert ruling.word == "undecided"
    assert ruling.reason.count("4 seeds cannot show it; 5 can.") == 1


def test_a_trial_that_was_lost_is_in_no_pair():
    runs = diverging(lambda arm, seed, size, width: arm == "bn" and size == 1)
    runs.frame.loc[(runs.frame["norm"] == "bn") & (runs.frame["recipe.batch_size"] == 125), "outcome"] = "lost"
    assert ruling_on(4, runs).word == "undecided"


def test_a_few_that_diverged_keep_claim_4_from_being_denied():
    def over(arm, seed, recipe__batch_size):
        return "diverged" if arm == "bn" and recipe__batch_size == 1 and seed == 0 else 0

    runs = study(over, **BATCHES)
    ruling = ruling_on(4, runs)
    assert ruling.word == "undecided"
    assert "1 of 4 bn, against 0 of 4 at 125, and 0 of 4 srelu at 1" in ruling.reason
    assert rulings.failed(runs) == "1 of 12 bn"


# Claim 5: skip connections.


@pytest.mark.parametrize(
    ("plain_pp", "noise_pp", "word"),
    [(5, 0.05, "confirmed"), (2, 0.05, "denied"), (-5, 0.05, "denied"), (2, 2, "undecided")],
)
def test_claim_5_compares_plain_networks_with_residual_ones(plain_pp, noise_pp, word):
    runs = study(bn(lambda model__residual: 2 if model__residual else plain_pp), noise_pp=noise_pp, **RESIDUAL)
    ruling = ruling_on(5, runs)
    assert ruling.word == word
    assert ruling.tests["levels"].tolist() == ["false against true"]
    assert "One-sample t over seeds on differences of margins, one-sided." in ruling.reason


def test_shifted_relu_that_diverges_without_skip_connections_keeps_claim_5_from_being_denied():
    def over(arm, seed, model__residual):
        return "diverged" if arm == "srelu" and not model__residual and seed < 2 else 0

    assert ruling_on(5, study(over, **RESIDUAL)).word == "undecided"


def test_holm_covers_both_batch_norms():
    margin = {"bn": 2, "bn_fixed": 0, "srelu": 0, "gn": 1}
    ruling = ruling_on(
        5, study(lambda arm, seed, model__residual: margin[arm] * (not model__residual), arms=tuple(margin), **RESIDUAL)
    )
    assert ruling.word == "confirmed"
    assert ruling.reason.endswith("Holm over 2 tests.")
    assert ruling.tests["arm"].tolist() == ["bn", "bn_fixed"]
