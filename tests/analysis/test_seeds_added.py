"""Studies whose number of seeds follows from what they showed: after a look, or until margins were decided."""

from __future__ import annotations

import dataclasses

import pytest

from analysis.effects.contrasts import Contrast
from analysis.effects.hypotheses import decided_hypotheses
from analysis.findings import find
from analysis.paper import rulings
from analysis.rendering import sentences
from tests.analysis.paper.test_rulings import bn, study
from tests.analysis.test_report import make_study
from tests.support.fakes import well
from tests.support.reports import numbers_of

AUTO, LOOKED = {"seeds": {"first": 3, "most": 20, "within_pp": 0.5}}, {"looks": [3, 5]}


def with_metadata(runs, metadata):
    return dataclasses.replace(runs, metadata=metadata)


def report(name="mine"):
    return numbers_of(name)


def test_more_seeds_after_results_are_a_look_and_the_report_says_how_it_counts(folder, say):
    make_study(well, folder, seeds=3, metadata={"seed_count": 3})
    say("analysis.report")
    before = report()
    make_study(well, folder, seeds=5, metadata={"seed_count": 5})
    assert say("analysis.report")[0] == 0
    assert not any("after a look" in line for line in before["warnings"])
    assert any(
        line.startswith("Seeds were added after a look at the results: 3, then 5 seeds. The first look had the usual")
        for line in report()["warnings"]
    )


def test_the_first_requests_of_more_seeds_are_no_look(folder, say):
    make_study(well, folder, seeds=5, metadata={"seed_count": 5})
    make_study(well, folder, seeds=5, metadata={"seed_count": 5})
    say("analysis.report")
    assert not any("after a look" in line for line in report()["warnings"])


@pytest.mark.parametrize("metadata", [AUTO, LOOKED])
def test_what_5_seeds_barely_show_is_open_when_their_number_was_not_fixed(metadata):
    runs = study(bn(lambda bits: 0.4), bits=[1, 32], seeds=5, noise_pp=0.15)
    contrast = [Contrast("norm", "bn", "srelu")]
    fixed = find(runs, contrast, equivalence_pp=0.0).comparisons[0]
    added = find(with_metadata(runs, metadata), contrast, equivalence_pp=0.0).comparisons[0]
    assert {verdict.word for verdict in fixed.verdicts} == {"first better"}
    for narrow, wide in zip(fixed.rows, added.rows, strict=True):
        assert wide.margin.high_pp - wide.margin.low_pp > narrow.margin.high_pp - narrow.margin.low_pp
        assert wide.margin.p_difference > narrow.margin.p_difference


def words(runs, *texts):
    return [tested.word for tested in decided_hypotheses(runs, texts, equivalence_pp=0.5, right=None)]


@pytest.mark.parametrize("metadata", [AUTO, LOOKED])
@pytest.mark.parametrize(("bn_ahead_pp", "seeds"), [(1.0, 2), (-1.0, 2), (0.02, 3), (-0.02, 3)])
def test_a_hypothesis_is_not_confirmed_by_too_few_seeds_and_never_by_the_opposite(metadata, bn_ahead_pp, seeds):
    """The p value of too few seeds is 1: its complement confirmed the opposite of what they showed."""
    runs = with_metadata(study(bn(lambda bits: bn_ahead_pp), bits=[1, 32], seeds=seeds), metadata)
    larger = "margin of bn over srelu larger at bits=1 than at bits=32"
    assert words(runs, "bn better than srelu", "srelu better than bn", larger) == ["undecided"] * 3


@pytest.mark.parametrize("metadata", [AUTO, LOOKED])
def test_a_clear_hypothesis_is_decided_both_ways_under_added_seeds(metadata):
    runs = with_metadata(study(bn(lambda bits: 2.0), bits=[1, 32], seeds=8), metadata)
    assert words(runs, "bn better than srelu", "srelu better than bn") == ["confirmed", "denied"]


@pytest.mark.parametrize("metadata", [AUTO, LOOKED])
def test_claims_are_tested_sequentially_and_say_so(metadata):
    runs = study(bn(lambda bits: 1 + (bits == 32)), bits=[1, 32], seeds=6)
    fixed, added = rulings.rulings(runs), rulings.rulings(with_metadata(runs, metadata))
    assert [fixed[index].word for index in (0, 1)] == ["denied", "confirmed"]
    assert [added[index].word for index in (0, 1)] == ["denied", "confirmed"]
    assert "One-sample t" in fixed[1].reason
    for ruling in added[:2]:
        assert "Sequential test (seeds were added" in ruling.reason


def test_what_compares_cells_rests_on_the_seeds_that_all_have():
    """Cells with more seeds have them for what they showed."""
    runs = study(bn(lambda bits: 1 + (bits == 32)), bits=[1, 32], seeds=9)
    short = runs.frame[(runs.frame["bits"] == 1) | (runs.frame["seed"] < 4)].reset_index(drop=True)
    runs = dataclasses.replace(runs, frame=short, metadata=AUTO)
    (comparison,) = find(runs, [Contrast("norm", "bn", "srelu")], equivalence_pp=0.5).comparisons
    assert [row.margin.n for row in comparison.rows] == [9, 4]
    assert {len(effect.difference.by_seed) for effect in comparison.effects} == {4}
    assert set(rulings.rulings(runs)[1].tests["n"]) == {4}
    assert set(runs.at_common_seeds(["norm", "bits"]).frame["seed"]) == {0, 1, 2, 3}


def test_after_looks_a_dependence_is_not_denied():
    flat = study(bn(lambda bits: 1), bits=[1, 32], seeds=8)
    assert rulings.rulings(flat)[1].word == "denied"
    assert rulings.rulings(with_metadata(flat, LOOKED))[1].word == "undecided"


def test_many_cells_share_their_spread_and_the_report_says_so():
    levels = {"width": [*range(1, 10)], "depth": [*range(1, 9)]}
    runs = study(bn(lambda width, depth: 2), seeds=3, noise_pp=0.35, **levels)
    findings = find(runs, [Contrast("norm", "bn", "srelu")], equivalence_pp=0.5)
    assert sum(verdict.word == "first better" for verdict in findings.comparisons[0].verdicts) > 36
    (line,) = [line for line in sentences.sentences(findings) if "drawn towards" in line]
    assert line.startswith(
        "norm: bn minus srelu: with 72 cells of 3 seeds the spread of each is drawn towards that of all"
    )


def test_the_report_says_whether_seeds_share_their_training_images():
    runs = study(bn(lambda bits: 1), bits=[1, 32], seeds=3)
    contrast = [Contrast("norm", "bn", "srelu")]
    assert any(
        line.startswith("All seeds share their training images: what others would change")
        for line in sentences.sentences(find(runs, contrast, equivalence_pp=0.5))
    )
    drawn = dataclasses.replace(runs, frame=runs.frame.assign(resplit=True, bootstrap="train"))
    assert (
        "Each seed dealt training and validation images anew and drew its training images with replacement, "
        "so that its spread holds that of the data."
    ) in sentences.sentences(find(drawn, contrast, equivalence_pp=0.5))


def test_skewed_seeds_are_warned_of_and_even_ones_are_not():
    def drops(arm, seed, width, bits):
        return -4.0 if arm == "srelu" and (seed + width + bits) % 8 == 0 else 0.0

    contrast = [Contrast("norm", "bn", "srelu")]
    levels = {"width": [1, 2, 3, 4], "bits": [1, 32]}
    skewed = find(study(drops, seeds=8, noise_pp=0.3, **levels), contrast, equivalence_pp=0.5)
    (line,) = [line for line in sentences.warnings(skewed, "") if "look skewed" in line]
    assert line.startswith("norm: bn minus srelu: the seeds' margins look skewed (p ")
    even = find(study(lambda arm, seed, **_: 0.0, seeds=8, noise_pp=0.3, **levels), contrast, equivalence_pp=0.5)
    assert not any("look skewed" in line for line in sentences.warnings(even, ""))
