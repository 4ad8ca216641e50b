from __future__ import annotations

import pkgutil
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from ablate import CONF
from ablate.core.errors import UsageError
from ablate.core.identity import flatten
from ablate.core.levels import as_level
from ablate.planning import parts, schema

GROUPS = {folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra"}
OPTIONS = [
    (group, file.stem) for group in sorted(GROUPS - {"preset"}) for file in sorted((CONF / group).glob("*.yaml"))
]


def cells(made):
    return [str(cell) for cell in made.study.cells]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (
            ["norm=bn,srelu", "bits=1,32"],
            ["norm=bn bits=1", "norm=bn bits=32", "norm=srelu bits=1", "norm=srelu bits=32"],
        ),
        (["bits=32,1", "norm=bn"], ["bits=32", "bits=1"]),
        (["width=range(1,4)"], ["width=1", "width=2", "width=3"]),
        (["norm=choice(bn_fixed,srelu)"], ["norm=bn_fixed", "norm=srelu"]),
        (["norm=glob(b*)"], ["norm=bn", "norm=bn_fixed"]),
        (["norm=glob(*n*,exclude=b*)"], ["norm=gn", "norm=ln", "norm=none"]),
        (["recipe.lr=0.1,1e-2"], ["recipe.lr=0.1", "recipe.lr=0.01"]),
        (["recipe.schedule=cosine,warm_restarts"], ["recipe.schedule=cosine", "recipe.schedule=warm_restarts"]),
        (["norm.affine=true,false"], ["norm.affine=true", "norm.affine=false"]),
        (["bits=1,1"], ["bits=1"]),
        ([], [""]),
    ],
)
def test_a_sweep_makes_the_cells_that_hydras_grammar_says(planned, typed, expected):
    assert cells(planned(*typed)) == expected


def test_each_cell_has_the_seeds_asked_for(planned):
    made = planned("bits=1,32", "seeds=5")
    assert [trial.seed for trial in made.study.trials] == [0, 1, 2, 3, 4] * 2
    assert len({trial.trial_id for trial in made.study.trials}) == 10


def test_more_seeds_or_levels_keep_the_trials_there_were(planned):
    before = {trial.trial_id for trial in planned("bits=1,32").study.trials}
    after = {trial.trial_id for trial in planned("bits=1,32", "norm=bn,srelu", "seeds=4").study.trials}
    assert before < after


def test_composing_once_and_patching_equals_composing_every_cell(planned):
    """What Hydra itself composes for a cell is the independent statement."""
    made = planned("norm=bn,srelu", "dataset=digits,fashion_mnist", "recipe.epochs=1,2", "bits=1,32", "seeds=1")
    assert len(made.study.trials) == 16
    schema.register()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for trial in made.study.trials:
            composed = OmegaConf.to_container(
                hydra.compose("config", str(trial.cell).split()), resolve=True, enum_to_str=True
            )
            flat = flatten(composed)
            assert {key: flat[key] for key in flatten(trial.config) if key != "seed"} == {
                key: value for key, value in flatten(trial.config).items() if key != "seed"
            }


AWKWARD = [
    ["norm=srelu", "dataset=fashion_mnist", "bits=1,2,32", "recipe.lr=1e-2,1,0.03", "recipe.momentum=0,0.9"],
    ["norm=srelu", "dataset=digits,fashion_mnist", "bits=1,32", "dataset.hints.temperature=3,4.5"],
    ["norm=srelu", "dataset=fashion_mnist", "bits=1,32", "dataset.hints.temperature_1bit=3,7"],
    ["recipe=paper,scaled_lr", "recipe.batch_size=1,25", "width=1,2", "dataset.hints.lr=0.1,1"],
    ["recipe=scaled_lr", "recipe.batch_size=50,100", "recipe.lr=0.1,2"],
    ["dataset=synthetic", "dataset.train_items=100,200", "dataset.noise=0,0.5", "width=1,2"],
    ["dataset=imagenet", "recipe.augment=none,crop", "model=resnet_imagenet", "depth=10,18", "width=0.25,1"],
    ["dataset=fashion_mnist,digits", "dataset.valid_fraction=0,0.1", "norm=gn,bn", "norm.eps=1e-5,1"],
    ["dataset=imagenet,fashion_mnist", "+dataset.workers=null,2", "depth=14"],
    ["dataset=fashion_mnist", "norm.affine=true,false", "model.residual=false,true", "model.padding=tf,torch"],
    ["recipe.schedule=cosine,step", "recipe.augment=none,light", "recipe.moments=running,reestimated"],
    ["+norm.note=a,null,true,1,1.0,'1',[1,2],{x:1}", "width=1,2.0"],
    ["+norm.note='\\${bits}',plain", "bits=1,32"],
    ["+norm.note=${bits},plain", "bits=1,32"],
    ["+norm.inner.x=1,2", "+norm.inner.y=3,4"],
    ["+norm.inner={x:1},{x:2}", "norm.inner.x=5,6"],
    ["bits=1,32", "bits=2,4"],
    ["study=a,b"],
    ["dataset.hints={lr:1,epochs:2,augment:none,temperature:3},{lr:2,epochs:2,augment:none,temperature:3}"],
    ["recipe.lr=0.1,high", "width=1,2"],
    ["width=1,2", "recipe.lr=0.1,-1"],
    ["width=1,2", "recipe.epochs=1,2.5"],
    ["width=1,1.5", "norm.nothing=1,2"],
    ["norm=gn", "width=1,2", "norm.groups=8,3"],
    ["recipe.lr=0.1,null", "recipe.epochs=1,2"],
    ["recipe.momentum=0.5,???", "width=1,2"],
    ["dataset=synthetic", "dataset.train_items=100,0", "width=1,2"],
    ["dataset.hints.lr=0.1,${nothing}", "width=1,2"],
]


@pytest.mark.parametrize("words", AWKWARD, ids=" ".join)
def test_resolving_once_for_many_cells_equals_resolving_every_cell(say, monkeypatch, folder, words):
    """Configs to the key order and the type of each value, and mistakes to the letter."""

    def printed():
        made = []
        with monkeypatch.context() as patch:
            patch.setattr(run, "run", lambda typed: made.append(typed) or 0)
            patch.setattr(run.app, "main", lambda name, _, main=run.app.main, **kwargs: main(name, run.run, **kwargs))
            status, _, err = say("ablate.run", "-m", "seeds=1", *words)
        seen = [repr((plan.study, plan.settings, plan.cell_configs)) for plan in made]
        return status, err, seen

    from ablate import run
    from ablate.planning import composition

    quick = printed()
    monkeypatch.setattr(composition, "_free", lambda factors, unresolved: [])
    assert printed() == quick


@pytest.mark.parametrize(
    "words",
    [
        ["norm=srelu", "dataset=fashion_mnist", "bits=1,2,32", "recipe.lr=1e-2,1"],
        ["recipe=paper,scaled_lr", "recipe.batch_size=1,25", "width=1,2", "norm.affine=true,false"],
        ["dataset=synthetic", "dataset.train_items=100,200", "dataset.noise=0,0.5", "width=1,2"],
        ["dataset=digits,imagenet", "recipe.epochs=1,2", "norm=srelu,gn", "norm.temperature=5,10"],
        ["recipe.schedule=cosine,step", "recipe.augment=none,light", "model.padding=tf,torch"],
    ],
    ids=" ".join,
)
def test_every_cell_of_an_awkward_grid_is_what_hydra_composes(planned, words):
    made = planned(*words, "seeds=1")
    schema.register()
    factors = {word.partition("=")[0] for word in words}
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for cell, config in zip(made.study.cells, made.cell_configs, strict=True):
            fixed = [word for word in words if word.partition("=")[0] not in dict(cell.levels)]
            composed = hydra.compose("config", [*fixed, *str(cell).split(), "seeds=1"])
            assert OmegaConf.to_container(composed, resolve=True, enum_to_str=True) == config
    assert {factor for factor in factors if factor in dict(cell.levels)}


def test_a_thousand_levels_of_a_key_that_nothing_reads_are_resolved_once(planned, monkeypatch):
    from ablate.planning import composition

    resolved, resolve = [], composition.interpolated
    monkeypatch.setattr(composition, "interpolated", lambda cfg: resolved.append(cfg) or resolve(cfg))
    made = planned("norm=bn,srelu", "recipe.lr=" + ",".join(str(n / 1000) for n in range(1, 501)), "bits=1,32")
    assert (len(made.study.cells), len(resolved)) == (2000, 3)  # norm=srelu reads bits


def test_a_group_with_two_factors_composes_once_a_combination(planned, monkeypatch):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    composed = []
    compose = ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", lambda *a, **k: composed.append(a) or compose(*a, **k))
    planned("norm=bn,srelu", "bits=1,32", "width=range(1,11)")
    assert len(composed) == 2


def test_the_plan_knows_which_keys_take_their_values_from_another_choice(planned):
    hinted = ["norm.temperature", "recipe.augment", "recipe.epochs", "recipe.lr", "recipe.weight_decay"]
    assert planned("norm=bn,srelu", "bits=1,32").study.derived == hinted
    assert planned("norm=bn", "recipe.epochs=1,2", "recipe.augment=none").study.derived == hinted[3:]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (["norm=bn,srelu", "bits=1,32"], "digits-bits-norm"),
        (["bits=1,32", "norm=bn,srelu"], "digits-bits-norm"),
        (["dataset=digits,synthetic", "bits=1,32"], "digits+synthetic-bits"),
        (["dataset=synthetic"], "synthetic"),
        (["bits=1,32", "study=mine"], "mine"),
    ],
)
def test_a_study_without_a_name_is_named_by_its_data_and_factors(planned, typed, name):
    assert planned(*typed).study.name == name


def test_a_trials_config_is_plain_and_holds_nothing_for_the_plan_only(planned):
    (trial,) = planned("norm=srelu", "dataset=fashion_mnist", "seeds=1").study.trials
    assert trial.config["norm"] == {"_target_": "ablate.networks.norm.srelu", "floor": -1, "temperature": 5}
    assert trial.config["dataset"] == {
        "_target_": "ablate.data.datasets.fashion_mnist",
        "root": None,
        "valid_fraction": 0.1,
    }
    assert trial.params["norm"] == "srelu"
    assert (trial.config["recipe"]["epochs"], trial.config["recipe"]["lr"]) == (6, 0.03)


def test_a_data_set_may_hint_a_temperature_for_a_bit_depth(planned):
    made = planned("norm=srelu", "dataset=fashion_mnist,digits", "bits=1,2,32", "seeds=1")
    assert [trial.config["norm"]["temperature"] for trial in made.study.trials] == [4, 5, 5, 10, 10, 10]


def test_two_names_for_one_config_are_a_mistake(planned, folder, say):
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/bn_twin.yaml").write_text((CONF / "norm/bn.yaml").read_text())
    with pytest.raises(AssertionError, match="norm=bn and norm=bn_twin are the same"):
        planned("--config-dir=mine", "norm=bn,bn_twin")


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_config_file_composes_and_its_targets_resolve(planned, group, option, own):
    root = [f"dataset.root={own}"] * (option == "image_folder")
    if group == "design":
        root += ["norm=bn,srelu", "bits=1,32", "width=1,2"] + ["design.cells=3"] * (option == "random")
    if group == "tune" and option != "none":
        root += ["tune.space.recipe.lr=0.1,0.2", "tune.trials=2"]
    made = planned(f"{group}={option}", "depth=26", "seeds=1", *root)  # 6n + 2 and 8n + 2
    config = made.cell_configs[0]
    for key, path in flatten(config).items():
        if key.rpartition(".")[2] in ("_target_", "describe", "check", "prepare"):
            module, _, name = path.rpartition(".")
            assert callable(pkgutil.resolve_name(f"{module}:{name}"))


def test_other_images_of_ones_own_are_another_trial_and_the_same_elsewhere_are_not(planned, own):
    def id_of(root):
        (trial,) = planned("dataset=image_folder", f"dataset.root={root}", "seeds=1").study.trials
        assert "dataset.root" not in trial.params
        return trial.trial_id

    before = id_of(own)
    moved = own.rename(own.with_name("moved"))
    assert id_of(moved) == before
    file = next(path for path in moved.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes() + b" ")
    assert id_of(moved) != before


def test_a_part_of_imagenet_is_not_imagenet(planned, imagenet, folder):
    nowhere, part = (
        planned("dataset=imagenet", *root, "depth=26", "seeds=1").study.trials[0]
        for root in ([], [f"dataset.root={imagenet}"])
    )
    assert nowhere.config["dataset"]["content"] is None
    assert nowhere.trial_id != part.trial_id


def test_config_files_are_short():
    for file in CONF.rglob("*.yaml"):
        lines = file.read_text().splitlines()
        assert len(lines) <= 20 or file.parent.name == "help" or file.name == "config.yaml", file


def test_no_group_shares_a_root_values_name():
    values = {key for key in OmegaConf.load(CONF / "config.yaml") if key not in ("defaults", "hydra")}
    assert not values & GROUPS


def test_an_unknown_hook_is_named():
    with pytest.raises(UsageError, match=r"check: ablate\.data\.checks\.nothing: no such function"):
        parts.hooks({"norm": {"check": "ablate.data.checks.nothing"}}, "check")


def test_a_typed_out_studys_trials_keep_their_identity(planned):
    """A key added to the config enters design.ADDED_LATER, or every trial that anyone ever ran is orphaned."""
    size = ("depth=8", "width=1", "recipe.epochs=30", "recipe.lr=0.1")
    made = planned("norm=bn,srelu", "bits=1,32", "seeds=1", *size)
    assert [trial.trial_id for trial in made.study.trials] == [
        "t89764fbdc7c002e5",
        "tc51edb3e86eb679f",
        "tbbcfea0f561f19ba",
        "tce9a086cca413652",
    ]


def test_of_a_large_plan_the_first_cells_and_trials_are_shown_and_how_many_more(say, folder):
    lrs = ",".join(str(n / 1000) for n in range(1, 151))
    status, out, _ = say("ablate.run", "-m", f"recipe.lr={lrs}", "mode=plan", "seeds=3")
    assert status == 0
    assert "  ... and 50 more cells\n" in out
    assert out.endswith("  ... and 150 more trials\n")
    assert "450 to do" in out
    assert len(out.splitlines()) < 420


OWN_NORM = "_target_: ablate.networks.norm.none\ntemperature: 10\nslopes: [0.1, 0.2]\noptions: {}\n"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("norm.slopes=[0.1,0.2],[0.5]", ["[0.1, 0.2]", "[0.5]"]),
        ("norm.slopes=[a,'b,c'],[[1],[2]],[]", ['["a", "b,c"]', "[[1], [2]]", "[]"]),
        ("norm.slopes=[true,null],[1.5]", ["[true, null]", "[1.5]"]),
        ("norm.options={a:1},{a:2},{}", ['{"a": 1}', '{"a": 2}', "{}"]),
        ("norm.options={a:1},{b:[x]}", ['{"a": 1}', '{"b": ["x"]}']),
    ],
)
def test_lists_and_mappings_are_levels_like_others(planned, typed, expected):
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/own.yaml").write_text(OWN_NORM)
    study = planned("--config-dir=mine", "norm=own", typed, "seeds=1").study
    name = typed.partition("=")[0]
    assert study.factors == {name: expected}
    assert [as_level(trial.params[name]) for trial in study.trials] == expected
    assert len({trial.trial_id for trial in study.trials}) == len(expected)
