"""Trials of a part whose code was edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.driver import earlier_code
from ablate.store import manifest

ARM = """from torch import nn

from ablate.networks.norm import Arm, Temperature


def leaky(*, slope, temperature) -> Arm:
    return Arm(before_conv=lambda channels: nn.LeakyReLU(slope), head=lambda classes: Temperature(temperature))
"""
LINE = [
    "--config-dir=mine",
    "-m",
    "norm=bn,leaky",
    "dataset=synthetic",
    "dataset.train_items=100",
    "depth=8",
    "width=1",
]
LINE += ["recipe.epochs=1", "seeds=1", "dispatch=in_process", "cost=false"]


@pytest.fixture
def study(say, folder, monkeypatch):
    """say(*words): the study's line with further words; an arm of one's own is in the working directory."""
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/leaky.yaml").write_text("_target_: my_edited_arms.leaky\nslope: 0.1\ntemperature: 10\n")
    Path("my_edited_arms.py").write_text(ARM)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    return lambda *words: say("ablate.run", *LINE, *words)


def edit():
    """Change what the code says, and not what it computes."""
    Path("my_edited_arms.py").write_text(f"{ARM}\n\nVERSION = {len(Path('my_edited_arms.py').read_text())}\n")


def trials():
    return {path.parent.name for path in Path("runs").glob("t*/config.json")}


@pytest.mark.timeout(300)
def test_edited_code_makes_new_trials_and_the_plan_says_so(study, say):
    assert study()[0] == 0
    first = trials()
    Path("my_edited_arms.py").write_text(f"# a comment\n{ARM}")
    status, out, _ = study("mode=plan")
    assert status == 0
    assert "Nothing to do" in out

    edit()
    _, out, _ = study("mode=plan")
    assert "1 to do" in out
    assert "1 trial done with earlier code of my_edited_arms.py" in " ".join(out.split())
    assert "code=any takes them" in " ".join(out.split())
    _, out, _ = study("code=any")
    assert "Nothing to train" in out
    assert trials() == first

    for trial in first:
        status, _, err = say("ablate.evaluate", f"trial={trial}", "trust=my_edited_arms")
        assert status == 0
        is_own = "_code_" in Path(f"runs/{trial}/config.json").read_text()
        assert (
            err.startswith(f"trial={trial}: trained with earlier code of my_edited_arms.py, kept in code/k") == is_own
        )

    assert study()[0] == 0
    assert len(trials() - first) == 1
    kept = {path.parent.name for path in Path("runs/code").glob("*/my_edited_arms.py")}
    assert len(kept) == 2
    configs = [json.loads(path.read_text()) for path in Path("runs").glob("t*/config.json")]
    assert {config["norm"].get("_code_") for config in configs} == {None, *kept}

    logged = {path.parent.name for path in Path("mlruns").rglob("my_edited_arms.py")}
    assert logged == kept
    status, out, _ = say("analysis.report")
    assert status == 0
    assert "Left out: 1 trials with earlier code of my_edited_arms.leaky." in " ".join(out.split())
    assert "2 cells" not in out


@pytest.mark.timeout(300)
def test_trials_of_a_release_that_did_not_look_at_code_are_earlier_ones(study, monkeypatch):
    from ablate.planning import own_code

    with monkeypatch.context() as before:
        before.setattr(own_code, "fingerprint_of", lambda group: {})
        assert study()[0] == 0
    first = trials()
    _, out, _ = study("mode=plan")
    assert "1 trial done with earlier code of my_edited_arms.py" in " ".join(out.split())
    _, out, _ = study("code=any")
    assert "Nothing to train" in out
    assert trials() == first


def test_trials_that_results_ask_for_take_no_earlier_code(study):
    status, _, err = study("seeds=auto", "code=any")
    assert status == 2
    assert "code=any: with tune, and with seeds=auto, trials come from results; allowed: code=current" in err


def test_parts_of_ours_have_no_code(planned):
    made = planned("norm=bn,srelu", "seeds=1")
    assert earlier_code.in_use(made.cell_configs) == {}
    assert all("_code_" not in repr(trial.config) for trial in made.study.trials)
    assert manifest.names(Path("runs")) == []
