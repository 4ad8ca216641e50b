from __future__ import annotations

import pytest

from ablate.core.errors import UsageError
from ablate.core.study import Cell
from ablate.core.text import shortened
from ablate.planning import study_name
from ablate.planning.search_space import Levels
from ablate.planning.tuning import TunedCell, Tuning, name_of
from ablate.store import manifest
from tests.support.fakes import make_trial

CHOICES = [{"dataset": "digits"}]


def name(factors=(), study=None, kind="full", preset=None, parts=(), choices=CHOICES):
    config = {"study": study, "design": {"kind": kind}}
    return study_name.of(config, {key: [1, 2] for key in factors}, choices, preset, parts)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (name(), "digits"),
        (name(["norm", "bits"]), "digits-bits-norm"),
        (name(["norm"], kind="one_factor", parts=["tuned"]), "digits-norm-one_factor-tuned"),
        (name(["a" * 93]), f"digits-{'a' * 93}"),
        (name(study="mine"), "mine"),
        (name(preset="sb_residual"), "sb_residual"),
        (name(study="x" * 100), "x" * 100),
    ],
)
def test_names_that_fit_are_as_they_always_were(made, expected):
    assert made == expected


def many(count, text="recipe.key_"):
    return [f"{text}{number}" for number in range(count)]


@pytest.mark.parametrize("text", ["recipe.key_", "正規化", "ö"])
def test_a_name_of_many_factors_can_be_typed_and_is_a_files_name(text, tmp_path):
    made = name(many(60, text))
    assert made.startswith("digits-")
    assert name(study=made) == made
    for ending in manifest.ENDINGS:
        (tmp_path / f"{made}{ending}").touch()


def test_names_that_differ_only_where_they_are_cut_differ():
    names = {
        name(many(60)),
        name(many(61)),
        name(many(60), kind="screening"),
        name(many(60), parts=["tuned"]),
        name(many(60), choices=[{"dataset": "mnist"}]),
    }
    assert len(names) == 5
    assert name(many(60)) == name(reversed(many(60)))


@pytest.mark.parametrize("study", ["x" * 101, "a/b", ".a", "-"])
def test_a_typed_name_that_is_no_files_name_is_refused(study):
    with pytest.raises(
        UsageError, match=r"^study=.*: allowed: up to 100 letters, digits, and _ . \+ - after the first$"
    ):
        name(study=study)


def test_a_typed_name_of_many_bytes_is_refused_by_its_bytes():
    with pytest.raises(UsageError, match=r"^study=正+: 300 bytes in UTF-8; allowed: up to 243$"):
        name(study="正" * 100)


def test_the_name_of_a_cells_search_fits_into_optunas_databases():
    def search(count):
        cell = Cell(tuple((key, 1) for key in many(count)))
        tuned = TunedCell(cell, {"recipe.lr": Levels((0.1, 0.2))}, lambda values, seed: make_trial(seed), 1)
        return name_of("digits", Tuning("random", 2, None, "valid_acc", "none", 10_000, None), tuned)

    assert search(2).startswith("digits: recipe.key_0=1 recipe.key_1=1 ")
    assert len(search(80).encode()) <= 512
    assert search(80) != search(81)


@pytest.mark.parametrize("text", ["a" * 300, "ö" * 150, "a " * 150, "a-" * 130])
@pytest.mark.parametrize("most", [9, 100, 250])
def test_a_shortened_text_has_at_most_so_many_bytes(text, most):
    assert len(shortened(text, most).encode()) <= most
    assert shortened(shortened(text, most), most) == shortened(text, most)
