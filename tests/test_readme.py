"""What README tells a user to type does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import CONF

README = (CONF.parent / "README.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


@pytest.mark.ray
def test_an_arm_of_ones_own_is_a_function_and_a_yaml_file(folder):
    (line,) = re.findall(r"^python (-m ablate.run --config-dir.*)$", README, re.MULTILINE)
    Path("my_arms.py").write_text(block("python"))
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/leaky.yaml").write_text(block("yaml"))
    quick = "dataset=synthetic recipe.epochs=1 depth=8 width=1 seeds=1"
    done = subprocess.run(
        [sys.executable, *line.split(), *quick.split()],
        env={**os.environ, "PYTHONPATH": str(CONF.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"norm=leaky norm.temperature=(?:5|10) seed=0: done", done.stdout)) == 2
