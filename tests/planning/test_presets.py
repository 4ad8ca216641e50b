from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ablate import CONF
from ablate.planning.estimates import training_multiply_adds

PRESETS = sorted(file.stem for file in (CONF / "preset").glob("*.yaml"))
PUBLISHED = CONF.parent / "analysis" / "published.csv"


def write(name: str, text: str) -> None:
    Path("mine/preset").mkdir(parents=True, exist_ok=True)
    Path(f"mine/preset/{name}.yaml").write_text(text)


def rows(where: str) -> set[tuple[str, ...]]:
    """(dataset, depth, width, bits, norm, epochs) of what one table of a paper printed."""
    with PUBLISHED.open() as file:
        return {
            tuple(row[key] for key in ("dataset", "augment", "depth", "width", "bits", "norm", "epochs"))
            for row in csv.DictReader(file)
            if row["where"] == where
        }


@pytest.mark.xdist_group("presets")
@pytest.mark.parametrize(
    ("preset", "where"),
    [
        ("code_table", "README results table"),
        ("wr_table1", "Table 1"),
        ("wr_table2", "Table 2"),
        ("wr_mnist", "Section 4"),
    ],
)
def test_a_tables_preset_holds_every_number_that_the_table_printed(planned_preset, preset, where):
    names = set()
    for trial in planned_preset(preset).study.trials:
        params = trial.params
        keys = ("dataset", "recipe.augment", "depth", "width", "bits", "norm", "recipe.epochs")
        names.add(tuple(str(params[key]).replace("_crop_flip", "-crop-flip") for key in keys))
        assert params["dataset.valid_fraction"] == 0
        assert (params["recipe.lr"], params["recipe.batch_size"], params["model.residual"]) == (0.1, 125, True)
        decay = 1e-4 if "imagenet" in str(params["dataset"]) else 5e-4
        assert params["recipe.weight_decay"] == decay
        assert params.get("dataset.multi_crop", True)  # the table has both figures for ImageNet
    extra = names - rows(where)
    assert rows(where) <= names
    assert {row[-1] for row in extra} <= ({"1", "14"} if preset == "wr_mnist" else set())  # 1 epoch is in the text


def test_shifted_relus_temperatures_in_the_codes_table_are_those_that_it_states(planned):
    trials = planned("preset=code_table", "seeds=1").study.trials
    stated = {(t.params["dataset"], t.params["bits"]): t.params.get("norm.temperature") for t in trials[4:]}
    assert stated == {("cifar10", 32): 80, ("cifar10", 1): 40, ("cifar100", 32): 25, ("cifar100", 1): 25}


@pytest.mark.xdist_group("presets")
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_plans_in_full_and_for_a_smoke_test(planned_preset, preset):
    full, smoke = planned_preset(preset), planned_preset(preset, "scale=smoke")
    assert (full.study.name, smoke.study.name) == (preset, f"{preset}-smoke")
    for made in (full, smoke):
        factor, levels = made.study.contrast
        assert set(levels) <= set(made.study.factors[factor])
        assert all(training_multiply_adds(config) for config in made.cell_configs)
    assert {trial.params["dataset"] for trial in smoke.study.trials} <= {"digits", "fashion_mnist", "synthetic"}
    assert sum(training_multiply_adds(config) for config in smoke.cell_configs) < 1e13


def test_what_is_typed_beside_a_preset_replaces_its_keys_in_every_line(planned):
    made = planned("preset=code_table", "bits=1", "recipe.epochs=2", "recipe.lr=0.1,0.2", "seeds=1", "study=mine")
    assert made.study.name == "mine"
    assert dict(made.study.factors) == {
        "dataset": ["cifar10", "cifar100"],
        "norm": ["bn_fixed", "srelu"],
        "recipe.lr": [0.1, 0.2],
    }
    assert {trial.params["recipe.epochs"] for trial in made.study.trials} == {2}
    assert len(made.study.trials) == 8


def test_a_key_that_follows_a_factor_is_none_itself(planned):
    study = planned("preset=code_table").study
    assert list(study.factors) == ["dataset", "bits", "norm"]
    assert {"recipe.epochs", "recipe.schedule"} <= set(study.derived)


def test_a_trial_is_the_same_typed_out_or_from_a_preset(planned):
    preset = planned("preset=wr_figure7").study.trials
    typed = planned(
        "model.residual=true,false", "bits=32,1", "dataset=cifar10,cifar100", "norm=bn_fixed", "depth=20", "width=4",
        "recipe.epochs=126", "dataset.valid_fraction=0",
    ).study.trials  # fmt: skip
    assert [trial.trial_id for trial in preset] == [trial.trial_id for trial in typed]


def test_a_study_of_ones_own_is_a_file_anywhere(planned, folder):
    write(
        "mine", "common: bits=1,32 dataset=synthetic\ngrids: [norm=bn depth=8, norm=srelu depth=14]\nfollows: [depth]\n"
    )
    made = planned("--config-dir=mine", "preset=mine", "seeds=1")
    assert [str(trial.cell) for trial in made.study.trials] == [
        "bits=1 norm=bn", "bits=32 norm=bn", "bits=1 norm=srelu", "bits=32 norm=srelu",
    ]  # fmt: skip
    assert [trial.config["depth"] for trial in made.study.trials] == [8, 8, 14, 14]


def test_the_learning_rate_may_be_in_proportion_to_the_batch(planned):
    made = planned("recipe=scaled_lr", "recipe.batch_size=1,25,125", "seeds=1")
    assert [trial.config["recipe"]["lr"] for trial in made.study.trials] == pytest.approx([0.00024, 0.006, 0.03])
    (usual,) = planned("seeds=1").study.trials
    assert made.study.trials[-1].trial_id == usual.trial_id
    assert "recipe.lr" in made.study.derived


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("common: bits=1", "", "preset=mine: its file's grids: allowed: a list of lines as typed after -m"),
        ("grids: bits=1", "", "preset=mine: its file's grids: allowed: a list of lines as typed after -m"),
        ("grids: [{bits: 1}]", "", "preset=mine: its file's grids: allowed: a list of lines as typed after -m"),
        (
            "grids: [bits=1]\nseeds: 3",
            "",
            "preset=mine: its file's seeds: no such key; allowed: grids, common, smoke, ",
        ),
        ("grid: [bits=1]", "", "preset=mine: its file's grid: no such key; allowed: grids, common, smoke, "),
        ("grids: [bits=1]\ncommon: [bits=1]", "", "preset=mine: its file's common: allowed: a line as typed after -m"),
        ("grids: ['norm=\"bn']", "", "preset=mine: its file's grids: norm=\"bn: No closing quotation"),
        ("grids: [bits=1", "", "not readable as YAML: while parsing a flow sequence"),
        ("grids: [bits=1]\nfollows: depth", "", "preset=mine: its file's follows=depth: allowed: a list of keys"),
        ("grids: [bits=1]\nfollows: [depth]", "", "preset=mine: its file names depth, which none of its lines sets"),
        (
            "grids: [bits=1]\ncontrast: norm",
            "",
            "preset=mine: its file's contrast=norm: allowed: {factor: norm, levels",
        ),
        (
            "grids: [bits=1]\ncontrast: {factor: bits, levels: [1]}",
            "",
            "preset=mine: its file's contrast={'factor': 'b",
        ),
        (
            "grids: ['preset=wr_mnist']",
            "",
            "preset=mine: its file's grids: preset=wr_mnist: allowed: on the line that ",
        ),
        ("grids: ['bits=1 mode=plan']", "", "preset=mine: its file's grids: mode=plan: allowed: on the line that one "),
        (
            "grids: [bits=1]\nsmoke: 3",
            "scale=smoke",
            "preset=mine: its file's smoke: allowed: a line as typed after -m, ",
        ),
        ("grids: [bits=1]", "scale=smoke", "scale=smoke: preset=mine has no smoke form; allowed: scale=full"),
        (
            "grids: [bits=1]\nsmoke: [a=1, b=2]",
            "scale=smoke",
            "preset=mine: 2 smoke lines, 1 grids; allowed: one a grid",
        ),
        ("grids: ['bits=7']", "", "bits=7: allowed: 1, 2, 4, 8, 32"),
        ("grids: ['bits=1,32']", "bits=7", "bits=7: allowed: 1, 2, 4, 8, 32"),
        (
            "grids: [norm=bn depth=8, norm=srelu depth=14]\nfollows: [depth]",
            "norm=bn",
            "preset=mine: two of its lines make the cell without factors, with depth 8 and 14; allowed: one depth",
        ),
        ("grids: [bits=1]", "scale=tiny", "scale=tiny: allowed: full, smoke"),
        ("grids: [bits=1]", "scale=full,smoke", "scale=full,smoke: a study has one scale; allowed: one of its options"),
    ],
)
def test_a_mistake_in_a_preset_or_beside_it_is_one_line(folder, say, text, line, message):
    write("mine", text)
    status, out, err = say("ablate.run", "--config-dir=mine", "-m", "preset=mine", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("preset=code_table", "preset=code_table: preset is for a study; allowed: with -m"),
        (
            "-m preset=code_table,wr_mnist",
            "preset=code_table,wr_mnist: a study has one preset; allowed: one of its opt",
        ),
        ("-m preset=wr_mnist preset=code_table", "preset=wr_mnist preset=code_table: allowed: one preset for a study"),
        ("-m preset=wr_mnist ~bits", "bits: taken out with ~; allowed: bits=VALUE"),
        ("-m preset=wr", "preset=wr: no such option; allowed: code_table, sb_interaction, "),
        ("scale=smoke", "scale=smoke: for a preset; allowed: with -m preset=NAME"),
        ("-m bits=1,32 scale=smoke", "scale=smoke: for a preset; allowed: with -m preset=NAME"),
    ],
)
def test_a_preset_is_asked_for_with_m_and_by_one_name(folder, say, line, message):
    status, out, err = say("ablate.run", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
