"""What README tells a user to type does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import CONF
from ablate.planning.estimates import training_multiply_adds

README = (CONF.parent / "README.md").read_text()
PARTS = (CONF.parent / "docs" / "parts.md").read_text()


def block(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return block


def typed(line: str) -> str:
    """What a user sees who types the line here, with the project installed."""
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    words = [sys.executable, *line.split()]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_arm_of_ones_own_is_a_function_and_a_yaml_file(folder):
    (line,) = re.findall(r"^python (-m ablate.run --config-dir.*)$", README, re.MULTILINE)
    Path("my_arms.py").write_text(block("python"))
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/leaky.yaml").write_text(block("yaml"))
    output = typed(f"{line} dataset=synthetic recipe.epochs=1 depth=8 width=1 seeds=1")
    assert len(re.findall(r"norm=leaky norm.temperature=(?:5|10) seed=0: done", output)) == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_network_and_a_data_set_of_ones_own_are_code_and_a_yaml_file(folder):
    for text in re.findall(r"```(?:python|yaml)\n(.*?)```", PARTS, re.DOTALL):
        file = Path(text.partition("\n")[0].removeprefix("# "))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (line,) = re.findall(r"^python (-m ablate.run .*)$", PARTS, re.MULTILINE)
    output = typed(line)
    assert output.count(": done, test ") == 8
    accuracies = [float(accuracy) for accuracy in re.findall(r"norm=bn .*: done, test ([\d.]+)%", output)]
    assert len(accuracies) == 4
    assert min(accuracies) > 50  # 17 by chance


@pytest.mark.xdist_group("presets")
def test_the_table_of_presets_gives_each_ones_trials_and_multiply_adds(planned_preset):
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \| (\S+) \| (\d+) \|$", README, re.MULTILINE)
    assert {name for name, *_ in rows} == {f.stem for f in CONF.glob("preset/*.yaml")}
    for name, trials, multiply_adds, smoke in rows:
        made = planned_preset(name)
        work = dict(zip(made.study.cells, map(training_multiply_adds, made.cell_configs), strict=True))
        assert int(trials) == len(made.study.trials), name
        assert multiply_adds == f"{sum(work[trial.cell] for trial in made.study.trials):.2g}", name
        assert int(smoke) == len(planned_preset(name, "scale=smoke").study.trials), name
