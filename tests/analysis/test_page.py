from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from analysis.effects import contrasts
from analysis.findings import find
from analysis.rendering import page, sentences
from analysis.sources.measure import Measure
from analysis.sources.runs import Runs
from tests.support.frames import rows

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PDFLATEX = shutil.which("pdflatex")


def study(*, seeds=3, datasets=("digits",), widths=(2,), bits=(1, 32), failed=()):
    rng = np.random.default_rng(5)
    return rows(
        *(
            (
                {"norm": norm, "dataset": dataset, "width": width, "bits": bit, "peak_bytes": 1e8 * width},
                seed,
                "diverged"
                if (norm, bit) in failed
                else 0.8 + (norm == "bn") * bit / 3200 + width / 200 + 0.002 * rng.normal(),
            )
            for dataset in datasets
            for norm in ("bn", "srelu")
            for width in widths
            for bit in bits
            for seed in range(seeds)
        ),
        factors=[
            "norm",
            *(("dataset",) if len(datasets) > 1 else ()),
            *(("width",) if len(widths) > 1 else ()),
            "bits",
        ],
    )


STUDIES = {
    "4 cells": study(),
    "one seed": study(seeds=1),
    "60 cells": study(datasets=("digits", "mnist", "svhn"), widths=(1, 2, 4, 10, 20), bits=(1, 2, 4, 32)),
    "failed cells": study(failed=[("srelu", 1)]),
    "nothing done": study(failed=[(norm, bit) for norm in ("bn", "srelu") for bit in (1, 32)]),
}


def written(runs: Runs, folder: Path) -> Path:
    chosen = contrasts.choose_contrasts(runs)
    findings = find(runs, chosen, equivalence_pp=0.5)
    page.write(
        findings, sentences.sentences(findings), sentences.warnings(findings, contrasts.left_out(runs, chosen)), folder
    )
    return folder


def browse(file: Path, profile: Path) -> tuple[list[str], list[str]]:
    """Return a browser's console messages, and the addresses that it requests beside the file."""
    log = profile / "net.json"
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", f"--log-net-log={log}"),
            *("--virtual-time-budget=2000", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "<h1>" in done.stdout
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    requested = re.findall(r'"url":"((?:https?|ftp|wss?)://[^"]*)"', log.read_text())
    return console, [url for url in requested if "google" not in url]  # its own housekeeping


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
@pytest.mark.parametrize("name", STUDIES)
def test_the_page_causes_no_console_message_and_no_request(name, tmp_path):
    assert browse(written(STUDIES[name], tmp_path) / "index.html", tmp_path) == ([], [])


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_the_browser_check_notices_a_request(tmp_path):
    file = written(STUDIES["one seed"], tmp_path) / "index.html"
    file.write_text(file.read_text().replace("<h1>", '<img src="http://192.0.2.1/x.png"><h1>'))
    assert browse(file, tmp_path)[0]  # its own policy forbids it
    file.write_text(re.sub("<meta http-equiv=.*?>", "", file.read_text()))
    assert set(browse(file, tmp_path)[1]) == {"http://192.0.2.1/x.png"}


@pytest.mark.skipif(not PDFLATEX, reason="needs pdflatex and booktabs")
@pytest.mark.parametrize("name", STUDIES)
def test_the_latex_tables_compile(name, tmp_path):
    tables = sorted(written(STUDIES[name], tmp_path).glob("*.tex"))
    assert {table.stem for table in tables} >= {"accuracies", "costs", "margins"}
    inputs = "\n".join(rf"\input{{{table.name}}}" for table in tables)
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(text)
    line = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "all.log").read_text(errors="replace")


def test_latex_special_characters_are_escaped(tmp_path):
    runs = rows(
        *(({"norm": norm}, seed, 0.9 + seed / 100) for norm in ("a_b", "50%&c") for seed in range(2)), factors=["norm"]
    )
    assert r"a\_b" in (written(runs, tmp_path) / "margins.tex").read_text()


def test_the_json_holds_every_number_and_no_nan(tmp_path):
    numbers = json.loads((written(STUDIES["failed cells"], tmp_path) / "report.json").read_text())
    assert [(row["bits"], row["n"], row["verdict"]) for row in numbers["margins"]] == [
        (1, 0, "no margin"),
        (32, 3, "first better"),
    ]
    assert numbers["margins"][1]["first_runs"] == "r3 r4 r5"
    assert numbers["equivalence_pp"] == 0.5
    assert {importance["factor"] for importance in numbers["accuracy_importance"]} == {"norm", "bits"}
    assert numbers["outcomes"] == {"done": 9, "diverged": 3}


def test_each_margin_names_its_runs_and_their_code(tmp_path):
    html = (written(STUDIES["4 cells"], tmp_path) / "index.html").read_text()
    assert re.search(r'<tr title="bits 1: n = 3; code 1; seed 0: [+-]\d\.\d\d \(bn r0, srelu r6\); ', html)


def test_tables_show_failed_cells_and_how_their_trials_ended(tmp_path):
    html = (written(STUDIES["failed cells"], tmp_path) / "index.html").read_text()
    assert "norm=srelu: 3 diverged" in html
    assert "0 of 3" in html
    assert "no margin" in html


def test_html_in_a_level_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    runs = rows(*(({"norm": norm}, 0, 0.9) for norm in ("bn", evil)), factors=["norm"])
    assert evil not in (written(runs, tmp_path) / "index.html").read_text()


def test_a_measure_other_than_accuracy_has_neither_percent_nor_points(tmp_path):
    runs = dataclasses.replace(study(), measure=Measure("loss", "", "", lower_is_better=True), kind="others")
    html = (written(runs, tmp_path) / "index.html").read_text()
    assert '<th class="number">margin</th>' in html
    assert "(pp)" not in html.partition("<body>")[2]
