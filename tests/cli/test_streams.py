from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import run
from ablate.cli.streams import lasting
from ablate.driver import session
from tests.support.fakes import well


@pytest.fixture(params=["terminal", "pipe"])
def gone(request, monkeypatch):
    """Functions that make sys.stdout and sys.stderr a terminal or a pipe, and that take away its other end."""
    other, own = pty.openpty() if request.param == "terminal" else os.pipe()
    streams = [open(os.dup(own), "w", buffering=1) for _ in range(2)]  # noqa: SIM115

    def begin():
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])

    yield begin, lambda: os.close(other)
    os.close(own)
    for stream in streams:
        stream.close()


def test_what_is_written_after_the_reader_is_gone_is_dropped(gone):
    begin, close = gone
    begin()
    with lasting():
        sys.stdout.write("seen\n")
        close()
        for _ in range(3):
            sys.stdout.write("x" * 100_000 + "\n")
            sys.stderr.write("unseen\n")
        assert not sys.stdout.isatty()
    sys.stdout.write("after it, too\n")


def test_a_study_goes_on_when_its_terminal_is_gone(gone, folder, monkeypatch):
    begin, close = gone
    trained = []

    def closes(config, directory):
        trained.append(config["seed"])
        if len(trained) == 2:
            close()
        yield from well(config, directory)

    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: closes)
    line = ["-m", "norm=bn", "depth=8", "width=1", "seeds=4", "dispatch=in_process", "track=off"]
    monkeypatch.setattr(sys, "argv", ["ablate.run", *line])
    begin()
    with pytest.raises(SystemExit) as ended:
        run.main()
    assert ended.value.code == 0
    assert trained == [0, 1, 2, 3]
    assert all('"Done"' in log.read_text() for log in Path("runs").glob("t*/events.jsonl"))


def test_the_line_of_a_mistake_that_nobody_reads_keeps_its_exit_status(gone, folder, monkeypatch):
    begin, close = gone
    monkeypatch.setattr(sys, "argv", ["ablate.run", "-m", "bits=3"])
    begin()
    close()
    with pytest.raises(SystemExit) as ended:
        run.main()
    assert ended.value.code == 2


def test_streams_that_were_closed_before_the_start_are_no_matter(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with lasting():
        sys.stdout.write("nowhere\n")
        sys.stderr.flush()
        assert not sys.stdout.isatty()
    assert sys.stdout is None


def test_no_file_takes_the_number_of_a_standard_stream_that_is_closed(folder):
    code = "import os\nfrom ablate.cli.streams import lasting\nwith lasting(): os._exit(os.open('x', os.O_CREAT))"
    ended = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=False)
    assert ended.returncode > 2


def test_a_full_disk_behind_the_output_is_told(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left"), lasting():
        sys.stdout.write("x")
