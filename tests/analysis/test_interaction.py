from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.effects.contrasts import Contrast
from analysis.effects.interaction import accuracy_importance, effects, margin_importance
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
        (effect.difference.moderator, effect.difference.level): effect
        for effect in effects([("arm", rows_of_margins)], runs.frame)
    }


def test_a_planted_interaction_is_found_where_it_is_and_nowhere_else():
    by_level = effects_by_level(study(lambda width, bits: 2.0 if bits == 32 else 0.0))
    assert by_level[("bits", 32)].shown
    assert by_level[("bits", 32)].mean_pp == pytest.approx(2, abs=0.3)
    assert not by_level[("width", 4)].shown


def test_an_effect_is_scipys_t_test_on_each_seeds_difference_averaged_over_cells():
    runs = study(lambda width, bits: bits / 32)
    wide = {(row.levels["width"], row.levels["bits"]): row.by_seed for row in margins(runs, NORM)}
    by_seed = [np.mean([wide[(w, 32)][s] - wide[(w, 1)][s] for w in (1, 4)]) for s in range(4)]
    other = [np.mean([wide[(4, b)][s] - wide[(1, b)][s] for b in (1, 32)]) for s in range(4)]
    p_values = stats.ttest_1samp(by_seed, 0).pvalue, stats.ttest_1samp(other, 0).pvalue
    assert effects_by_level(runs)[("bits", 32)].p == pytest.approx(min(1, 2 * min(p_values)))
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert (effects_by_level(runs)[("bits", 32)].low_pp, effects_by_level(runs)[("bits", 32)].high_pp) == pytest.approx(
        tuple(expected)
    )


def test_one_seed_gives_an_effect_without_a_test():
    (effect,) = effects_by_level(study(lambda width, bits: bits, seeds=1, widths=(1,))).values()
    assert (effect.mean_pp, effect.low_pp, effect.p, effect.shown) == (pytest.approx(31, abs=1), None, None, False)


def test_each_level_is_held_against_the_first():
    by_level = effects_by_level(study(lambda width, bits: width, widths=(1, 2, 4), bits=(1,)))
    assert {(key, effect.difference.reference) for key, effect in by_level.items()} == {
        (("width", 2), 1),
        (("width", 4), 1),
    }


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
    effect = effects_by_level(type(runs)(runs.study, frame.reset_index(drop=True), runs.factors))[("bits", 32)]
    assert effect.difference.cells == 1
