"""What a line's design, where, when, zip and reference make of its cells."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import CONF

LEVELS = {"norm": ["bn", "srelu", "gn"], "bits": [1, 32], "depth": [8, 14, 20, 26]}
WORDS = [f"{name}={','.join(map(str, levels))}" for name, levels in LEVELS.items()]
GRID = list(itertools.product(*LEVELS.values()))


def cells(made):
    return [tuple(level for _, level in cell.levels) for cell in made.study.cells]


def differences(cell, other):
    return sum(a != b for a, b in zip(cell, other, strict=True))


def design(made):
    metadata = made.study.metadata
    assert json.loads(json.dumps(metadata)) == metadata
    return metadata.get("design")


def test_a_plain_line_is_the_full_grid_and_says_nothing_of_it(planned):
    assert cells(planned(*WORDS, "seeds=1")) == GRID
    made = planned(*WORDS, "seeds=1", "design=full")
    assert (cells(made), design(made)) == (GRID, None)


@pytest.mark.parametrize("kind", ["one_factor", "leave_one_out"])
@pytest.mark.parametrize("reference", [("bn", 1, 8), ("gn", 32, 14)])
def test_one_factor_is_the_reference_and_what_differs_in_one(planned, kind, reference):
    typed = [f"reference.{name}={level}" for name, level in zip(LEVELS, reference, strict=True)]
    made = planned(*WORDS, "seeds=1", f"design={kind}", *typed)
    assert cells(made) == [cell for cell in GRID if differences(cell, reference) <= 1]
    at = dict(zip(LEVELS, reference, strict=True))
    assert design(made) == {"kind": kind, "reference": at, "base": at}


def test_the_reference_is_the_first_level_typed(planned):
    made = planned(*WORDS, "seeds=1", "design=one_factor", "reference.depth=20")
    assert design(made)["reference"] == {"norm": "bn", "bits": 1, "depth": 20}


def test_add_one_in_goes_from_the_bare_cell_to_the_reference(planned):
    made = planned(*WORDS, "seeds=1", "design=add_one_in", "reference.norm=gn")
    bare, reference = ("srelu", 32, 26), ("gn", 1, 8)
    assert cells(made) == [cell for cell in GRID if differences(cell, bare) <= 1 or cell == reference]
    assert design(made)["bare"] == design(made)["base"] == dict(zip(LEVELS, bare, strict=True))


def test_a_fraction_is_half_of_the_grid_and_has_the_reference(planned):
    made = planned("norm=bn,srelu", "bits=1,32", "depth=8,14", "seeds=1", "design=fractional", "reference.bits=32")
    assert cells(made) == [("bn", 1, 14), ("bn", 32, 8), ("srelu", 1, 8), ("srelu", 32, 14)]
    assert design(made)["resolution"] == 3
    assert made.study.name.endswith("-fractional")


def test_a_random_design_is_drawn_from_what_where_leaves(planned):
    words = [*WORDS, "seeds=1", "design=random", 'where="norm != gn and depth < 26"']
    kept = [cell for cell in GRID if cell[0] != "gn" and cell[2] < 26]
    assert cells(planned(*words, "design.cells=12")) == kept
    five = planned(*words, "design.cells=5", "design.seed=3")
    assert len(cells(five)) == 5
    assert {("bn", 1, 8)} <= set(cells(five)) <= set(kept)
    assert cells(planned(*words, "design.cells=5", "design.seed=3")) == cells(five)
    assert set(cells(planned(*words, "design.cells=9", "design.seed=3"))) > set(cells(five))


def test_where_keeps_the_cells_for_which_it_is_true(planned):
    made = planned(*WORDS, "seeds=1", 'where="not (norm == bn and bits == 1) and depth in [8, 20]"')
    assert cells(made) == [cell for cell in GRID if cell[:2] != ("bn", 1) and cell[2] in (8, 20)]
    assert design(made) == {"kind": "full", "where": "not (norm == bn and bits == 1) and depth in [8, 20]"}
    assert {name: set(levels) for name, levels in made.study.factors.items()}["depth"] == {8, 20}


def test_a_level_means_its_value_in_an_expression_however_it_was_typed(planned):
    assert cells(planned("recipe.lr=1e-2,0.1,1", 'where="recipe.lr in [0.01, 1]"', "seeds=1")) == [(0.01,), (1,)]


def test_a_conditional_factor_is_set_only_where_its_condition_holds(planned):
    words = ["norm=bn,srelu,gn", "norm.temperature=1,3", "bits=1,32", "seeds=1"]
    made = planned(*words, 'when.norm.temperature="norm == srelu"')
    hint = 10  # of digits: what gn's own temperature is
    assert cells(made) == [
        *(("bn", None, bits) for bits in (1, 32)),
        *(("srelu", temperature, bits) for temperature in (1, 3) for bits in (1, 32)),
        *(("gn", hint, bits) for bits in (1, 32)),
    ]
    assert "temperature" not in made.cell_configs[0]["norm"]
    assert design(made) == {"kind": "full", "when": {"norm.temperature": "norm == srelu"}}
    assert len({trial.trial_id for trial in made.study.trials}) == 8


def test_a_cell_without_its_conditional_factor_is_the_cell_of_a_line_without_it(planned):
    conditional = planned("norm=bn,srelu", "norm.temperature=1,3", 'when.norm.temperature="norm == srelu"')
    plain = planned("norm=bn")
    assert {t.trial_id for t in plain.study.trials} < {t.trial_id for t in conditional.study.trials}


def test_conditions_may_depend_on_conditional_factors(planned):
    made = planned(
        "bits=1,32", "depth=8,14", "width=1,2", "seeds=1", 'when.width="depth == 14"', 'when.depth="bits == 1"'
    )
    assert cells(made) == [(1, 8, 2), (1, 14, 1), (1, 14, 2), (32, 14, 2)]  # 14 and 2 are the config's own


def test_a_design_with_a_conditional_factor_has_no_duplicates(planned):
    words = ["norm=bn,srelu", "norm.temperature=1,3", 'when.norm.temperature="norm == srelu"', "seeds=1"]
    made = planned(*words, "design=one_factor")
    assert cells(made) == [("bn", None), ("srelu", 1)]
    made = planned(*words, "design=one_factor", "reference.norm=srelu", "reference.norm.temperature=3")
    assert cells(made) == [("bn", None), ("srelu", 1), ("srelu", 3)]
    assert design(made)["reference"] == {"norm": "srelu", "norm.temperature": 3}
    assert len(cells(planned(*words, "design=random", "design.cells=3"))) == 3


def test_zipped_factors_go_together(planned):
    made = planned("depth=8,14", "norm=bn,srelu", "width=1,2", "zip=[depth,width]", "seeds=1")
    assert cells(made) == [(8, "bn", 1), (8, "srelu", 1), (14, "bn", 2), (14, "srelu", 2)]
    assert design(made) == {"kind": "full", "zip": [["depth", "width"]]}


def test_zipped_levels_may_repeat_and_pairs_do_not(planned):
    made = planned("depth=8,8,14,8", "width=1,2,2,1", "zip=[depth,width]", "seeds=1")
    assert cells(made) == [(8, 1), (8, 2), (14, 2)]


def test_several_groups_are_zipped_and_each_is_one_factor_of_a_design(planned):
    words = ["depth=8,14,20", "norm=bn,srelu", "width=1,2,3", "bits=1,32", "zip=[[depth,width],[norm,bits]]"]
    assert cells(planned(*words, "seeds=1")) == [
        (depth, norm, width, bits)
        for depth, width in ((8, 1), (14, 2), (20, 3))
        for norm, bits in (("bn", 1), ("srelu", 32))
    ]
    made = planned(*words, "seeds=1", "design=one_factor", "reference.width=2")
    assert cells(made) == [(8, "bn", 1, 1), (14, "bn", 2, 1), (14, "srelu", 2, 32), (20, "bn", 3, 1)]
    assert design(made)["reference"] == {"depth": 14, "norm": "bn", "width": 2, "bits": 1}


def test_a_group_is_zipped_with_a_value(planned):
    made = planned("dataset=digits,synthetic", "recipe.epochs=3,5", "zip=[dataset,recipe.epochs]", "seeds=1")
    assert cells(made) == [("digits", 3), ("synthetic", 5)]


def test_a_presets_lines_may_hold_all_of_it(planned):
    Path("mine/preset").mkdir(parents=True)
    Path("mine/preset/own.yaml").write_text(
        "grids:\n"
        "  - norm=bn,srelu bits=1,32 'where=\"not (norm == bn and bits == 1)\"' dataset=digits\n"
        "  - norm=bn,srelu bits=1,32 design=one_factor reference.bits=32 dataset=synthetic\n"
        "common: seeds=1\n"
    )
    made = planned("--config-dir=mine", "preset=own")
    assert cells(made) == [
        ("bn", 32, "digits"),
        ("srelu", 1, "digits"),
        ("srelu", 32, "digits"),
        ("bn", 1, "synthetic"),
        ("bn", 32, "synthetic"),
        ("srelu", 32, "synthetic"),
    ]


def test_what_a_design_leaves_out_is_not_composed(planned, monkeypatch):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    composed = []
    compose = ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", lambda *a, **k: composed.append(a) or compose(*a, **k))
    planned("norm=bn,srelu,gn", "dataset=digits,synthetic", 'where="norm == bn and dataset == digits"', "seeds=1")
    assert len(composed) == 1


def test_the_cells_of_a_full_grid_are_those_of_before(planned):
    """Even of a key that is typed twice: the last word stands."""
    assert cells(planned("bits=1,32", "bits=2,4", "seeds=1")) == [(2,), (4,)]


MISTAKES = [
    (["where=norm == bn"], "where=norm == bn: allowed in quotes, for the shell too: 'where=\"norm == bn\"'"),
    (["where=bits < 3"], "where=bits < 3: allowed in quotes, for the shell too: 'where=\"bits < 3\"'"),
    (["where=norm in [bn],gn"], "where=norm in [bn],gn: allowed in quotes, for the shell too: "),
    (
        ["when.bits=norm == bn"],
        "when.bits=norm == bn: allowed in quotes, for the shell too: 'when.bits=\"norm == bn\"'",
    ),
    (['where="norm = bn"'], "where=norm = bn: cannot be read (invalid syntax"),
    (['where="norm == bm"'], "where=norm == bm: norm has no level bm; allowed: bn, srelu, gn"),
    (['where="width == 1"'], "where=width == 1: width: no such factor; allowed: norm, bits, depth"),
    (['where="bits + 1 == 2"'], "where=bits + 1 == 2: bits + 1: allowed: comparisons (== != < <= > >= in, not in) of "),
    (['where="bits > 32"'], "where=bits > 32: leaves no cell; allowed: an expression that is true for at least one"),
    (["where=3"], "where=3: allowed: an expression in quotes, for the shell too: 'where=\"norm == bn\"'"),
    (["where.norm=bn"], "where.norm=bn: "),
    (
        ["design=one_factor", 'where="norm != bn"'],
        "where=norm != bn: leaves out the reference cell norm=bn bits=1 depth=8; allowed: another reference, as in ",
    ),
    (
        ["design=add_one_in", 'where="norm != gn"'],
        "where=norm != gn: leaves out the bare cell norm=gn bits=32 depth=26",
    ),
    (["reference.norm=ln"], "reference.norm=ln: not a level of it here; allowed: bn, srelu, gn"),
    (["reference.width=2"], "reference.width=2: width is not a factor; allowed: norm, bits, depth"),
    (["reference.norm=bn,gn"], "reference.norm=bn,gn: allowed: one level"),
    (
        ["design=none"],
        "design=none: no such option; allowed: add_one_in, fractional, full, leave_one_out, one_factor, ",
    ),
    (["design=full,random"], "design=full,random: a study has one design; allowed: one of add_one_in, "),
    (["design.fraction=2"], "design.fraction=2: this design has no such key; allowed: design.fraction with design=fr"),
    (["+design.fraction=2"], "+design.fraction=2: this design has no such key; allowed: design.fraction with "),
    (["~design"], "~design: allowed: one of add_one_in, "),
    (["design=[full,random]"], "design=[full,random]: allowed: one of add_one_in, "),
    (["design=random"], "design.cells=null: allowed: a number of cells, 1 to 24"),
    (["design=random", "design.cells=25"], "design.cells=25: allowed: a number of cells, 1 to 24"),
    (["design=fractional", "design.fraction=9"], "design.fraction=9: allowed for 3 x 2 x 4 levels: 2, 3"),
    (["design=screening"], "design=screening: norm has 3 levels; allowed: factors of two levels"),
    (["zip=[depth,width]"], "zip=[depth,width]: width is not a factor; allowed: norm, bits, depth"),
    (["zip=[depth,bits]"], "zip=[depth,bits]: depth has 4, bits has 2 levels; allowed: as many of each"),
    (["zip=[[depth,bits],[bits,norm]]"], "zip=[[depth,bits],[bits,norm]]: bits is listed twice; allowed: once"),
    (["zip=[depth]"], "zip=[depth]: allowed: two factors or more, zip=[depth,width], or several such lists"),
    (["zip=depth"], "zip=depth: allowed: a list in brackets: [a,b]"),
    (["zip=depth,bits"], "zip=depth,bits: allowed: one list in brackets"),
    (
        ["width=1,2,3,4", "zip=[depth,width]", "reference.depth=8", "reference.width=2"],
        "reference.depth=8 reference.wid",
    ),
    (['when.width="norm == bn"'], "when.width=norm == bn: width is not a factor; allowed: bits, depth"),
    (['when.norm="bits == 1"'], "when.norm=bits == 1: norm is a group, and each cell has one; allowed: bits, depth"),
    (['when.bits="bits == 1"'], "when.bits=bits == 1: bits depends on itself; allowed: other factors"),
    (['when.bits="depth == 8"', 'when.depth="bits == 1"'], "when."),
    (['when.bits="norm == ln"'], "when.bits=norm == ln: norm has no level ln; allowed: bn, srelu, gn"),
    (["when.bits=true"], "when.bits=true: allowed: an expression in quotes"),
]


@pytest.mark.parametrize(
    ("words", "message"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_in_it_is_one_line_and_starts_nothing(folder, say, words, message):
    status, out, err = say("ablate.run", "-m", *WORDS, *words)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert "allowed" in err
    assert not list(folder.iterdir())


def type_line(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a shell reads it."""
    return subprocess.run(
        f"{sys.executable} -m ablate.run {line}",
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(CONF).parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_shell_takes_the_line_as_readme_shows_it(folder):
    line = "-m norm=bn,srelu bits=1,32 'where=\"not (norm == bn and bits == 1)\"' seeds=1 mode=plan"
    output = type_line(line, folder)
    assert output.returncode == 0, output.stderr
    assert output.stdout.count("seed=0") == 3
    assert "norm=bn bits=1 " not in output.stdout


def test_what_an_unquoted_expression_is_answered_with_can_be_typed(folder):
    output = type_line('-m norm=bn,srelu bits=1,32 where="norm == bn or bits == 1" seeds=1 mode=plan', folder)
    assert (output.returncode, output.stdout, output.stderr.count("\n")) == (2, "", 1)
    quoted = output.stderr.strip().rpartition("for the shell too: ")[2]
    assert quoted == "'where=\"norm == bn or bits == 1\"'"
    again = type_line(f"-m norm=bn,srelu bits=1,32 {quoted} seeds=1 mode=plan", folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("seed=0") == 3


def test_a_plan_without_a_fraction_imports_no_library_of_designs(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(CONF).parent), "PYTHONPROFILEIMPORTTIME": "1"}
    words = ["-m", "norm=bn,srelu", "bits=1,32", "design=one_factor", 'where="bits > 0"', "mode=plan"]
    output = subprocess.run(
        [sys.executable, "-m", "ablate.run", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {row.rpartition("|")[2].strip() for row in output.stderr.splitlines() if row.startswith("import time")}
    assert not imported & {"pydoe", "scipy", "torch"}
