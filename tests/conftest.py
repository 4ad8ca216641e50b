from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ablate.core import garbage
from ablate.dispatch import embedded_ray
from ablate.tracking import client
from tests.support import buckets
from tests.support.fakes import make_trial

MAKE_DATABASE = client._make_database
start_ray = embedded_ray.started

garbage.collect_seldom()


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With pytest-xdist one process runs all tests that start a Ray or a cluster, and the others run beside it.

    Two at a time would take each other's cores, and wait in vain. Tests that start a Ray in their process come first:
    Ray reads its token once in a process, and tests of addresses and jobs use Ray without one. Those that share one
    come before those that start their own.
    """
    for item in items:
        if item.get_closest_marker("ray") or item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group("ray"))
    items.sort(key=lambda item: (item.get_closest_marker("ray") is None, not shares_ray(item)))


def shares_ray(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("ray")
    return marker is not None and bool(marker.kwargs.get("shared"))


class SharedRay:
    """One embedded Ray for many tests: it takes seconds to start, and so does each of its processes."""

    def __init__(self) -> None:
        self.running = contextlib.ExitStack()
        self.ray: Any = None

    @contextlib.contextmanager
    def started(self) -> Iterator[Any]:
        """Yield its module, as `embedded_ray.started` does, and let it run on at the end."""
        self.ray = self.ray or self.running.enter_context(start_ray())
        yield self.ray

    def end(self) -> None:
        self.running.close()
        self.ray = None


SHARED_RAY = SharedRay()


@pytest.hookimpl(tryfirst=True)  # before the test's fixtures, which may start a Ray
def pytest_runtest_setup(item: pytest.Item) -> None:
    """There is one Ray in a process: the shared one ends before a test that does not share it."""
    if not shares_ray(item):
        SHARED_RAY.end()


def pytest_sessionfinish() -> None:
    SHARED_RAY.end()


@pytest.fixture(autouse=True)
def shared_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests marked `ray(shared=True)` run on one Ray. Its processes keep the environment and folder of its start."""
    if shares_ray(request.node):
        monkeypatch.setattr(embedded_ray, "started", SHARED_RAY.started)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database: it takes seconds to make one, and none to copy it."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MAKE_DATABASE(path)
    return path


@pytest.fixture(autouse=True)
def copied_databases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process a new MLflow database is a copy of an empty one, but for tests of how a database is made."""
    if request.node.get_closest_marker("makes_database"):
        return

    def copy(path: Path) -> None:
        if not path.exists() or not path.stat().st_size:
            shutil.copy(request.getfixturevalue("empty_mlflow"), path)

    monkeypatch.setattr(client, "_make_database", copy)


@pytest.fixture
def mlflow_db(folder: Path, empty_mlflow: Path) -> Path:
    """An empty working directory, but for MLflow's database."""
    return shutil.copy(empty_mlflow, folder / "mlflow.db")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 on loopback, which the environment names too."""
    with buckets.s3_server() as address:
        yield address


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty place in an object store."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return buckets.fresh_url(request.param)


@pytest.fixture
def trials():
    return [make_trial(seed) for seed in range(4)]


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A small folder in ImageNet's layout."""
    from tests.support.image_files import write_imagenet

    return write_imagenet(tmp_path / "imagenet")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A small folder of one's own images, by class index."""
    from tests.support.image_files import write_own

    return write_own(tmp_path / "own")


@pytest.fixture
def say(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Type a line: say("ablate.run", "-m", "bits=1,32") -> exit status, stdout, stderr; in this process.

    A report draws its figures once, for the page; a test marked `figures` has them as files of each kind.
    """
    from ablate import evaluate, export, run, studies, track
    from ablate import report as report_beside
    from analysis import report

    commands = {
        "ablate.run": run.main,
        "ablate.evaluate": evaluate.main,
        "ablate.export": export.main,
        "ablate.studies": studies.main,
        "ablate.track": track.main,
        "ablate.report": report_beside.main,
        "analysis.report": report.main,
    }

    def type_line(command: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [command, *words])
        monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist's workers have it
        capsys.readouterr()
        if command.endswith(".report") and not request.node.get_closest_marker("figures"):
            draw_for_the_page_alone(monkeypatch)
        with pytest.raises(SystemExit) as ended:
            commands[command]()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return type_line


def draw_for_the_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a line of text in place of each .png and .pdf: to draw them takes a quarter of a report's time."""
    from matplotlib.figure import Figure

    savefig = Figure.savefig

    def save(figure: Figure, target: Any, *args: Any, **options: Any) -> None:
        if isinstance(target, Path):
            target.write_text("drawn where a test is marked `figures`")
        else:
            savefig(figure, target, *args, **options)

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, folder: Path, say: Callable[..., tuple[int, str, str]]):
    """planned("bits=1,32") -> the Plan that the line with -m makes."""

    from ablate import run
    from ablate.planning import plan

    def make(*words: str) -> plan.Plan:
        made = []
        monkeypatch.setattr(run, "run", lambda typed: made.append(typed) or 0)
        monkeypatch.setattr(run.app, "main", lambda name, _, main=run.app.main, **kwargs: main(name, run.run, **kwargs))
        status, _, err = say("ablate.run", "-m", *words)
        assert status == 0, err
        return made[0]

    return make


PLANS_OF_PRESETS: dict[tuple[str, ...], Any] = {}


@pytest.fixture
def planned_preset(planned: Callable[..., Any]) -> Callable[..., Any]:
    """planned_preset("wr_table1", "scale=smoke") -> its Plan, made once for all tests of this process.

    Tests of all presets have the xdist_group "presets": they run in one process.
    """

    def make(name: str, *words: str) -> Any:
        if (name, *words) not in PLANS_OF_PRESETS:
            PLANS_OF_PRESETS[name, *words] = planned(f"preset={name}", *words)
        return PLANS_OF_PRESETS[name, *words]

    return make
