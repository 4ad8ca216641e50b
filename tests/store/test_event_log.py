"""Readers of a log agree on its last whole line, whatever a killed process or a power loss left behind it."""

from __future__ import annotations

import io
import json

import pytest

from ablate.core.events import Done, Failed
from ablate.store import event_log, history, mirror, run_directory
from tests.support.fakes import make_trial, raises_on_seed_1, started, well

TAILS = {
    "NULs": b"\0\0\0\0",
    "a block of NULs and more": b"\0" * 200_000,
    "NULs and a line's end": b"\0\0\n",
    "a torn line": b'{"attempt": 2, "event": "Star',
    "a torn line in no known encoding": b'{"attempt": 2, "event": "\xff\xfe',
    "a torn line closed off, and NULs": b'{"attempt": 2, "ev\n\0\0\n\n\0',
    "JSON that is no event": b"7\nnull\n[]\n",
}


@pytest.fixture
def completed(tmp_path):
    trial = make_trial(0)
    events = list(run_directory.attempt(well, trial, tmp_path))
    return trial, events, tmp_path / trial.trial_id / run_directory.LOG


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_a_trial_that_was_done_before_its_log_was_torn_is_done_to_every_reader(completed, tmp_path, tail):
    trial, events, log = completed
    with log.open("ab") as file:
        file.write(tail)
    assert run_directory.outcome(trial, tmp_path) == events[-1].without_predictions()
    assert run_directory.history(trial, tmp_path) == events
    assert list(run_directory.attempt(raises_on_seed_1, trial, tmp_path)) == events
    assert [metrics for _, metrics, _ in history.finished_trials(tmp_path)] == [events[-1].metrics]
    assert mirror._ends(log.read_bytes())


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_a_failure_before_the_torn_end_stays_one_and_is_tried_again_on_request(tmp_path, tail):
    trial = make_trial(1)
    list(run_directory.attempt(raises_on_seed_1, trial, tmp_path))
    with (tmp_path / trial.trial_id / run_directory.LOG).open("ab") as file:
        file.write(tail)
    assert isinstance(run_directory.outcome(trial, tmp_path), Failed)
    *_, ended = run_directory.attempt(well, trial, tmp_path)
    assert isinstance(ended, Done)
    assert run_directory.history(trial, tmp_path)[-1] == ended


def test_an_outcome_whose_own_line_end_became_nuls_counts(completed, tmp_path):
    trial, events, log = completed
    log.write_bytes(log.read_bytes().removesuffix(b"\n") + b"\0" * 512)
    assert run_directory.outcome(trial, tmp_path) == events[-1].without_predictions()
    assert run_directory.history(trial, tmp_path) == events


def test_nuls_in_the_middle_of_a_log_cost_the_lines_that_they_cover(completed, tmp_path):
    trial, events, log = completed
    first, second, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + b"\0" * len(second) + b"".join(others))
    assert run_directory.history(trial, tmp_path)[-1] == events[-1]
    assert run_directory.outcome(trial, tmp_path) == events[-1].without_predictions()


def test_a_log_of_nuls_alone_is_of_a_trial_that_never_began(tmp_path):
    trial = make_trial(0)
    (tmp_path / trial.trial_id).mkdir()
    (tmp_path / trial.trial_id / run_directory.LOG).write_bytes(b"\0" * 70_000)
    assert run_directory.outcome(trial, tmp_path) is None
    assert run_directory.history(trial, tmp_path) == []
    assert isinstance(list(run_directory.attempt(well, trial, tmp_path))[-1], Done)


def test_an_epoch_before_the_torn_end_is_no_outcome(completed, tmp_path):
    trial, _, log = completed
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]) + b"\0\0\0")
    assert run_directory.outcome(trial, tmp_path) is None


@pytest.mark.parametrize("length", [1, 65_535, 65_536, 65_537, 200_000])
def test_lines_are_read_from_the_end_across_the_bounds_of_blocks(length):
    wanted = [{"event": "Started", "attempt": 1, "text": "x" * length}, {"event": "Epoch", "text": "y" * length}]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in wanted)
    assert event_log.last_of(content) == wanted[-1]
    assert [line for line in map(event_log.parsed, event_log._from_the_end(io.BytesIO(content))) if line] == wanted[
        ::-1
    ]


def test_the_last_line_is_found_without_reading_those_before_it():
    content = json.dumps({"event": "Started", "host": started().host}).encode() + b"\n"
    log = io.BytesIO(content * 20_000)
    reads = []
    log.read = lambda size, read=log.read: reads.append(size) or read(size)
    assert event_log.last_whole(log)
    assert sum(reads) <= 2 * event_log._BLOCK_BYTES
