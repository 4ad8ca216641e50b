from __future__ import annotations

import subprocess
import sys

import pytest

from ablate.core.errors import UsageError
from ablate.dispatch import code_bundle


def test_what_is_sent_plans_a_study_with_a_part_of_ones_own_on_a_machine_without_the_checkout(folder, tmp_path):
    (folder / "my_arms.py").write_text("from ablate.networks.norm import none as plain\n")
    (folder / "mine" / "norm").mkdir(parents=True)
    (folder / "mine" / "norm" / "plain.yaml").write_text("_target_: my_arms.plain\ntemperature: 5\n")
    target = tmp_path / "there"
    target.mkdir()
    code_bundle.make(target, folder)
    line = ["-m", "ablate.run", "--config-dir=mine", "-m", "norm=srelu,plain", "mode=plan"]
    code = "import ablate, sys; assert ablate.__file__.startswith(sys.argv[1]), ablate.__file__"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    for words in (["-c", code, str(target)], line):
        done = subprocess.run(
            [sys.executable, *words], cwd=target, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "2 cells" in done.stdout


def test_neither_runs_nor_data_nor_environments_nor_hidden_files_nor_secrets_are_sent(folder, tmp_path):
    kept = ["a.py", "parts/b.py", "mine/model/c.yaml"]
    left = [
        "runs/t1/x.py",
        "data/x.yaml",
        ".venv/x.py",
        "env/lib/x.py",
        "parts/.hidden/x.py",
        "mlflow.db",
        "token",
        ".env",
    ]
    for name in kept + left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    (folder / "env" / "pyvenv.cfg").touch()
    target = tmp_path / "there"
    target.mkdir()
    code_bundle.make(target, folder)
    for name in kept:
        assert (target / name).exists(), name
    for name in left:
        assert not (target / name).exists(), name


def test_too_much_to_send_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(code_bundle, "MOST_BYTES", 10)
    (folder / "large.yaml").write_text("x: 12345678901\n")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="too many to send"):
        code_bundle.make(tmp_path / "there", folder)
