from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.effects.contrasts import Contrast
from analysis.effects.importance import accuracy_importance, margin_importance
from analysis.effects.interaction import dependences, effects
from analysis.effects.matched import margins
from tests.support.frames import rows

NORM = Contrast("norm", "bn", "srelu")


def study(margin_pp, *, seeds=4, widths=(1, 4), bits=(1, 32), noise_pp=0.1):
    """Accuracy 90%, 10% of it by width; `margin_pp(width, bits)` on top for bn, and noise of its own in each trial."""
    rng = np.random.default_rng(3)
    return rows(
        *(
            (
                {"norm": norm, "width": width, "bits": bit},
                seed,
                0.8 + width / 100 + ((norm == "bn") * margin_pp(width, bit) + noise_pp * rng.normal()) / 100,
            )
            for norm in ("bn", "srelu")
            for width in widths
            for bit in bits
            for seed in range(seeds)
        ),
        factors=("norm", "width", "bits"),
    )


def effects_by_level(runs):
    rows_of_margins = margins(runs, NORM)
    return {
        (effect.difference.moderator, *(pair.level for pair in effect.difference.pairs)): effect
        for effect in effects([("arm", rows_of_margins)], runs.frame)
    }


def test_a_planted_interaction_is_found_where_it_is_and_nowhere_else():
    by_level = effects_by_level(study(lambda width, bits: 2.0 if bits == 32 else 0.0))
    assert by_level["bits", 32].shown
    assert by_level["bits", 32].mean_pp == pytest.approx(2, abs=0.3)
    assert not by_level["width", 4].shown


def test_an_effect_is_scipys_t_test_on_each_seeds_difference_averaged_over_cells():
    runs = study(lambda width, bits: bits / 32)
    wide = {(row.levels["width"], row.levels["bits"]): row.by_seed for row in margins(runs, NORM)}
    by_seed = [np.mean([wide[(w, 32)][s] - wide[(w, 1)][s] for w in (1, 4)]) for s in range(4)]
    other = [np.mean([wide[(4, b)][s] - wide[(1, b)][s] for b in (1, 32)]) for s in range(4)]
    p_values = stats.ttest_1samp(by_seed, 0).pvalue, stats.ttest_1samp(other, 0).pvalue
    # half of the level for the two single factors, half for the interaction of both
    assert effects_by_level(runs)["bits", 32].p == pytest.approx(min(1, 4 * min(p_values)))
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert (effects_by_level(runs)["bits", 32].low_pp, effects_by_level(runs)["bits", 32].high_pp) == pytest.approx(
        tuple(expected)
    )


def test_one_seed_gives_an_effect_without_a_test():
    (effect,) = effects_by_level(study(lambda width, bits: bits, seeds=1, widths=(1,))).values()
    assert (effect.mean_pp, effect.low_pp, effect.p, effect.shown) == (pytest.approx(31, abs=1), None, None, False)


def test_every_level_is_compared_with_every_other():
    runs = study(lambda width, bits: width, widths=(1, 2, 4), bits=(1,))
    measured = effects([("arm", margins(runs, NORM))], runs.frame)
    assert [(effect.difference.moderator, effect.difference.in_words) for effect in measured] == [
        ("width", "2 against 1"),
        ("width", "4 against 1"),
        ("width", "4 against 2"),
    ]


def test_a_crossover_is_an_interaction_of_all_factors_that_make_it_up():
    runs = study(lambda width, bits: 3.0 if (width == 4) == (bits == 32) else -3.0)
    by_level = effects_by_level(runs)
    assert {key for key, effect in by_level.items() if effect.shown} == {("width x bits", 4, 32)}
    crossed = by_level["width x bits", 4, 32]
    assert crossed.mean_pp == pytest.approx(6, abs=0.3)  # the mean over two cells minus that over the two others
    assert crossed.difference.in_words == "width 4 against 1, bits 32 against 1"


def test_what_is_shown_does_not_depend_on_the_order_of_levels():
    rng = np.random.default_rng(0)
    margin_pp = {level: pp + rng.normal(0, 0.1, 4) for level, pp in (("a", 0.0), ("b", -0.4), ("c", 0.4))}
    by_order = []
    for order in ("abc", "bac", "cab"):
        trials = [
            ({"norm": norm, "data": level}, seed, 0.8 + (norm == "bn") * margin_pp[level][seed] / 100)
            for level in order
            for norm in ("bn", "srelu")
            for seed in range(4)
        ]
        runs = rows(*trials, factors=("norm", "data"))
        pairs = {
            frozenset((effect.difference.pairs[0].level, effect.difference.pairs[0].reference)): effect.p
            for effect in effects([("arm", margins(runs, NORM))], runs.frame)
        }
        by_order.append(pairs)
    assert by_order[0] == pytest.approx(by_order[1])
    assert by_order[0] == pytest.approx(by_order[2])
    assert by_order[0][frozenset("bc")] < 0.05  # the two that differ most, neither of them the first


def test_a_grid_with_holes_uses_its_complete_blocks_and_names_what_it_lacks():
    runs = study(lambda width, bits: width / 4, widths=(1, 2, 4))
    frame = runs.frame[(runs.frame["bits"] == 1) | (runs.frame["width"] != 4)].reset_index(drop=True)
    holes = type(runs)(runs.study, frame, runs.factors)
    (dependence,) = dependences([("arm", margins(holes, NORM))], frame)
    blocks = {(e.difference.moderator, e.difference.in_words): e.difference.cells for e in dependence.effects}
    assert blocks["width", "4 against 1"] == 1
    assert blocks["width", "2 against 1"] == 2
    assert [key for key in blocks if key[0] == "width x bits"] == [
        ("width x bits", "width 2 against 1, bits 32 against 1")
    ]
    assert dependence.incomplete == []
    frame = frame[(frame["bits"] == 1) | (frame["width"] == 1)].reset_index(drop=True)
    (dependence,) = dependences([("arm", margins(type(runs)(runs.study, frame, runs.factors), NORM))], frame)
    assert dependence.incomplete == [("width", "bits")]
    assert {effect.difference.moderator for effect in dependence.effects} == {"width", "bits"}


def test_effects_may_be_limited_to_the_moderators_in_question():
    runs = study(lambda width, bits: 0.0)
    (dependence,) = dependences([("arm", margins(runs, NORM))], runs.frame, of=["bits"])
    assert [effect.difference.moderator for effect in dependence.effects] == ["bits", "width x bits"]
    assert dependence.moderators == ["bits"]


def test_importance_is_the_largest_matched_difference_with_an_interval_for_all_pairs():
    runs = study(lambda width, bits: 0.0, widths=(1, 2, 4), bits=(1,), noise_pp=0.01)
    first, *_ = accuracy_importance(runs.frame, ["norm", "width", "bits"])
    assert (first.factor, first.level, first.reference, first.n) == ("width", 4, 1, 4)
    assert first.mean_pp == pytest.approx(3, abs=0.02)
    acc = 100 * runs.frame.pivot_table(index=["norm", "seed"], columns="width", values="acc")
    by_seed = (acc[4] - acc[1]).groupby(level="seed").mean()
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval(1 - 0.05 / 3)
    assert (first.low_pp, first.high_pp) == pytest.approx(tuple(expected), abs=1e-6)


def test_margin_importance_ranks_what_moves_the_margin():
    runs = study(lambda width, bits: bits / 32 + width / 40)
    assert [importance.factor for importance in margin_importance(margins(runs, NORM), runs.frame)] == ["bits", "width"]


def test_cells_without_a_partner_are_left_out_of_a_difference_and_counted():
    runs = study(lambda width, bits: bits / 32)
    frame = runs.frame[~((runs.frame["width"] == 4) & (runs.frame["bits"] == 32))]
    effect = effects_by_level(type(runs)(runs.study, frame.reset_index(drop=True), runs.factors))["bits", 32]
    assert effect.difference.cells == 1
