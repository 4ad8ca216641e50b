"""Run directories in an object store: claims, fencing, and what is told once for all, in memory and at an S3."""

from __future__ import annotations

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ablate.core.errors import AlreadyLeased, Pruned, Stopped, StorageUnavailable
from ablate.core.events import Done, Epoch, Failed, Notice, Started, to_dict
from ablate.store import (
    bucket,
    event_relay,
    lease_holder,
    leases,
    mirror,
    object_store,
    predictions,
    run_directory,
    stored_log,
    working_copy,
)
from ablate.store.bucket import BucketStore
from ablate.store.object_store import Objects
from tests.support.fakes import EPOCHS, done, epoch, make_trial, raises_on_seed_1, started, well


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def driver(url, tmp_path, clock):
    """driver() -> the store as another driver has it, with a runs folder of its own; one clock for all."""
    made = []

    def make():
        made.append(BucketStore(url, tmp_path / f"runs{len(made)}", leases.Watch(clock)))
        return made[-1]

    return make


def types(events):
    return [type(event).__name__ for event in events]


def until(condition, seconds=20.0):
    assert threading.Event().wait(0) is False
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come about")


WHOLE = ["Started", *["Epoch"] * EPOCHS, "Done"]


def test_of_many_who_claim_a_trial_at_once_one_gets_each_number(url):
    there = Objects(url)
    for number in (1, 2, 3):
        barrier = threading.Barrier(12)

        def race(owner, number=number, barrier=barrier):
            barrier.wait()
            return leases.take(there, "t1", str(owner), number)

        with ThreadPoolExecutor(12) as pool:
            won = list(pool.map(race, range(12)))
        assert sum(won) == 1
        lease = leases.highest(there, "t1")
        assert (lease.number, lease.owner) == (number, str(won.index(True)))


def test_of_many_who_attempt_a_trial_at_once_one_trains_and_the_others_are_told_that_it_is_claimed(driver):
    trial, trained, barrier = make_trial(0), [], threading.Barrier(8)
    through = threading.Event()

    def run(config, directory):
        trained.append(directory)
        assert through.wait(60)
        yield from well(config, directory)

    def attempt(store):
        barrier.wait()
        try:
            return types(store.attempt(run, trial))
        except AlreadyLeased:
            return "claimed"
        finally:
            if len(others := list(ended)) < 7:
                ended.append(len(others))
            if len(ended) == 7:
                through.set()

    ended: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        attempts = list(pool.map(attempt, [driver() for _ in range(8)]))
    assert sorted(map(str, attempts)) == sorted([str(WHOLE), *["claimed"] * 7])
    assert len(trained) == 1


def test_a_claim_is_dead_once_its_beat_has_stayed_the_same_for_long_by_the_observers_own_clock(clock):
    watch = leases.Watch(clock)
    lease = leases.Lease("t1", 1, "other", b"1")
    assert watch.is_alive(lease)
    clock.now = leases.DEAD_AFTER_S - 1
    assert watch.is_alive(lease)
    clock.now += 2
    assert not watch.is_alive(lease)
    assert not pickle.loads(pickle.dumps(watch)).is_alive(lease)
    assert watch.is_alive(leases.Lease("t1", 1, "other", b"2"))
    clock.now += leases.DEAD_AFTER_S
    assert watch.is_alive(leases.Lease("t1", 1, "other", b"3"))
    assert watch.is_alive(leases.Lease("t1", 2, "other", b"3"))
    assert not watch.is_alive(leases.Lease("t1", 2, "other", leases.OVER))


def test_a_claim_is_given_back_however_the_attempt_ends(driver):
    first, second = driver(), driver()

    def breaks_off(config, directory):
        yield started()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(first.attempt(breaks_off, make_trial(0)))
    assert types(second.attempt(well, make_trial(0))) == WHOLE
    assert not first.is_leased(make_trial(0).trial_id)


def dies(store, trial, run=well):
    """An attempt whose process is gone once `run` has told all it has to tell but an outcome: nothing is given back."""
    directory = store.runs.parent / f"dies{trial.trial_id}" / trial.trial_id
    directory.mkdir(parents=True)
    copy = store._take(trial.trial_id)
    log, _ = stored_log.take_over(copy, trial, directory)
    (directory / run_directory.LOG).write_bytes(log)
    list(run_directory.events(run, trial, directory, float("inf"), False))
    store.objects.write(copy.name(run_directory.LOG), (directory / run_directory.LOG).read_bytes())
    leases.send_heartbeat(store.objects, trial.trial_id, copy.number, b"7")
    return copy


def stops_after_two(config, directory):
    yield started()
    yield epoch(1)
    yield epoch(2)
    raise Stopped


def test_a_trial_whose_holder_died_is_claimed_until_its_heart_was_silent_for_long(driver, clock):
    trial = make_trial(0)
    dies(driver(), trial, stops_after_two)
    other = driver()
    with pytest.raises(AlreadyLeased):
        list(other.attempt(well, trial))
    clock.now += leases.DEAD_AFTER_S
    events = list(other.attempt(well, trial))
    assert types(events) == WHOLE
    assert other.history(trial) == events


def test_what_a_driver_knows_to_be_dead_its_workers_know_too(driver, clock):
    trial = make_trial(0)
    dies(driver(), trial, stops_after_two)
    other = driver()
    assert other.is_leased(trial.trial_id)
    clock.now += leases.DEAD_AFTER_S
    assert not other.is_leased(trial.trial_id)
    assert types(pickle.loads(pickle.dumps(other)).attempt(well, trial)) == WHOLE


def test_a_driver_waits_for_no_worker_of_its_own(driver):
    store, trial = driver(), make_trial(0)
    dies(store, trial, stops_after_two)
    assert store.is_leased(trial.trial_id)
    assert not store.is_leased(trial.trial_id, by_others=True)
    assert types(store.attempt(well, trial)) == WHOLE


class Zombie:
    """Tells an epoch, is then cut off for as long as it takes another to finish the trial, and goes on unawares."""

    def __init__(self):
        self.reported, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, config, directory):
        yield started()
        yield epoch(1, acc=0.1)
        self.reported.set()
        assert self.may_go_on.wait(60)
        yield epoch(2, acc=0.1)
        yield done(0.1)


@pytest.mark.parametrize("ended", [True, False])
def test_a_worker_that_was_taken_for_dead_tells_no_outcome_and_changes_nothing(driver, clock, monkeypatch, ended):
    monkeypatch.setattr(lease_holder, "SECONDS_BETWEEN_LOOKS", 1e9)  # it is cut off: it sees nothing by itself
    monkeypatch.setattr(leases, "HEARTBEAT_S", 1e9)
    first, second, zombie, trial = driver(), driver(), Zombie(), make_trial(0)
    heard, outcome = [], []

    def attempt():
        try:
            heard.extend(first.attempt(zombie, trial))
        except AlreadyLeased:
            outcome.append("claimed")

    thread = threading.Thread(target=attempt)
    thread.start()
    assert zombie.reported.wait(60)
    first.objects.names()
    until(lambda: stored_log.truth(first.objects, trial.trial_id).content.count(b"\n") >= 2)
    assert second.is_leased(trial.trial_id)
    clock.now += leases.DEAD_AFTER_S
    others = second.attempt(well, trial)
    mine = list(others) if ended else [next(others)]
    zombie.may_go_on.set()
    thread.join(60)
    mine += list(others)
    assert outcome == ["claimed"]
    assert not any(isinstance(event, Done | Failed) for event in heard)
    assert types(mine) == WHOLE
    for store in (first, second, driver()):
        assert store.history(trial) == mine
    assert mine[-1].metrics["test_acc"] == 0.9


def test_an_outcome_stored_just_before_another_claimed_the_trial_is_told_by_both_and_trained_once(driver, monkeypatch):
    """The claim falls between the outcome and the look for claims: who has claimed has read it."""
    first, second, trial = driver(), driver(), make_trial(0)
    trained = []
    real, taken = Objects.write, []

    def write(self, name, content):
        real(self, name, content)
        if b'"Done"' in content and not taken:
            taken.append(True)
            second.watch.dead.add((trial.trial_id, 1))
            with pytest.MonkeyPatch.context() as patch:  # it had looked before
                patch.setattr(stored_log, "truth", lambda *_: stored_log.StoredLog(b"", None))
                taken.append(list(second.attempt(lambda *_: trained.append(1) or iter([]), trial)))

    monkeypatch.setattr(Objects, "write", write)
    with pytest.raises(AlreadyLeased):
        list(first.attempt(well, trial))
    assert types(taken[1]) == WHOLE
    assert not trained
    assert list(first.attempt(raises_on_seed_1, trial)) == taken[1]


def test_an_outcome_of_a_number_that_is_no_longer_the_highest_is_not_mirrored(driver, monkeypatch):
    """The claim falls between the listing and the reading, the zombie's outcome too."""
    zombie, other, reader, trial = driver(), driver(), driver(), make_trial(0)
    copy = dies(zombie, trial, stops_after_two)
    real = Objects.read_all

    def read_all(self, names):
        if (names := list(names)) == [copy.name(run_directory.LOG)]:
            other._take(trial.trial_id, by_force=True)
            end = json.dumps({"attempt": 1, **to_dict(done())})
            self.write(names[0], self.read(names[0]) + f"{end}\n".encode())
        return real(self, names)

    monkeypatch.setattr(Objects, "read_all", read_all)
    mirror.bring(reader.objects, [trial], reader.runs)
    assert run_directory.outcome(trial, reader.runs) is None


def test_an_outcome_that_a_zombie_stored_while_it_was_read_is_not_the_truth(driver, monkeypatch):
    zombie, other, reader, trial = driver(), driver(), driver(), make_trial(0)
    copy = dies(zombie, trial, stops_after_two)
    real, taken = Objects.read, []

    def read(self, name):
        if name == copy.name(run_directory.LOG) and not taken:
            taken.append(other._take(trial.trial_id, by_force=True))
            self.write(name, real(self, name) + f"{json.dumps({'attempt': 1, **to_dict(done())})}\n".encode())
        return real(self, name)

    monkeypatch.setattr(Objects, "read", read)
    assert stored_log.truth(reader.objects, trial.trial_id).content == b""


def test_a_claim_whose_request_came_through_before_it_timed_out_is_ones_own(url):
    there = Objects(url)
    fs, _ = there._at
    real = fs.pipe_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fs, "pipe_file", lambda *a, **k: (real(*a, **k), real(*a, **k)))  # its driver tries again
        assert leases.take(there, "t1", "me", 1)
    assert not leases.take(there, "t1", "me", 1)


def test_it_goes_on_from_the_checkpoint_that_is_stored_and_keeps_one_alone(driver):
    stored = []

    def run(config, directory):
        checkpoint = directory / run_directory.CHECKPOINTS[0]
        stored.append(checkpoint.read_text() if checkpoint.exists() else None)
        temporary = directory / "checkpoint.tmp"
        temporary.write_text(f"after attempt {len(stored)}")
        temporary.replace(checkpoint)
        yield started()
        if len(stored) < 3:
            raise Stopped
        yield done()
        checkpoint.unlink()

    store, trial = driver(), make_trial(0)
    for number in (1, 2):
        list(store.attempt(run, trial))
        kept = [name for name in store.objects.names() if name.endswith(".pt")]
        assert kept == [f"{trial.trial_id}/{number:06d}/checkpoint.pt"]
    list(store.attempt(run, trial))
    assert stored == [None, "after attempt 1", "after attempt 2"]
    assert not [name for name in store.objects.names() if name.endswith(".pt")]


def test_a_trial_that_failed_begins_at_the_beginning_without_its_checkpoint(driver):
    stored = []

    def run(config, directory):
        checkpoint = directory / run_directory.CHECKPOINTS[0]
        stored.append(checkpoint.exists())
        checkpoint.write_text("diverging")
        yield started()
        raise RuntimeError("no such thing")

    store, trial = driver(), make_trial(0)
    list(store.attempt(run, trial))
    dies(store, trial, stops_after_two)  # before its first checkpoint
    list(store.attempt(run, trial))
    assert stored == [False, False]


def test_weights_and_predictions_are_stored_before_done_and_fetched_when_needed(driver, monkeypatch):
    def run(config, directory):
        yield started()
        (directory / "weights.tmp").write_text("weights")
        (directory / "weights.tmp").replace(directory / run_directory.WEIGHTS)
        yield done()

    def upload(self, path, name):
        """The log has time to overtake the file."""
        threading.Event().wait(0.5)
        real_upload(self, path, name)
        order.append(path.name)

    monkeypatch.setattr(lease_holder, "SECONDS_BETWEEN_WRITES", 0.01)
    order, real_write, real_upload = [], Objects.write, Objects.upload
    monkeypatch.setattr(Objects, "write", lambda s, n, c: order.append(b'"Done"' in c) or real_write(s, n, c))
    monkeypatch.setattr(Objects, "upload", upload)
    store, trial = driver(), make_trial(0)
    *_, end = store.attempt(run, trial)
    assert set(order[: order.index(True)]) >= {run_directory.WEIGHTS, predictions.PREDICTIONS}
    assert store.outcome(trial) == end.without_predictions()
    directory = store.runs / trial.trial_id
    assert not (directory / run_directory.WEIGHTS).exists()
    assert not (directory / predictions.PREDICTIONS).exists()
    assert store.local.history(trial)[-1] == end.without_predictions()
    assert store.history(trial)[-1] == end
    mirror.bring_weights(directory)
    assert (directory / run_directory.WEIGHTS).read_text() == "weights"
    assert mirror.root(directory) == store.url


def test_another_process_of_a_trial_stores_its_checkpoints_under_the_claim_from_wherever_it_runs(driver, tmp_path):
    store = driver()
    copy = pickle.loads(pickle.dumps(working_copy.WorkingCopy(store.objects, "t1", 2)))
    store.objects.write("t1/000002/checkpoint.pt", b"before")
    with copy.at(tmp_path) as files:
        checkpoint = tmp_path / run_directory.CHECKPOINTS[0]
        assert checkpoint.read_text() == "before"
        (tmp_path / "next").write_text("after")
        (tmp_path / "next").replace(checkpoint)
        files.flush(10)
        assert store.objects.read("t1/000002/checkpoint.pt") == b"after"
        (tmp_path / run_directory.WEIGHTS).write_text("weights")
    assert store.objects.read("t1/000002/weights.pt") == b"weights"


def test_asked_to_stop_the_drivers_trials_stop_and_those_of_others_do_not(driver, monkeypatch):
    monkeypatch.setattr(lease_holder, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(lease_holder, "SECONDS_BETWEEN_WRITES", 0.05)
    first, second = driver(), driver()

    def run(config, directory):
        yield started()
        until(lambda: (directory / first.stop_path("")).exists(), 2)
        raise Stopped

    first.request_stop()
    until(lambda: any("stops/" in name for name in first.objects.names()))
    assert types(first.attempt(run, make_trial(0))) == ["Started"]
    assert types(second.attempt(run, make_trial(1))) == ["Started", "Failed"]
    first.withdraw_stop()
    assert not any("stops/" in name for name in first.objects.names())


def test_a_tuning_stops_a_trial_and_the_request_does_not_outlive_it(driver, monkeypatch):
    monkeypatch.setattr(lease_holder, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(lease_holder, "SECONDS_BETWEEN_WRITES", 0.05)
    store, trial = driver(), make_trial(0)

    def run(config, directory):
        yield started()
        store.prune(trial, "others are better")
        until((directory / run_directory.PRUNE).exists)
        raise Pruned((directory / run_directory.PRUNE).read_text())

    *_, last = store.attempt(run, trial)
    assert (last.kind, last.reason) == ("pruned", "others are better")

    def looks(config, directory):
        threading.Event().wait(0.5)
        yield done() if not (directory / run_directory.PRUNE).exists() else Failed(kind="error", reason="pruned again")

    assert types(store.attempt(looks, trial))[-1] == "Done"


def test_a_failure_that_the_driver_marks_is_the_truth_and_fences_the_process_that_it_is_about(driver):
    store, trial, zombie = driver(), make_trial(0), Zombie()
    with ThreadPoolExecutor(1) as pool:
        cut_off = pool.submit(list, store.attempt(zombie, trial))
        assert zombie.reported.wait(60)
        lost = store.mark(trial, Failed(kind="lost", reason="its node was cut off"))
        zombie.may_go_on.set()
        with pytest.raises(AlreadyLeased):
            cut_off.result(60)
    assert run_directory.outcome(trial, store.runs) == lost
    assert types(store.attempt(well, trial)) == WHOLE


def test_a_trial_that_is_done_is_not_marked_as_failed(driver):
    store, trial = driver(), make_trial(0)
    *_, end = store.attempt(well, trial)
    assert store.mark(trial, Failed(kind="lost", reason="it died after it had ended")) == end
    assert isinstance(run_directory.outcome(trial, store.runs), Done)


class Storm:
    """The object store is away while `is_on`."""

    def __init__(self, monkeypatch):
        self.is_on = False
        for name in ("names", "read", "read_all", "write", "create", "upload", "copy", "remove"):
            monkeypatch.setattr(Objects, name, self.disturbed(getattr(Objects, name)))

    def disturbed(self, real):
        def call(*arguments):
            if self.is_on:
                raise StorageUnavailable("it does not answer")
            return real(*arguments)

        return call


def test_training_goes_on_while_the_object_store_is_away_and_what_it_told_comes_when_it_is_back(driver, monkeypatch):
    monkeypatch.setattr(event_relay, "LONGEST_WAIT_S", 0.01)
    storm, store, trial, trained = Storm(monkeypatch), driver(), make_trial(0), []

    def run(config, directory):
        for event in well(config, directory):
            storm.is_on = isinstance(event, Started | Epoch) and event != done()
            trained.append(storm.is_on)
            if isinstance(event, Done):
                threading.Timer(0.3, lambda: setattr(storm, "is_on", False)).start()
                storm.is_on = True
            yield event

    events = list(store.attempt(run, trial))
    assert types(events) == WHOLE
    assert store.history(trial) == events


def test_an_outcome_that_cannot_be_stored_for_long_is_no_outcome(driver, monkeypatch):
    monkeypatch.setattr(event_relay, "PATIENCE_S", 0.3)
    storm, store, trial = Storm(monkeypatch), driver(), make_trial(0)

    def run(config, directory):
        yield started()
        storm.is_on = True
        yield done()

    events = list(store.attempt(run, trial))
    assert not any(isinstance(event, Done) for event in events)
    assert isinstance(events[-1], Notice)
    assert events[-1].text.endswith("it does not answer; this attempt ends without an outcome")
    storm.is_on = False
    monkeypatch.setattr(event_relay, "PATIENCE_S", 60)
    assert types(store.attempt(well, trial)) == WHOLE


def test_refreshing_brings_many_trials_with_one_listing_and_what_is_known_costs_none(driver, monkeypatch):
    store, trials = driver(), [make_trial(seed) for seed in range(mirror.FEW + 2)]
    for trial in trials:
        list(store.attempt(raises_on_seed_1, trial))
    other, listed, real = driver(), [], Objects.names
    monkeypatch.setattr(Objects, "names", lambda self, prefix="": listed.append(prefix) or real(self, prefix))
    other.outcomes(trials)
    assert len(listed) == 2  # the second one confirms that the outcomes count
    assert [type(run_directory.outcome(trial, other.runs)) for trial in trials[:3]] == [Done, Failed, Done]
    read, real_read = [], Objects.read_all
    monkeypatch.setattr(Objects, "read_all", lambda self, names: real_read(self, read.extend(names) or read[-0:]))
    other.outcomes(trials)  # one failed: it may be tried again, and is looked at
    assert listed[2:] == [trials[1].trial_id]
    assert not read


def test_claimed_trials_are_told_at_once_and_dead_ones_from_those_that_live(driver, clock, monkeypatch):
    store, trials = driver(), [make_trial(seed) for seed in range(3)]
    dies(driver(), trials[0], stops_after_two)
    list(driver().attempt(well, trials[1]))
    ids = [trial.trial_id for trial in trials]
    assert store.leased(ids) == {ids[0]}
    monkeypatch.setattr(bucket.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + 10))
    assert store.leased(ids, surely=True) == set()


def test_what_is_removed_is_gone(driver):
    store, trials = driver(), [make_trial(seed) for seed in range(2)]
    for trial in trials:
        list(store.attempt(well, trial))
    store.remove([trials[0].trial_id])
    assert {name.partition("/")[0] for name in store.objects.names()} == {trials[1].trial_id}


def test_an_object_store_that_does_not_heed_put_if_absent_is_refused(url, monkeypatch):
    monkeypatch.setattr(Objects, "create", lambda self, name, content: self.write(name, content) or True)
    with pytest.raises(object_store.UsageError, match="ignores put-if-absent"):
        Objects(url).check(writing=True)


def test_a_trial_stored_with_its_predictions_inside_the_log_still_reads(driver):
    """As it was stored before they had an object of their own."""
    store, trial = driver(), make_trial(0)
    events = [started(), epoch(1), done()]
    log = "".join(json.dumps({"attempt": 1, **to_dict(event)}) + "\n" for event in events)
    copy = store._take(trial.trial_id)
    store.objects.write(copy.name(run_directory.LOG), log.encode())
    leases.send_heartbeat(store.objects, trial.trial_id, copy.number, leases.OVER)
    assert store.history(trial) == events
    assert list(store.attempt(raises_on_seed_1, trial)) == events
    assert driver().mark(trial, Failed(kind="lost", reason="it died after it had ended")) == events[-1]
    assert driver().history(trial) == events
