from __future__ import annotations

import dataclasses
import fcntl
import json
import threading
import time

import numpy as np
import pytest
from filelock import FileLock, Timeout

from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch, Failed, from_dict, to_dict
from ablate.store import event_log, history, mirror, predictions, run_directory
from ablate.store.folder import FolderStore
from tests.support.fakes import diverges_on_seed_two, done, epoch, make_trial, raises_on_seed_1, started, well
from tests.support.plain_user import plain_user


def types(events):
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize("event", [started(), epoch(2), done(), Failed(kind="oom", reason="full", traceback="...")])
def test_events_survive_the_log(event):
    assert from_dict(json.loads(json.dumps(to_dict(event)))) == event


def test_an_attempt_stores_every_event_that_it_yields(tmp_path):
    trial = make_trial(0)
    yielded = list(run_directory.attempt(well, trial, tmp_path))
    assert types(yielded) == ["Started", "Epoch", "Epoch", "Epoch", "Done"]
    assert run_directory.history(trial, tmp_path) == yielded
    assert run_directory.outcome(trial, tmp_path) == dataclasses.replace(yielded[-1], predicted=(), labels=())
    assert json.loads((tmp_path / trial.trial_id / "config.json").read_text()) == trial.config


def test_a_trial_never_started_has_no_outcome(tmp_path):
    assert run_directory.outcome(make_trial(0), tmp_path) is None
    assert run_directory.history(make_trial(0), tmp_path) == []


def test_a_finished_trial_is_not_run_again_but_told_again(tmp_path):
    first = list(run_directory.attempt(well, make_trial(0), tmp_path))
    assert list(run_directory.attempt(raises_on_seed_1, make_trial(0), tmp_path)) == first


def test_a_failed_trial_is_run_again_and_its_last_attempt_counts(tmp_path):
    trial = make_trial(1)
    list(run_directory.attempt(raises_on_seed_1, trial, tmp_path))
    list(run_directory.attempt(well, trial, tmp_path))
    assert types(run_directory.history(trial, tmp_path)) == ["Started", "Epoch", "Epoch", "Epoch", "Done"]


def test_nan_losses_are_told_apart_from_errors(tmp_path):
    *_, diverged = run_directory.attempt(diverges_on_seed_two, make_trial(2), tmp_path)
    *_, error = run_directory.attempt(raises_on_seed_1, make_trial(1), tmp_path)
    assert (diverged.kind, diverged.reason) == ("diverged", "the training loss is nan in epoch 1")
    assert (error.kind, error.reason) == ("error", "RuntimeError: no such thing")
    assert "raises_on_seed_1" in error.traceback


def test_a_mistake_found_while_a_trial_runs_is_told_in_its_own_words(tmp_path):
    def run(config, directory):
        yield started()
        raise UsageError("cat.jpg: not a whole image")

    *_, failed = run_directory.attempt(run, make_trial(0), tmp_path)
    assert (failed.kind, failed.reason) == ("error", "cat.jpg: not a whole image")


def test_a_run_is_given_its_run_directory(tmp_path):
    def run(config, directory):
        (directory / "kept").touch()
        yield done()

    list(run_directory.attempt(run, make_trial(0), tmp_path))
    assert (tmp_path / make_trial(0).trial_id / "kept").exists()


def test_running_out_of_memory_is_a_failure_of_its_own_kind(tmp_path):
    full = ["DefaultCPUAllocator: can't allocate memory: you tried to allocate 92160000000000 bytes", "no room"]
    for seed, error in enumerate((RuntimeError(full[0]), MemoryError(full[1]))):

        def run(config, directory, error=error):
            yield started()
            raise error

        *_, failed = run_directory.attempt(run, make_trial(seed), tmp_path)
        assert failed.kind == "oom"


def test_a_run_that_ends_without_an_outcome_has_failed(tmp_path):
    *_, failed = run_directory.attempt(lambda config, directory: iter([started()]), make_trial(0), tmp_path)
    assert isinstance(failed, Failed)
    assert "without saying Done" in failed.reason


def test_a_torn_last_line_is_an_unfinished_trial_and_harms_no_later_attempt(tmp_path):
    trial = make_trial(0)
    list(run_directory.attempt(well, trial, tmp_path))
    log = tmp_path / trial.trial_id / "events.jsonl"
    log.write_text(log.read_text()[:-20])
    assert run_directory.outcome(trial, tmp_path) is None
    again = list(run_directory.attempt(well, trial, tmp_path))
    assert run_directory.history(trial, tmp_path) == again


def many_predictions():
    return Done(metrics={"test_acc": 1.0}, predicted=list(range(50_000)), labels=list(range(50_000)))


def test_predictions_are_on_the_disk_before_the_log_says_done_and_keep_its_lines_small(tmp_path, monkeypatch):
    trial, end, real = make_trial(0), many_predictions(), event_log.append
    there = []

    def append(log, attempt, event):
        there.append((type(event).__name__, (tmp_path / trial.trial_id / predictions.PREDICTIONS).exists()))
        real(log, attempt, event)

    monkeypatch.setattr(event_log, "append", append)
    list(run_directory.attempt(lambda config, directory: iter([started(), end]), trial, tmp_path))
    assert there == [("Started", False), ("Done", True)]
    log = tmp_path / trial.trial_id / run_directory.LOG
    assert [sorted(line) for line in event_log.lines(log)][-1] == ["attempt", "event", "metrics", "time"]
    assert log.stat().st_size < 1000
    assert run_directory.outcome(trial, tmp_path) == Done(metrics={"test_acc": 1.0}, time=end.time)
    assert run_directory.history(trial, tmp_path)[-1] == end


def test_predictions_of_an_attempt_that_died_before_its_outcome_are_not_taken_for_a_later_ones(tmp_path):
    trial = make_trial(0)
    (tmp_path / trial.trial_id).mkdir()
    predictions.save(tmp_path / trial.trial_id, many_predictions())
    bare = Done(metrics={"test_acc": 0.5})
    assert list(run_directory.attempt(lambda config, directory: iter([started(), bare]), trial, tmp_path))[-1] == bare
    assert run_directory.history(trial, tmp_path)[-1] == bare


def test_a_damaged_file_of_predictions_is_named_and_pickles_are_not_read(tmp_path):
    (tmp_path / predictions.PREDICTIONS).write_bytes(b"PK torn")
    with pytest.raises(UsageError, match=r"predictions\.npz: damaged \(.*\); allowed: to remove"):
        predictions.load(tmp_path)
    objects = np.array([object()], dtype=object)
    np.savez(tmp_path / predictions.PREDICTIONS, predicted=objects, labels=objects)
    with pytest.raises(UsageError, match="damaged"):
        predictions.load(tmp_path)


def test_a_directory_whose_log_holds_the_predictions_still_reads(tmp_path):
    """As it was written before they had a file of their own."""
    trial, end = make_trial(0), many_predictions()
    directory = tmp_path / trial.trial_id
    directory.mkdir()
    run_directory.write_config(directory / run_directory.CONFIG, trial.config)
    with (directory / run_directory.LOG).open("w") as log:
        for event in (started(), epoch(1), end):
            log.write(json.dumps({"attempt": 1, **to_dict(event)}) + "\n")
    assert '"predicted": [0, 1, ' in (directory / run_directory.LOG).read_text()
    assert run_directory.outcome(trial, tmp_path) == end.without_predictions()
    assert run_directory.history(trial, tmp_path)[-1] == end
    assert list(run_directory.attempt(raises_on_seed_1, trial, tmp_path))[-1] == end
    assert FolderStore(tmp_path).history(trial)[-1] == end
    assert list(history.finished_trials(tmp_path)) == [(json.dumps(trial.config), {"test_acc": 1.0}, "cpu")]
    mirror.bring_predictions(directory)
    assert not (directory / predictions.PREDICTIONS).exists()


def test_the_claim_is_held_while_the_trial_runs(tmp_path):
    trial = make_trial(0)
    running = run_directory.attempt(well, trial, tmp_path)
    next(running)
    with pytest.raises(Timeout):
        FileLock(tmp_path / trial.trial_id / "claim", timeout=0).acquire()
    list(running)
    FileLock(tmp_path / trial.trial_id / "claim", timeout=0).acquire()


def test_an_attempt_that_is_broken_off_leaves_no_outcome(tmp_path):
    trial = make_trial(0)
    running = run_directory.attempt(well, trial, tmp_path)
    assert isinstance([next(running), next(running)][-1], Epoch)
    running.close()
    assert run_directory.outcome(trial, tmp_path) is None


def raises_by_a_clock(offset_s):
    """Fail as on a machine whose clock differs by so many seconds."""

    def run(config, directory):
        yield started()
        yield Failed(kind="error", reason="no such thing", time=time.time() + offset_s)

    return run


@pytest.mark.parametrize("offset_s", [-86_400, -1, 0, 1, 86_400])
def test_whether_a_failure_came_after_the_request_does_not_hang_on_a_clock(tmp_path, offset_s):
    trial = make_trial(0)
    before = run_directory.ended_attempts(trial, tmp_path)
    other = run_directory.attempt(raises_by_a_clock(offset_s), trial, tmp_path)
    next(other)
    meanwhile = run_directory.ended_attempts(trial, tmp_path)
    failure = list(other)[-1]
    for requested in (before, meanwhile):
        assert list(run_directory.attempt(well, trial, tmp_path, attempts_before=requested))[-1] == failure
    requested_anew = run_directory.ended_attempts(trial, tmp_path)
    assert (before, meanwhile, requested_anew) == (0, 0, 1)
    *_, end = run_directory.attempt(well, trial, tmp_path, attempts_before=requested_anew)
    assert isinstance(end, Done)


def test_an_attempt_that_was_lost_counts_once_it_has_its_outcome(tmp_path):
    trial = make_trial(0)
    assert run_directory.ended_attempts(trial, tmp_path) == 0
    running = run_directory.attempt(well, trial, tmp_path)
    next(running)
    running.close()
    assert run_directory.ended_attempts(trial, tmp_path) == 0
    run_directory.mark(trial, tmp_path, Failed(kind="oom", reason="full", alone=True))
    assert run_directory.ended_attempts(trial, tmp_path) == 1
    run_directory.mark(trial, tmp_path, Failed(kind="oom", reason="full before it wrote a line", alone=True))
    assert run_directory.ended_attempts(trial, tmp_path) == 2


def test_a_reader_sees_a_lease_without_the_right_to_write_and_without_taking_it(tmp_path):
    trial = make_trial(0)
    assert not run_directory.is_leased(trial.trial_id, tmp_path)
    running = run_directory.attempt(well, trial, tmp_path)
    next(running)
    lease = tmp_path / trial.trial_id / run_directory.LEASE
    lease.chmod(0o444)
    (tmp_path / trial.trial_id).chmod(0o555)
    with plain_user():
        assert run_directory.is_leased(trial.trial_id, tmp_path)
    (tmp_path / trial.trial_id).chmod(0o755)
    running.close()
    with plain_user():
        assert not run_directory.is_leased(trial.trial_id, tmp_path)
        lease.chmod(0o000)
        assert not run_directory.is_leased(trial.trial_id, tmp_path)


def test_a_worker_does_not_take_a_reader_that_looks_for_another_worker(tmp_path):
    trial = make_trial(0)
    (tmp_path / trial.trial_id).mkdir()
    with (tmp_path / trial.trial_id / run_directory.LEASE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        reader = threading.Timer(run_directory.READERS_INSTANT_S / 3, fcntl.flock, (file, fcntl.LOCK_UN))
        reader.start()
        assert isinstance(list(run_directory.attempt(well, trial, tmp_path))[-1], Done)
        reader.join()


def test_what_an_attempt_writes_to_is_named_before_it_begins(tmp_path):
    trial = make_trial(0)
    assert list(run_directory.files_to_write([trial.trial_id], tmp_path)) == []
    list(run_directory.attempt(well, trial, tmp_path))
    names = [path.name for path in run_directory.files_to_write([trial.trial_id], tmp_path)]
    assert names == [trial.trial_id, "claim", "events.jsonl"]
