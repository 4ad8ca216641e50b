"""A report says how its numbers were made, and what of that is not recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest

from ablate.core.events import Started
from ablate.tracking.client import connect
from analysis.rendering import report_folder
from analysis.sources import studies
from tests.analysis.test_report import make_study
from tests.support.fakes import well
from tests.support.reports import folder_of, numbers_of

GIT = {"commit": "0123456789abcdef", "changed": ["arms.py"], "untracked": [], "diff": "git-1.diff", "note": ""}
REQUEST = {
    "command": "python -m ablate.run -m norm=bn,srelu 'study=<b>' recipe.epochs=3",
    "dates": ["2026-01-01T09:00:00+01:00", "2026-01-02T09:00:00+01:00"],
    "user": "mia",
    "host": "laptop",
    "git": GIT,
    "versions": {"ablate": "0.1.0", "python": "3.12.1"},
    "data": {},
}
MACHINE = {"cpu": "EPYC", "python": "3.12.1", "torch": "2.9"}


def on_a_machine(config, directory):
    for event in well(config, directory):
        yield dataclasses.replace(event, machine=MACHINE) if isinstance(event, Started) else event


def text_of(name):
    page = (folder_of(name) / "index.html").read_text().partition("<body>")[2]
    return " ".join(re.sub("<[^>]+>", " ", page).split())


def test_the_report_has_requests_machines_and_fixed_settings(folder, say):
    make_study(on_a_machine, folder, metadata={"requests": [REQUEST]})
    assert say("analysis.report")[0] == 0
    made = numbers_of("mine")["provenance"]
    assert made["requests"] == [REQUEST]
    assert made["fixed"] == {"recipe.epochs": 3}
    assert made["not_recorded"] == []
    (machine,) = made["trials_ran_on"]
    assert machine.items() >= {"trials": 12, **MACHINE, "device": "cpu", "threads": "1"}.items()
    assert machine["hosts"] == {"here": 12}
    assert made["report"].keys() >= {"command", "date", "user", "host", "versions"}
    assert "requests" not in numbers_of("mine")["terms"]


def test_the_page_shows_them_to_people(folder, say):
    make_study(on_a_machine, folder, metadata={"requests": [REQUEST]})
    say("analysis.report")
    text = text_of("mine")
    assert "Held fixed: recipe.epochs=3." in text
    assert "study=&lt;b&gt;" in text
    assert "2026-01-01 09:00:00 +01:00, and 1 time more until 2026-01-02 09:00:00 +01:00, mia on laptop" in text
    assert "git commit 0123456789ab with changes in arms.py (kept as code/git-1.diff in the runs folder)" in text
    assert "12 trials on here" in text
    assert "EPYC; device cpu; 1 thread; python 3.12.1, torch 2.9" in text
    assert "Not recorded" not in text
    assert "- `python -m ablate.run -m norm=bn,srelu 'study=<b>'" in (folder_of("mine") / "provenance.md").read_text()


def test_what_an_earlier_release_did_not_record_is_named(folder, say):
    make_study(well, folder)
    assert say("analysis.report")[0] == 0
    assert numbers_of("mine")["provenance"]["not_recorded"] == [
        "the command lines, their dates and users, and the state of the code",
        "hardware and library versions of 12 trials",
    ]
    assert "Not recorded" in text_of("mine")


def write_csv(path="runs.csv", accuracies=(0.9, 0.8)):
    rows = [f"{norm},{seed},{acc + seed / 100}" for norm, acc in zip("ab", accuracies, strict=True) for seed in (0, 1)]
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text("\n".join(["norm,seed,acc", *rows]) + "\n")


CSV = ("source=csv", "metric=acc", "factors=[norm]")


def test_a_csv_is_named_with_its_hash_and_date(folder, say):
    write_csv()
    assert say("analysis.report", *CSV, "path=runs.csv")[0] == 0
    (file,) = numbers_of("runs")["provenance"]["files"]
    assert file["sha256"] == hashlib.sha256(Path("runs.csv").read_bytes()).hexdigest()
    assert (file["path"], file["modified"][:2]) == ("runs.csv", "20")
    assert "Read from runs.csv, written 20" in text_of("runs")


def test_a_report_of_other_options_leaves_the_default_one_alone(folder, say):
    make_study(well, folder)
    say("analysis.report")
    default = Path("reports/mine/report.json").read_bytes()
    other = ("contrast.factor=bits", "contrast.levels=[32,1]", "equivalence=0.3")
    for _ in range(2):
        assert "Report: reports/mine+contrast=bits,32,1+equivalence=0.3/" in say("analysis.report", *other)[1]
    assert "Report: reports/mine+metric=train_acc/" in say("analysis.report", "metric=train_acc")[1]
    assert Path("reports/mine/report.json").read_bytes() == default
    assert len(list(Path("reports").iterdir())) == 3
    options = [json.loads(path.read_text())["options"] for path in sorted(Path("reports").glob("*/report.json"))]
    assert sorted(options, key=len) == [
        {},
        {"metric": "train_acc"},
        {"contrast": ["bits", 32, 1], "equivalence": 0.3},
    ]
    client = connect("sqlite:///mlflow.db")
    parent = studies.read(client, "mine").parent_run_id
    copies = {file.path for file in client.list_artifacts(parent) if file.is_dir}
    assert copies >= {"report", "report+contrast=bits,32,1+equivalence=0.3", "report+metric=train_acc"}


@pytest.mark.parametrize("word", ["metric=test_acc", "equivalence=0.5", "claims=false", "out=reports"])
def test_an_option_at_what_the_report_takes_anyway_is_no_other_report(folder, say, word):
    make_study(well, folder, seeds=1)
    assert "Report: reports/mine/index.html" in say("analysis.report", word)[1]


def test_two_files_of_one_name_have_a_report_each(folder, say):
    paths = ("a/runs.csv", "b/runs.csv")
    for path, accuracies in zip(paths, ((0.9, 0.8), (0.7, 0.6)), strict=True):
        write_csv(path, accuracies)
    lines = [say("analysis.report", *CSV, f"path={path}")[1].splitlines()[-1] for path in (*paths, *paths)]
    assert lines[:2] == lines[2:]
    assert lines[0] == "Report: reports/runs+metric=acc+factors=norm/index.html"
    assert re.fullmatch(r"Report: reports/runs\+metric=acc\+factors=norm-[0-9a-f]{8}/index.html", lines[1])


def test_a_name_is_short_and_safe():
    assert report_folder.named("s", {"contrast": ["a/b", "c d", "*"]}) == "s+contrast=a_b,c_d,_"
    assert len(report_folder.named("s", {"factors": ["f" * 300]})) <= report_folder.MOST_BYTES
