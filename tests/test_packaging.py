from __future__ import annotations

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ablate import CONF

SHELLS = [f"ablate/cli/shells/ablate.{shell}" for shell in ("bash", "zsh", "fish")]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which a wheel of this checkout was unpacked, as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(CONF.parent)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-m ablate.run -m norm=bn,srelu bits=1,32 mode=plan", "study digits-bits-norm: 4 cells, 12 trials"),
        ("-m analysis.report source=published", "Report: reports/published/index.html"),
        ("-m ablate.evaluate --help", "python -m ablate.evaluate weights=CIFAR10_allparams.mat"),
        ("-m ablate studies --help", "ablate studies study=digits-bits-norm"),
        ("-m ablate completion zsh", "compdef _ablate ablate"),
    ],
)
def test_a_wheel_works_from_any_folder(site, folder, line, expected):
    done = subprocess.run(
        [sys.executable, "-P", *line.split()],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_a_wheel_makes_the_script_ablate(site):
    (file,) = site.glob("ablate-*.dist-info/entry_points.txt")
    scripts = configparser.ConfigParser()
    scripts.read(file)
    assert dict(scripts["console_scripts"]) == {"ablate": "ablate.__main__:main"}


def test_a_wheel_holds_what_the_project_needs_and_nothing_else(site):
    tops = {path.relative_to(site).parts[0] for path in site.rglob("*") if path.is_file()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"ablate", "analysis", "hydra_plugins"}
    for needed in (
        "ablate/conf/config.yaml",
        "analysis/published.csv",
        "analysis/rendering/templates/report.html",
        *SHELLS,
    ):
        assert (site / needed).is_file()
