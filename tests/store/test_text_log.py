# ruff: noqa: T201
from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from ablate.core.errors import Diverged, Stopped
from ablate.store import text_log
from ablate.store.text_log import logged, tail
from tests.support.fakes import done, started


def talks(config, directory):
    print("hello")
    yield started()
    print("on the way", file=sys.stderr)
    yield done()


def run_all(run, directory):
    return list(logged(run, "python")({}, directory))


def lines(directory):
    return [line for line in (directory / "log.txt").read_text().splitlines() if not line.startswith("====")]


def test_what_a_trial_prints_is_in_its_log_and_on_the_terminal(tmp_path, capsys):
    events = run_all(talks, tmp_path)
    assert [type(event).__name__ for event in events] == ["Started", "Done"]
    assert lines(tmp_path) == ["hello", "on the way"]
    assert capsys.readouterr() == ("hello\n", "on the way\n")


def test_a_handler_that_a_trial_made_writes_to_the_log_of_the_trial_that_runs(tmp_path, capsys):
    logger = logging.getLogger("mine")

    def logs(config, directory):
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
        logger.warning("in %s", directory.name)
        yield done()

    try:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            run_all(logs, tmp_path / name)
        logger.warning("between trials")
    finally:
        logger.handlers.clear()
    assert [lines(tmp_path / name) for name in ("first", "second")] == [["in first"], ["in second"]]
    assert capsys.readouterr().err == "in first\nin second\nbetween trials\n"


def test_what_the_driver_prints_between_two_events_is_not_in_the_log(tmp_path, capsys):
    def quiet(config, directory):
        yield started()
        yield done()

    for _ in logged(quiet, "python")({}, tmp_path):
        print("the driver")
    assert lines(tmp_path) == []
    assert capsys.readouterr().out == "the driver\n" * 2


def test_every_attempt_has_a_heading_and_a_failure_its_stack(tmp_path):
    def fails(config, directory):
        yield started()
        raise RuntimeError("no such thing")

    for error in (RuntimeError, RuntimeError):
        with pytest.raises(error):
            run_all(fails, tmp_path)
    text = (tmp_path / "log.txt").read_text()
    assert text.count("====\n") == 2
    assert text.count(f"pid {os.getpid()} ====") == 2
    assert text.count("in fails\n    raise RuntimeError") == 2
    assert text.endswith("RuntimeError: no such thing\n")


@pytest.mark.parametrize(
    ("error", "line"), [(Diverged("loss is nan"), "Diverged: loss is nan"), (Stopped(), "Stopped")]
)
def test_an_error_of_ours_is_one_line(tmp_path, error, line):
    def ends(config, directory):
        raise error
        yield

    with pytest.raises(type(error)):
        run_all(ends, tmp_path)
    assert lines(tmp_path) == [line]


OF_A_PROCESS = """
import os, sys, ctypes, warnings
from pathlib import Path
from ablate.store.text_log import logged
from tests.support.fakes import done, started

def run(config, directory):
    print("from Python")
    ctypes.CDLL(None).puts(b"from C")
    os.system("echo from a child")
    yield started()
    print("half a line,", end="")
    os.kill(os.getpid(), 9)

def warns(config, directory):
    warnings.warn("deprecated")
    yield done()

for name in ("first", "second"):
    list(logged(warns, "process")({}, Path(sys.argv[1], name)))
for event in logged(run, "process")({}, Path(sys.argv[1])):
    print(type(event).__name__, flush=True)
"""


def test_all_that_a_process_of_a_trial_writes_is_in_the_log_even_when_it_is_killed(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", OF_A_PROCESS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-9, "Started\n", "")
    assert sorted(lines(tmp_path)) == ["from C", "from Python", "from a child", "half a line,"]
    for name in ("first", "second"):
        assert lines(tmp_path / name)[0].endswith("UserWarning: deprecated")


def test_lines_of_several_processes_are_marked_and_stay_whole(tmp_path, capsys):
    def run(config, directory):
        print("one", "line")
        sys.stdout.write("two\nand")
        yield done()

    list(logged(run, "process", mark="[rank 1] ")({}, tmp_path))
    written = (tmp_path / "log.txt").read_text().splitlines()
    assert written[0].startswith("[rank 1] ====")
    assert written[1:] == ["[rank 1] one line", "[rank 1] two", "[rank 1] and"]


def test_a_flood_of_lines_leaves_the_beginning_and_the_end(tmp_path, monkeypatch):
    for name, value in (("MOST_BYTES", 10_000), ("KEPT_AT_BEGINNING", 1_000), ("KEPT_AT_END", 2_000)):
        monkeypatch.setattr(text_log, name, value)

    def floods(config, directory):
        for number in range(2_000):
            sys.stdout.write(f"line {number}\n")
        yield done()

    run_all(floods, tmp_path)
    text = (tmp_path / "log.txt").read_text()
    assert len(text) < 3_200
    assert text.startswith("====")
    assert "[cut here: a log of more than 10,000 bytes keeps its beginning and its end]\nline 1" in text
    assert text.endswith("line 1998\nline 1999\n")


def test_the_end_of_a_log_has_no_control_characters(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"one\n 10%\r 50%\r100%\r\n\x1b]0;title\x07\x1b[2Jred\x1b[31m \xff\x9b\x00end\n")
    assert tail(tmp_path / "log.txt", 3) == ["one", "100%", "red ��end"]
    assert tail(tmp_path / "nothing", 2) == []
