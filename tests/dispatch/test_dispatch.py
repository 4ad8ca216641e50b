from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from ablate.core import container, hardware
from ablate.core.errors import DiskFull, Stopped, UsageError
from ablate.core.events import Done, Failed, Notice
from ablate.dispatch import RayOptions, Slot, embedded_ray, in_process, on_ray
from ablate.dispatch.capacity import Machine, Machines
from ablate.dispatch.embedded_ray import private_ray
from ablate.store import event_log, run_directory
from ablate.store.folder import FolderStore
from tests.support.fakes import Dies, diverges_on_seed_two, done, in_slot, make_trial, raises_on_seed_1, started, well


def last_by_seed(events):
    return {trial.seed: event for trial, event in events}


@pytest.fixture(params=["in_process", pytest.param("on_ray", marks=pytest.mark.ray(shared=True))])
def dispatch(request):
    return {"in_process": in_process, "on_ray": on_ray}[request.param]


def test_one_diverging_trial_does_not_stop_the_study(dispatch, trials, tmp_path):
    last = last_by_seed(dispatch(in_slot(diverges_on_seed_two), trials, store=FolderStore(tmp_path), slot=Slot()))
    assert [type(last[seed]) for seed in range(4)] == [Done, Done, Failed, Done]
    assert last[2].kind == "diverged"


def test_one_raising_trial_does_not_stop_the_study(dispatch, trials, tmp_path):
    last = last_by_seed(dispatch(in_slot(raises_on_seed_1), trials, store=FolderStore(tmp_path), slot=Slot()))
    assert [type(last[seed]) for seed in range(4)] == [Done, Failed, Done, Done]
    assert (last[1].kind, last[1].reason) == ("error", "RuntimeError: no such thing")


def test_events_come_in_order_and_are_stored(dispatch, trials, tmp_path):
    events = list(dispatch(in_slot(well), trials, store=FolderStore(tmp_path), slot=Slot()))
    for trial in trials:
        mine = [event for other, event in events if other.trial_id == trial.trial_id]
        assert mine == run_directory.history(trial, tmp_path)
        assert [type(event).__name__ for event in mine] == ["Started", "Epoch", "Epoch", "Epoch", "Done"]


def test_a_trial_that_another_driver_finished_is_told_again(dispatch, trials, tmp_path):
    first, again = (list(dispatch(in_slot(well), trials, store=FolderStore(tmp_path), slot=Slot())) for _ in range(2))
    assert sorted(again, key=str) == sorted(first, key=str)


def test_threads_are_the_cores_of_the_slot():
    assert [Slot(cpus).threads for cpus in (0.25, 1, 1.5, 4)] == [1, 1, 1, 4]


@pytest.mark.ray(shared=True)
@pytest.mark.parametrize(
    ("afterwards", "outcome"),
    [
        ("goes well", (Done, 0.9)),
        ("yields fewer", (Done, 0.75)),
        ("raises", (Failed, "error", "RuntimeError: the retry raised")),
        ("fails", (Failed, "error", "the retry failed")),
        ("dies again", (Failed, "lost", "its worker process died 3 times")),
    ],
)
def test_the_outcome_of_a_retried_trial_is_never_lost(tmp_path, afterwards, outcome):
    runs = tmp_path / "runs"
    events = list(
        on_ray(
            in_slot(Dies(tmp_path, afterwards)),
            [make_trial(0), make_trial(1)],
            store=FolderStore(runs),
            slot=Slot(),
            max_lost=2,
        )
    )
    mine = [event for trial, event in events if trial.seed == 0]
    end = mine[-1]
    reported = (Done, end.metrics["test_acc"]) if isinstance(end, Done) else (Failed, end.kind, end.reason)
    assert reported == outcome
    assert sum(isinstance(event, Done | Failed) for event in mine) == 1
    assert run_directory.history(make_trial(0), runs)[-1] == end
    assert isinstance(last_by_seed(events)[1], Done)


@pytest.mark.ray(shared=True)
def test_an_outcome_that_was_not_delivered_when_the_worker_died_is_not_trained_again(tmp_path):
    last = last_by_seed(
        on_ray(in_slot(DiesAfterDone(tmp_path)), [make_trial(0)], store=FolderStore(tmp_path / "r"), slot=Slot())
    )
    assert isinstance(last[0], Done)
    assert (tmp_path / "attempts").read_text() == "x"


class DiesAfterDone:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, config, directory):
        with (self.folder / "attempts").open("a") as file:
            file.write("x")
        yield started()
        yield from list(well(config, directory))[1:]
        os.kill(os.getpid(), 9)


@pytest.mark.ray
def test_embedded_ray_listens_on_loopback_only(tmp_path):
    listening, scripts = [], set()
    for _ in on_ray(in_slot(well), [make_trial(0)], store=FolderStore(tmp_path), slot=Slot()):
        sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
        import psutil  # comes with Ray, which is imported by now

        scripts = {Path(word).name for child in psutil.Process().children(recursive=True) for word in child.cmdline()}
        listening = [line.split()[3] for line in sockets.splitlines() if "ray" in line or "gcs_server" in line]
    assert listening
    assert all("127.0.0.1" in address for address in listening), listening
    assert "raylet" in scripts
    assert not scripts & {"dashboard.py", "log_monitor.py", "monitor.py"}  # nobody reads what they tell


@pytest.mark.ray
def test_embedded_ray_hands_out_what_the_container_allows_outlives_sigterm_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "cpus", lambda: 1)
    monkeypatch.setattr(container, "memory_bytes", lambda: 2**30)
    with private_ray(tmp_path / "ray.log") as ray:
        resources = ray.cluster_resources()
        import psutil  # Ray brings it along

        processes = [process for process in psutil.Process().children(recursive=True) if process.is_running()]
        for process in processes:
            process.terminate()  # as a batch system does, which sends SIGTERM to all of a job
        assert ray.get(ray.remote(lambda: 5).remote()) == 5
    psutil.wait_procs(processes, timeout=5)
    assert processes
    assert not [process for process in processes if process.is_running() and process.status() != "zombie"]
    assert resources["CPU"] == hardware.slots(1, 0, 1) == 1
    assert resources["memory"] == pytest.approx(0.7 * 2**30, rel=0.01)


class SlowRay:
    """A Ray whose processes are too slow the first `times` times."""

    def __init__(self, times):
        self.times, self.starts, self.shutdowns = times, 0, 0

    def init(self, **options):
        self.starts += 1
        if self.starts <= self.times:
            raise Exception("The current node timed out during startup. This could happen because ...")

    def shutdown(self):
        self.shutdowns += 1


def test_a_ray_that_comes_up_too_slowly_is_started_again():
    ray = SlowRay(2)
    embedded_ray._init(ray)
    assert (ray.starts, ray.shutdowns) == (3, 2)
    with pytest.raises(UsageError, match="dispatch=ray: Ray did not come up, 3 times; allowed: to say it again when"):
        embedded_ray._init(SlowRay(3))


@pytest.mark.ray(shared=True)
def test_a_slot_larger_than_the_machine_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match=r"dispatch.cpus_per_trial=4096: allowed: up to \d+"):
        list(on_ray(in_slot(well), [make_trial(0)], store=FolderStore(tmp_path), slot=Slot(cpus=4096)))


@pytest.mark.ray
def test_ray_says_nothing_on_the_terminal(tmp_path, capfd):
    list(on_ray(in_slot(Dies(tmp_path, "raises")), [make_trial(0)], store=FolderStore(tmp_path / "r"), slot=Slot()))
    assert capfd.readouterr() == ("", "")


def test_a_trial_that_another_process_works_on_is_put_off_and_its_result_taken_over(dispatch, trials, tmp_path):
    others = run_directory.attempt(well, trials[0], tmp_path)
    next(others)
    events = []
    for trial, event in dispatch(in_slot(well), trials[:3], store=FolderStore(tmp_path), slot=Slot()):
        events.append((trial, event))
        if sum(isinstance(event, Done) for _, event in events) == 2:
            list(others)  # the other one ends
    ended = [trial.seed for trial, event in events if isinstance(event, Done)]
    assert ended == [1, 2, 0] or ended == [2, 1, 0]
    assert [
        event for trial, event in events if trial.seed == 0 and not isinstance(event, Notice)
    ] == run_directory.history(trials[0], tmp_path)
    assert {line["attempt"] for line in event_log.lines(tmp_path / trials[0].trial_id / run_directory.LOG)} == {1}


def test_what_another_driver_saw_fail_meanwhile_is_told_and_not_tried_again(dispatch, trials, tmp_path):
    others = run_directory.attempt(raises_once_begun, trials[1], tmp_path)
    next(others)
    reported = []
    for trial, event in dispatch(in_slot(raises_on_seed_1), trials[:2], store=FolderStore(tmp_path), slot=Slot()):
        reported += [event] if trial.seed == 1 and not isinstance(event, Notice) else []
        if trial.seed == 0 and isinstance(event, Done):
            list(others)
    assert reported == run_directory.history(trials[1], tmp_path)
    assert {line["attempt"] for line in event_log.lines(tmp_path / trials[1].trial_id / run_directory.LOG)} == {1}


def raises_once_begun(config, directory):
    yield started()
    raise RuntimeError("no such thing")


def test_asked_to_stop_it_begins_no_further_trial(dispatch, trials, tmp_path):
    stop = tmp_path / "stop"
    ended = []
    for trial, event in dispatch(
        in_slot(Stops(stop)),
        [make_trial(seed) for seed in range(20)],
        store=FolderStore(tmp_path),
        slot=Slot(),
        should_stop=stop.exists,
    ):
        if isinstance(event, Done):
            ended.append(trial.seed)
            stop.touch()
    assert 1 <= len(ended) < 10


class Stops:
    def __init__(self, stop):
        self.stop = stop

    def __call__(self, config, directory):
        if self.stop.exists():
            raise Stopped
        yield from well(config, directory)


@pytest.mark.ray(shared=True)
def test_one_out_of_memory_is_tried_once_more_alone_when_the_others_are_through(tmp_path):
    trials = [make_trial(seed) for seed in range(4)]
    events = list(
        on_ray(in_slot(Hungry(tmp_path, needs_to_be_alone)), trials, store=FolderStore(tmp_path / "r"), slot=Slot())
    )
    ended = [(trial.seed, type(event)) for trial, event in events if isinstance(event, Done | Failed)]
    assert ended[-1] == (1, Done)
    assert sorted(seed for seed, _ in ended) == [0, 1, 2, 3]
    (notice,) = [event.text for _, event in events if isinstance(event, Notice)]
    assert notice == ("oom: MemoryError: no room; it is tried once more, alone, when the others are done")


@pytest.mark.ray(shared=True)
def test_out_of_memory_alone_is_a_result(tmp_path):
    trials = [make_trial(seed) for seed in range(3)]
    last = last_by_seed(
        on_ray(in_slot(Hungry(tmp_path, never_enough)), trials, store=FolderStore(tmp_path / "r"), slot=Slot())
    )
    assert (last[1].kind, last[1].reason, last[1].alone) == ("oom", "MemoryError: no room", True)
    assert [line["attempt"] for line in event_log.lines(tmp_path / "r" / trials[1].trial_id / run_directory.LOG)] == [
        1,
        1,
        2,
        2,
    ]
    assert isinstance(last[0], Done)


def needs_to_be_alone(others):
    return others == 3


def never_enough(others):
    return False


class Hungry:
    """On seed 1 there is not enough memory, unless `enough` says so of the number of others that are done.

    Seed 3 is not done before seed 1 was tried: the process of seed 1 may come up when the others are through.
    """

    def __init__(self, folder, enough):
        self.folder, self.enough = folder, enough

    def __call__(self, config, directory):
        tried = self.folder / "tried"
        if config["seed"] == 1:
            enough = self.enough(len(list(self.folder.glob("done*"))))
            tried.touch()
            if not enough:
                yield started()
                raise MemoryError("no room")
        while config["seed"] == 3 and not tried.exists():
            time.sleep(0.01)
        yield from well(config, directory)
        (self.folder / f"done{config['seed']}").touch()


@pytest.mark.ray(shared=True)
def test_out_of_memory_is_tried_once_more_alone_though_its_process_dies_before_it_can_say_so(tmp_path):
    run = DiesOutOfMemory(tmp_path)
    events = list(on_ray(in_slot(run), [make_trial(0)], store=FolderStore(tmp_path / "r"), slot=Slot()))
    assert [event.text for _, event in events if isinstance(event, Notice)] == [
        "oom: no room; it is tried once more, alone, when the others are done",
        "its worker process died; it is tried again",
    ]
    assert isinstance(events[-1][1], Done)
    assert (tmp_path / "attempts").read_text() == "xxx"


class DiesOutOfMemory:
    """The first process dies between its trial's log and the driver, the second before its trial has begun."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, config, directory):
        with (self.folder / "attempts").open("a") as file:
            file.write("x")
        attempts = len((self.folder / "attempts").read_text())
        if attempts == 1:
            yield started()
            run_directory.mark(make_trial(0), directory.parent, Failed(kind="oom", reason="no room"))
        if attempts < 3:
            os.kill(os.getpid(), 9)
        yield from well(config, directory)


@pytest.mark.ray
def test_a_process_that_ray_ends_for_memory_is_out_of_memory(tmp_path, monkeypatch):
    """Ray's monitor is told that nearly nothing may be used, so that it ends every process that runs."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    events = list(on_ray(in_slot(sits), [make_trial(0)], store=FolderStore(tmp_path), slot=Slot()))
    last = events[-1][1]
    assert (last.kind, last.alone) == ("oom", True)
    assert last.reason == "the machine's memory ran out, and Ray ended its process"
    logged = event_log.lines(tmp_path / make_trial(0).trial_id / run_directory.LOG)
    assert [line["alone"] for line in logged if line["event"] == "Failed"] == [False, True]


def sits(config, directory):
    yield started()
    time.sleep(60)


@pytest.mark.ray(shared=True)
def test_data_is_made_once_for_all_trials_and_only_what_differs_again(tmp_path):
    trials = [make_trial(seed, dataset={"name": name}) for seed in range(3) for name in ("a", "b")]
    made = Makes(tmp_path)
    last = list(
        on_ray(
            in_slot(uses_data), trials, store=FolderStore(tmp_path / "r"), slot=Slot(), options=RayOptions(data=made)
        )
    )
    ends = [event for _, event in last if isinstance(event, Done)]
    assert sorted(end.metrics["test_acc"] for end in ends) == [1.0] * 3 + [2.0] * 3
    assert sorted(path.name[0] for path in tmp_path.glob("*made")) == ["a", "b"]


@pytest.mark.ray(shared=True)
def test_data_that_cannot_be_made_fails_its_trials_with_the_reason(tmp_path):
    trials = [make_trial(0, dataset={"name": name}) for name in ("a", "damaged")]
    events = list(
        on_ray(
            in_slot(uses_data),
            trials,
            store=FolderStore(tmp_path / "r"),
            slot=Slot(),
            options=RayOptions(data=Makes(tmp_path)),
        )
    )
    failed = [event for _, event in events if isinstance(event, Failed)]
    assert [(failure.kind, failure.reason) for failure in failed] == [("error", "damaged: not a whole file")]


class Makes:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, config):
        name = config["dataset"]["name"]
        (self.folder / f"{name}{os.getpid()}made").touch()
        if name == "damaged":
            raise UsageError("damaged: not a whole file")
        return {"a": 1.0, "b": 2.0}[name]


def uses_data(config, directory, data):
    yield started()
    yield done(data())


@pytest.mark.ray
def test_every_process_is_warmed_before_its_first_trial(tmp_path):
    warm = Warms(tmp_path)
    trials = [make_trial(seed) for seed in range(6)]
    events = list(
        on_ray(
            in_slot(tells_process),
            trials,
            store=FolderStore(tmp_path / "r"),
            slot=Slot(),
            options=RayOptions(warm=warm),
        )
    )
    used = {event.reason for _, event in events}
    assert used <= {path.name for path in tmp_path.iterdir()}


class Warms:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self):
        time.sleep(0.5)
        (self.folder / str(os.getpid())).touch()


def tells_process(config, directory):
    yield Failed(kind="error", reason=str(os.getpid()))


def test_a_full_disk_is_nobodys_failure(dispatch, trials, tmp_path):
    with pytest.raises(DiskFull, match="No space left on device: "):
        list(dispatch(in_slot(fills_the_disk), trials, store=FolderStore(tmp_path), slot=Slot()))
    assert run_directory.outcome(trials[0], tmp_path) is None


def fills_the_disk(config, directory):
    yield started()
    raise OSError(errno.ENOSPC, "No space left on device")


GIB = 2**30


@pytest.mark.parametrize(
    ("slot", "needed", "requested"),
    [
        (Slot(1, 0), None, {"num_cpus": 1, "num_gpus": 0}),
        (Slot(1, 0), GIB, {"num_cpus": 1, "num_gpus": 0}),
        (Slot(1, 0), 5 * GIB, {"num_cpus": 1, "num_gpus": 0, "memory": 5 * GIB}),
        (Slot(1, 0), 99 * GIB, {"num_cpus": 1, "num_gpus": 0, "memory": 16 * GIB}),
        (Slot(1, 0.25), GIB, {"num_cpus": 1, "num_gpus": 0.25}),
        (Slot(1, 0.25), 4 * GIB, {"num_cpus": 1, "num_gpus": 0.4}),
        (Slot(1, 0.25), 99 * GIB, {"num_cpus": 1, "num_gpus": 1}),
        (Slot(1, 2), 99 * GIB, {"num_cpus": 1, "num_gpus": 2}),
    ],
)
def test_a_trial_is_given_its_slot_and_more_where_it_needs_more_memory(slot, needed, requested):
    machine = Machine(cpus=4, gpus=2, memory=16 * GIB, gpu_memory=10 * GIB)
    assert Machines([machine]).share(slot, needed) == requested


@pytest.mark.ray(shared=True)
def test_trials_that_fit_by_their_fraction_but_not_by_memory_do_not_run_together(tmp_path, monkeypatch):
    """Four at once by their share of the cores; two by memory."""
    real = Machines.of

    def with_two_cores(ray, gpu_memory):
        return Machines([dataclasses.replace(machine, cpus=2) for machine in real(ray, gpu_memory).each])

    monkeypatch.setattr(Machines, "of", with_two_cores)
    memory = []

    def half(trial):
        return int(0.45 * memory[0])

    monkeypatch.setattr(Machine, "slots", lambda self, slot: memory.append(self.memory) or 4)
    trials = [make_trial(seed) for seed in range(6)]
    run = in_slot(Counts(tmp_path))
    list(on_ray(run, trials, store=FolderStore(tmp_path / "r"), slot=Slot(cpus=0.5), options=RayOptions(bytes_of=half)))
    assert max(int(path.name) for path in (tmp_path / "most").iterdir()) == 2


class Counts:
    """Notes how many trials run at once; the first wait until it is two, and each for a third that should not come."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, config, directory):
        (self.folder / "now").mkdir(exist_ok=True)
        (self.folder / "most").mkdir(exist_ok=True)
        mine = self.folder / "now" / str(config["seed"])
        mine.touch()
        yield started()
        end = time.monotonic() + 30
        while self._now() < 2 and not (self.folder / "most" / "2").exists() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.5)
        (self.folder / "most" / str(self._now())).touch()
        mine.unlink()
        yield done()

    def _now(self):
        return len(list((self.folder / "now").iterdir()))
