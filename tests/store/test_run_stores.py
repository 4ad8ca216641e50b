"""Studies whose run directories are in an S3 on loopback: workers die, other machines go on, nothing is done twice."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ablate import CONF, dispatch
from ablate.core.events import Done, Failed, Notice
from ablate.dispatch import Slot
from ablate.run import main as run_line
from ablate.store import event_log, leases, mirror, predictions, run_directory
from ablate.store.folder import FolderStore
from ablate.store.object_store import Objects
from ablate.store.opening import open_store
from ablate.store.text_log import logged
from ablate.tasks import image_classification
from ablate.training import build
from ablate.training.checkpoint_policy import CheckpointPolicy
from tests.support import buckets
from tests.support.fakes import TIMES, Dies, diverges_on_seed_two, in_slot, raises_on_seed_1, well
from tests.training.test_checkpoint import made, numbers

LINE = [
    *("-m", "norm=bn", "bits=1,32", "seeds=1", "depth=8", "width=3"),
    *("recipe.epochs=8", "checkpoint.every=1", "cost=false"),
]
EVERY_BATCH = CheckpointPolicy(minutes=1e-9, stop=Path("stop"))
BATCHES = 3
"""Of the tiny trial's epoch: it has 2, and a pass that re-estimates moments."""


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderStore(tmp_path / "runs")
    if request.param == "s3":
        request.getfixturevalue("s3")
    return open_store(buckets.fresh_url(request.param), tmp_path / "runs")


def tell(store, run, trials):
    """Events in process."""
    return list(dispatch.in_process(in_slot(run), trials, store=store, slot=Slot()))


def test_a_folder_and_an_object_store_tell_and_hold_the_same(store, trials):
    for run in (diverges_on_seed_two, raises_on_seed_1):
        events = tell(store, run, trials)
        for trial in trials:
            mine = [event for other, event in events if other.trial_id == trial.trial_id]
            assert mine == store.history(trial)
            assert json.loads((store.runs / trial.trial_id / "config.json").read_text()) == trial.config
    ends = list(store.outcomes(trials).values())
    assert [end.kind if isinstance(end, Failed) else end.metrics["test_acc"] for end in ends] == [0.9, 0.91, 0.92, 0.93]
    assert [
        {line["attempt"] for line in event_log.lines(store.runs / trial.trial_id / run_directory.LOG)}
        for trial in trials
    ] == [*({1}, {1}, {1, 2}, {1})]


def test_a_store_counts_the_attempts_that_ended(store, trials):
    assert set(store.ended_attempts(trials).values()) == {0}
    tell(store, raises_on_seed_1, trials[:2])
    assert [store.ended_attempts(trials)[trial.trial_id] for trial in trials] == [1, 1, 0, 0]
    known = store.ended_attempts(trials)[trials[1].trial_id]
    again = list(store.attempt(in_slot(well)(Slot()), trials[1], attempts_before=known - 1))
    assert isinstance(again[-1], Failed)
    assert isinstance(list(store.attempt(in_slot(well)(Slot()), trials[1], attempts_before=known))[-1], Done)


def test_what_every_attempt_printed_is_there_for_all(store, trials):
    trial = trials[1]
    assert store.text_log(trial.trial_id) is None
    for attempts in range(2):
        list(store.attempt(logged(raises_on_seed_1, "python"), trial, attempts_before=attempts))
    assert isinstance(store.outcome(trial), Failed)
    text = store.text_log(trial.trial_id).read_text()
    assert text.count("====\n") == 2
    assert text.count("RuntimeError: no such thing") == 2


def test_a_trial_that_is_stopped_goes_on_from_its_checkpoint_to_the_same_numbers(store, tmp_path):
    undisturbed = list(
        run_directory.attempt(
            functools.partial(image_classification.run, threads=1, device="cpu"), made(), tmp_path / "other"
        )
    )
    trained = []

    def stops(config, directory):
        """After two batches, as if asked to."""

        def look(real=build.recipe):
            def recipe(*arguments, **options):
                got = real(*arguments, **options)

                def augment(images, draws, counted=got.augment):
                    trained.append(directory)
                    if len(trained) == 2:
                        (directory / "stop").touch()
                    return counted(images, draws)

                return type(got)(**{**vars(got), "augment": augment})

            return recipe

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "recipe", look())
            patch.setattr("ablate.training.checkpoint.SECONDS_BETWEEN_LOOKS", 0)
            yield from image_classification.run(config, directory, threads=1, device="cpu", policy=EVERY_BATCH)

    assert not any(isinstance(event, Done) for event in store.attempt(stops, made()))
    if isinstance(store, FolderStore):
        (store.runs / made().trial_id / "stop").unlink()
    assert numbers(store.attempt(stops, made())) == numbers(undisturbed)
    assert len(trained) == 3 * BATCHES


class Counted:
    """The real trial, killed -9 at its fifth batch once a checkpoint is stored; each batch is counted in `folder`."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url

    def __call__(self, config, directory):
        real = build.recipe
        brought = (directory / run_directory.CHECKPOINTS[0]).exists()
        with (self.folder / "brought").open("a") as file:
            file.write(f"{brought}\n")

        def recipe(*arguments, **options):
            got = real(*arguments, **options)

            def augment(images, draws):
                with (self.folder / "batches").open("a") as file:
                    file.write(f"{brought}\n")
                if not brought and len((self.folder / "batches").read_text().splitlines()) == 5:
                    self.die_once_stored(directory)
                return got.augment(images, draws)

            return type(got)(**{**vars(got), "augment": augment})

        build.recipe = recipe
        try:
            yield from image_classification.run(config, directory, threads=1, device="cpu", policy=EVERY_BATCH)
        finally:
            build.recipe = real

    def die_once_stored(self, directory):
        """Four batches are in the checkpoint here; the object is that very file."""
        here = directory / run_directory.CHECKPOINTS[0]
        there = Objects(self.url)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if there.read(f"{directory.name}/000001/checkpoint.pt") == here.read_bytes():
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05)


@pytest.mark.ray
def test_a_worker_killed_mid_training_goes_on_from_the_batch_of_the_stored_checkpoint(tmp_path, s3):
    undisturbed = list(
        run_directory.attempt(
            functools.partial(image_classification.run, threads=1, device="cpu"), made(), tmp_path / "other"
        )
    )
    store = open_store(buckets.fresh_url("s3"), tmp_path / "runs")
    run = in_slot(Counted(tmp_path, store.url))
    events = [event for _, event in dispatch.on_ray(run, [made()], store=store, slot=Slot())]
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "its worker process died; it is tried again"
    ]
    assert (tmp_path / "brought").read_text().split() == ["False", "True"]
    batches = (tmp_path / "batches").read_text().split()
    assert (batches.count("False"), batches.count("True")) == (5, 3 * BATCHES - 4)
    assert numbers(store.history(made())) == numbers(undisturbed)
    assert sum(isinstance(event, Done) for event in events) == 1


@pytest.mark.ray
def test_a_worker_that_dies_too_often_is_lost_there_too(tmp_path, s3, trials):
    store = open_store(buckets.fresh_url("s3"), tmp_path / "runs")
    run = in_slot(Dies(tmp_path, "dies again"))
    reported = dispatch.on_ray(run, trials[:2], store=store, slot=Slot(), max_lost=1)
    last = {trial.seed: event for trial, event in reported}
    assert (last[0].kind, type(last[1])) == ("lost", Done)
    elsewhere = open_store(store.url, tmp_path / "elsewhere")
    assert elsewhere.outcome(trials[0]) == last[0]


def environment(**settings):
    return {**os.environ, "PYTHONPATH": str(CONF.parent), "COLUMNS": "200", **settings}


def typed_elsewhere(*words, **settings):
    """In a process of its own, which has no connection yet."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, env=environment(**settings), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def started(*line):
    """A driver in a process of its own, which says what it says in told.txt, and ends with this."""
    with Path("told.txt").open("w") as output:
        command = [sys.executable, "-m", "ablate.run", *line]
        driver = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment())
        try:
            yield driver
        finally:
            driver.kill()
            driver.wait()


def working_with_a_checkpoint(url, seconds=240):
    """The first trial that is trained on and has a checkpoint stored, and the process that is at it."""
    there, end = Objects(url), time.monotonic() + seconds
    while time.monotonic() < end:
        for name in [object_name for object_name in there.names() if object_name.endswith("/000001/checkpoint.pt")]:
            log = (there.read(name.replace("checkpoint.pt", run_directory.LOG)) or b"").decode().splitlines()
            if log and '"Done"' not in log[-1]:
                return name.partition("/")[0], json.loads(log[0])["pid"]
        time.sleep(0.05)
    raise AssertionError("no checkpoint was stored")


def kill_a_worker(url):
    """kill -9 a process that is at a trial whose checkpoint is stored; return the trial's id."""
    trial_id, pid = working_with_a_checkpoint(url)
    os.kill(pid, signal.SIGKILL)
    return trial_id


def results(runs):
    by_trial = {}
    for log in sorted(Path(runs).glob("t*/events.jsonl")):
        lines = event_log.lines(log)
        assert [line["event"] for line in lines].count("Done") == 1
        assert sorted(line["epoch"] for line in lines if line["event"] == "Epoch") == list(range(1, 9))
        metrics = [line["metrics"] for line in lines if "metrics" in line]
        kept = [
            {name: value for name, value in values.items() if name not in (*TIMES, "train_s")} for values in metrics
        ]
        mirror.bring_predictions(log.parent)
        by_trial[log.parent.name] = kept, predictions.load(log.parent)
    return by_trial


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the line gives in a folder, in this process."""
    runs = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ablate.run", *LINE, "track=off", f"runs={runs}", "dispatch=in_process"])
        with pytest.raises(SystemExit) as ended:
            run_line()
    assert ended.value.code == 0
    return results(runs)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_in_an_object_store_survives_a_kill_and_goes_on_from_any_machine(folder, say, s3, undisturbed):
    url = buckets.fresh_url("s3")
    there = f"storage={url}"
    with started(*LINE, "track=off", there) as driver:
        killed = kill_a_worker(url)
        assert driver.wait(400) == 0, Path("told.txt").read_text()
    assert "its worker process died; it is tried again" in Path("told.txt").read_text()
    assert results("runs") == undisturbed
    assert f"{killed}/claims/000002.json" in Objects(url).names()
    assert not [name for name in Objects(url).names() if "checkpoint" in name]

    status, out, err = say("ablate.studies", "study=digits-bits")
    assert (status, err) == (0, "")
    assert [row.split()[1:] for row in out.splitlines() if row.split()[:1] in (["1"], ["32"])] == [
        ["1", "0", "0", "0"]
    ] * 2
    status, out, err = typed_elsewhere("ablate.run", *LINE, "track=off", there, "runs=elsewhere", "dispatch=in_process")
    assert (status, err) == (0, "")
    assert "Nothing to train: every trial had its outcome already." in out
    assert results("elsewhere") == undisturbed

    assert not list(Path("elsewhere").glob("t*/weights.pt"))
    status, out, err = say("ablate.evaluate", f"trial={killed}", "runs=elsewhere")
    assert (status, err) == (0, "")
    (acc,) = {end["test_acc"] for end in results("elsewhere")[killed][0] if "test_acc" in end}
    assert f"test accuracy {100 * acc:.2f}%" in out

    status, out, err = say("ablate.studies", "remove=digits-bits", "yes=true", "runs=elsewhere")
    assert (status, err) == (0, "")
    assert not [name for name in Objects(url).names() if not name.startswith("stops/")]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_asked_to_stop_it_stores_a_checkpoint_gives_the_claim_back_and_goes_on_elsewhere(folder, say, s3, undisturbed):
    url = buckets.fresh_url("s3")
    with started(*LINE, "track=off", "dispatch=in_process", f"storage={url}") as driver:
        trial_id = working_with_a_checkpoint(url)[0]
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130, Path("told.txt").read_text()
    there = Objects(url)
    assert there.read(f"{trial_id}/claims/000001.beat") == leases.OVER
    assert f"{trial_id}/000001/checkpoint.pt" in there.names()
    assert not [name for name in there.names() if name.startswith("stops/")]
    again = ("ablate.run", *LINE, "track=off", "dispatch=in_process", f"storage={url}", "runs=elsewhere")
    assert say(*again)[0] == 0
    assert f"{trial_id}/claims/000002.json" in there.names()
    assert results("elsewhere") == undisturbed


MISTAKES = [
    ("storage=nowhere", "storage=nowhere: no URL; allowed: s3://BUCKET/PREFIX"),
    ("storage=gopher://there/x", "no such protocol as gopher://; allowed: s3://BUCKET/PREFIX"),
    ("storage=http://there/x", "put-if-absent, which is not known to work at http://; allowed: s3://BUCKET/PREFIX"),
    ("storage=file:///there", "allowed: s3://BUCKET/PREFIX; for a folder, runs=FOLDER"),
    ("storage='s3://me:hush@bucket/x'", "no user, password or question mark; allowed: s3://BUCKET/PREFIX, with"),
    ("storage=s3://nobucket/x", "storage=s3://nobucket/x: there is no such bucket; allowed: s3://BUCKET/PREFIX that"),
]


def one_line(status, out, err):
    assert (status, err.count("\n")) == (2, 1), err
    assert not any(secret in out + err for secret in ("hush", "testing-secret", "Traceback"))
    assert not Path("runs").exists()
    return err


@pytest.mark.parametrize(("words", "message"), MISTAKES)
@pytest.mark.parametrize("mode", ["run", "plan"])
def test_a_mistake_is_one_line_before_anything_starts(say, folder, s3, words, message, mode):
    assert message in one_line(*say("ablate.run", words, f"mode={mode}", "track=off", "dispatch=in_process"))


def typed(**settings):
    return one_line(*typed_elsewhere("ablate.run", "storage=s3://ablate/x", "track=off", **settings))


def test_an_s3_that_nobody_answers_at_is_one_line(folder, s3):
    message = typed(AWS_ENDPOINT_URL="http://me:hush@127.0.0.1:9")
    assert message.startswith("storage=s3://ablate/x: it does not answer (")


def test_an_s3_that_refuses_the_credentials_is_one_line(folder, s3):
    def refuse_after(actions):
        request = urllib.request.Request(
            f"{s3}/moto-api/reset-auth", str(actions).encode(), {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()

    refuse_after(0)
    try:
        assert "storage=s3://ablate/x: access denied (" in typed()
    finally:
        refuse_after("inf")


def test_no_credentials_at_all_are_one_line(folder, s3):
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    message = typed(**none, AWS_SHARED_CREDENTIALS_FILE="/nowhere", AWS_CONFIG_FILE="/nowhere")
    assert "no credentials found in the environment (AWS_...), ~/.aws" in message


def test_a_missing_driver_package_is_one_line(folder, s3):
    Path("hidden").mkdir()
    Path("hidden/s3fs.py").write_text("raise ImportError('no s3fs')")
    message = typed(PYTHONPATH=f"hidden{os.pathsep}{CONF.parent}")
    assert "its package is not installed; allowed: after pip install s3fs" in message
