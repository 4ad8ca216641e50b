from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ablate
import analysis
from ablate import report
from ablate.core import invocation
from tests.support.reports import folder_of

ROOT = Path(ablate.__file__).resolve().parents[1]
CSV = "norm,seed,acc\nbn,0,0.91\ngn,0,0.93\nbn,1,0.90\ngn,1,0.95\n"
LINE = ("source=csv", "path=runs.csv", "metric=acc", "factors=[norm]")

IN_THE_WAY = {
    "nothing": {},
    "a script": {"analysis.py": "raise SystemExit('my own script runs')\n"},
    "a package": {"analysis/__init__.py": "raise SystemExit('my own package runs')\n", "analysis/report.py": ""},
    "a folder of notebooks": {"analysis/plots.ipynb": "{}", "analysis/report.py": "raise SystemExit('mine')\n"},
    "both": {"analysis.py": "x = 1\n", "analysis/__init__.py": "", "analysis/report.py": "raise SystemExit('mine')\n"},
}


@pytest.mark.parametrize("files", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_the_report_is_made_whatever_has_the_name_analysis(folder, files):
    Path("runs.csv").write_text(CSV)
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "ablate.report", *LINE]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "norm: bn minus gn: -3.50 points" in " ".join(done.stdout.split())
    assert (folder_of("runs") / "index.html").exists()


def test_both_commands_print_the_same(folder, say):
    Path("runs.csv").write_text(CSV)
    assert say("ablate.report", *LINE) == say("analysis.report", *LINE)
    assert say("ablate.report", "source=csv") == say("analysis.report", "source=csv")


def test_an_analysis_that_is_loaded_already_stays(folder):
    report.load_analysis()
    assert sys.modules["analysis"] is analysis


def test_an_analysis_of_ones_own_that_is_loaded_already_makes_way():
    loaded = printed(
        "sys.modules['analysis'] = type(sys)('analysis'); report.load_analysis()", "sys.modules['analysis']"
    )
    assert str(ROOT / "analysis" / "__init__.py") in loaded


def test_importing_the_command_imports_nothing_heavy():
    heavy = "[name for name in ('analysis', 'pandas', 'hydra', 'mlflow') if name in sys.modules]"
    assert printed("", heavy) == "[]"


def printed(statements, value):
    """Return what a new Python prints of a value, after ablate.report is imported and the statements are executed."""
    line = f"import sys; from ablate import report; {statements}\nprint({value})"
    return subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ([], "python -m analysis.report"),
        (["analysis.py"], "python -m ablate.report"),
        (["analysis/notes.txt"], "python -m ablate.report"),
        (["analyses.py"], "python -m analysis.report"),
    ],
)
def test_a_study_names_the_command_that_works_in_its_folder(folder, files, command):
    for name in files:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    assert invocation.command("report") == command


def test_a_checkout_has_no_other_analysis(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert invocation.command("report") == "python -m analysis.report"
