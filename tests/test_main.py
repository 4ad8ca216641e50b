"""`ablate NAME` and `python -m ablate NAME`."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ablate
from ablate import __main__ as entry
from ablate import __version__, run
from ablate.cli import help_text
from ablate.cli.commands import COMMANDS
from ablate.core import invocation


@pytest.fixture
def typed(monkeypatch, capsys):
    """typed("run", "--help") -> exit status, stdout, stderr of the script `ablate`, in this process."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def type_line(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/an/environment/bin/ablate", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return type_line


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_alone_it_shows_the_commands(typed, words):
    status, out, err = typed(*words)
    assert (status, err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"  {name} " in out
        assert command.summary in out
    assert max(map(len, out.splitlines())) <= help_text.COLUMNS


def test_it_says_its_version(typed):
    assert typed("--version") == (0, f"ablate {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rnu",), "rnu: no such command; did you mean run?"),
        (
            ("xyz",),
            "xyz: no such command; allowed: run, report, studies, replay, evaluate, export, submit, track, completion",
        ),
        (("-m", "norm=bn,srelu"), "-m: a command comes first; allowed: run, "),
        (("norm=bn",), "norm=bn: a command comes first; allowed: run, "),
        (("completion",), "completion: allowed: completion bash, zsh or fish"),
        (("completion", "csh"), "completion csh: allowed: completion bash, zsh or fish"),
        (("completion", "bash", "now"), "completion bash now: allowed: completion bash"),
        (("run", "norm=bm"), "norm=bm: no such option; allowed: bn, "),
        (("submit", "norm=bn"), "a study is sent; allowed: with -m"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(folder, typed, words, message):
    status, out, err = typed(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(message)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module_and_help(typed, name):
    assert callable(importlib.import_module(COMMANDS[name].module).main)
    status, out, _ = typed(name, "--help")
    assert status == 0
    assert f"  ablate {name}" in out
    assert "python -m" not in out


def test_completion_answers_a_shell(typed):
    assert typed("completion", "bash", "--line", "ablate run no", "--breaks", " =") == (0, "norm=\n", "")
    assert 'eval "$(ablate completion bash)"' in typed("completion", "--help")[1]
    assert "complete -o nospace -F _ablate ablate" in typed("completion", "bash")[1]


def test_lines_that_are_suggested_have_the_form_that_was_typed(folder, typed, say):
    (folder / "runs").mkdir()
    assert "yet: ablate run -m norm=bn,srelu" in typed("studies")[1]
    assert "yet: python -m ablate.run -m norm=bn,srelu" in say("ablate.studies")[1]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/env/bin/ablate", "ablate run"),
        (r"/env/Scripts/ablate.exe", "ablate run"),
        ("/site/ablate/__main__.py", "ablate run"),
        ("/site/ablate/run.py", "python -m ablate.run"),
        ("/env/bin/pytest", "python -m ablate.run"),
        ("/site/pytest/__main__.py", "python -m ablate.run"),
        ("", "python -m ablate.run"),
    ],
)
def test_the_form_of_a_line_is_known_by_the_program(monkeypatch, program, expected):
    monkeypatch.setattr(sys, "argv", [program])
    assert invocation.command("run") == expected


def test_parts_in_the_working_directory_are_imported_in_place_of_the_scripts_folder(folder, monkeypatch, typed):
    (folder / "my_own_arms_of_this_test.py").write_text("")
    (folder / "analysis.py").write_text("raise AssertionError")
    monkeypatch.setattr(run, "main", lambda: sys.exit(importlib.import_module("my_own_arms_of_this_test") is None))
    monkeypatch.setattr(sys, "path", ["/an/environment/bin", *sys.path])
    assert typed("run", "norm=bn")[0] == 0
    assert sys.path[0] == str(folder)
    assert "/an/environment/bin" not in sys.path
    assert sys.argv == ["/an/environment/bin/ablate", "norm=bn"]
    del sys.modules["my_own_arms_of_this_test"]


@pytest.mark.parametrize("file", ["ablate.py", "ablate/__init__.py"])
def test_another_ablate_in_the_working_directory_is_refused_where_rays_workers_would_import_it(folder, typed, file):
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("")
    status, _, err = typed("run", "norm=bn")
    assert (status, err.count("\n")) == (2, 1)
    assert f"ablate run: {folder / file} has the name of the installed " in err
    assert "there is no such folder" in typed("studies")[2]


def test_a_report_is_ours_beside_an_analysis_py_and_python_m_ablate_is_the_script(folder):
    """In a process of its own: here `analysis` is imported already."""
    (folder / "analysis.py").write_text("raise SystemExit('mine')\n")
    root = str(Path(ablate.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "ablate", "report", "source=nonsense"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "source=nonsense: allowed: mlflow, published, csv\n"
