from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from ablate.core.events import Epoch
from ablate.core.study import Study
from ablate.store import run_directory
from ablate.store.folder import FolderStore
from ablate.tracking.client import connect
from ablate.tracking.tracker import Tracker
from analysis.rendering import page
from analysis.sources import published as printed_numbers
from tests.support.fakes import EPOCHS, diverges_on_seed_two, done, make_trial, started, well
from tests.support.plain_user import plain_user
from tests.support.reports import folder_of

GAPS = {
    ("cifar10", "bn_fixed"): 0.37,
    ("cifar10", "srelu"): -0.86,
    ("cifar100", "bn_fixed"): 1.19,
    ("cifar100", "srelu"): 0.96,
}
GOLDEN = {("cifar10", 32): 0.96, ("cifar10", 1): -0.27, ("cifar100", 32): 3.65, ("cifar100", 1): 3.42}


def make_study(run, folder, name="mine", seeds=3, factors=("norm", "bits"), contrast=None, metadata=None):
    levels = {"norm": ["bn", "srelu"], "bits": [1, 32]}
    trials = [make_trial(seed, norm=n, bits=b) for n in levels["norm"] for b in levels["bits"] for seed in range(seeds)]
    study = Study(
        name, {factor: levels[factor] for factor in factors}, trials, contrast=contrast, metadata=metadata or {}
    )
    tracker = Tracker("sqlite:///mlflow.db", study, store=FolderStore(folder / "runs"))
    for trial in trials:
        for event in run_directory.attempt(run, trial, folder / "runs"):
            tracker.record(trial, event)
    assert tracker.close() is None


def published(path):
    table = pd.read_csv(path)
    return {(row.dataset, row.bits): round(row.margin_pp, 2) for row in table.itertuples()}


def test_the_papers_margins_come_out_of_its_printed_numbers(folder, say):
    status, out, err = say("analysis.report", "source=published")
    assert (status, err) == (0, "")
    assert published(folder_of("published") / "margins.csv") == GOLDEN
    assert all(f"{value:+.2f}" in out for value in (*GOLDEN.values(), *GAPS.values()))
    gaps = pd.read_csv(folder_of("published") / "gaps.csv")
    code = gaps[gaps["source"].str.startswith("authors' code")]
    assert {(row.dataset, row.norm): round(row.margin_pp, 2) for row in code.itertuples()} == GAPS
    assert "a: epochs 254 against 300" in out
    assert not Path("reports/published/claims.csv").exists()
    assert not re.search("claims|Claim", out + Path("reports/published/index.html").read_text().partition("<body>")[2])


def test_the_papers_gap_between_bit_depths_pools_neither_epochs_nor_crops(folder, say):
    status, _, err = say("analysis.report", "source=published", "contrast.factor=bits")
    assert (status, err) == (0, "")
    table = pd.read_csv(folder_of("published") / "margins.csv")
    assert (table["n"] == 1).all()
    imagenet = table[table["dataset"] == "imagenet"]
    assert dict(zip(imagenet["crops"], imagenet["margin_pp"].round(2), strict=True)) == {1: -4.11, 25: -3.05}
    assert table.loc[table["dataset"] == "mnist", "epochs"].tolist() == [6]


def test_a_changed_number_moves_its_margin_and_no_other(folder, say):
    text = printed_numbers.PUBLISHED.read_text()
    changed = re.sub(r"(code-c10-1-bn,.*top1_acc_pct,)96\.25", r"\g<1>97.25", text)
    assert changed != text
    Path("copy.csv").write_text(changed)
    say("analysis.report", "source=published", "path=copy.csv")
    assert published(folder_of("published") / "margins.csv") == GOLDEN | {("cifar10", 1): 0.73}


@pytest.mark.figures
def test_a_report_holds_page_tables_and_figures(folder, say):
    make_study(diverges_on_seed_two, folder)
    status, out, err = say("analysis.report")
    assert (status, err) == (0, "")
    assert "Report: reports/mine/index.html" in out
    names = {path.name for path in Path("reports/mine").iterdir()}
    assert names == {
        "index.html",
        "report.json",
        "provenance.md",
        "trials.csv",
        *(f"{table}.{kind}" for table in ("margins", "levels", "gaps", "accuracies") for kind in ("csv", "md", "tex")),
        *(
            f"{figure}.{kind}"
            for figure in ("margins", "levels", "gaps", "importance", "curves")
            for kind in ("svg", "png", "pdf")
        ),
    }
    page = (folder_of("mine") / "index.html").read_text()
    assert "<svg" in page
    assert "12 trials: 8 done, 4 diverged." in page
    assert "the training loss is nan in epoch 1" in page
    assert not re.search(r"(src|href)=.https?:", page)
    latex = (folder_of("mine") / "margins.tex").read_text()
    assert "\\toprule" in latex
    assert "95\\% interval" in latex
    assert "| bits" in (folder_of("mine") / "margins.md").read_text()


def restarts_twice(config, directory):
    """Yield a trial's events. Batch norm takes 2 s per epoch, shifted ReLU 1 s; cycles end at epochs 2 and 3."""
    yield started()
    for number in range(1, EPOCHS + 1):
        restart = {"restart_test_acc": 0.5 + number / 10} if number > 1 else {}
        second = (2 if config["norm"] == "bn" else 1) + config["seed"] / 100
        yield Epoch(epoch=number, metrics={"train_acc": 0.5, "train_s": second, **restart})
    yield done(0.9 + config["seed"] / 100 + (config["norm"] == "bn") * (5 + config["seed"]) / 1000)


@pytest.mark.parametrize(("metadata", "words"), [({"paper": "arXiv 1907.06916"}, ()), (None, ("claims=true",))])
def test_a_study_of_the_papers_rules_on_each_claim(folder, say, metadata, words):
    make_study(restarts_twice, folder, metadata=metadata)
    status, out, err = say("analysis.report", *words)
    assert (status, err) == (0, "")
    assert "Claim 3, training speed: confirmed. Shifted ReLU is cheaper in speed" in out
    assert "Claim 4, not tested. Batch norm is problematic" in out
    page = (folder_of("mine") / "index.html").read_text()
    assert "an epoch&#39;s training time of srelu 0.50 times bn&#39;s" in page
    assert "<code>python -m ablate.run -m preset=sb_small_batch</code> tests it." in page
    assert "No trial of this study has the data, network and recipe of a number that the papers printed." in page
    assert "52 printed numbers without a trial here" in page
    assert "The claims of arXiv 1907.06916" in page


@pytest.mark.parametrize(("metadata", "words"), [({"paper": "arXiv 1907.06916"}, ("claims=false",)), (None, ())])
def test_under_another_study_the_papers_claims_do_not_appear(folder, say, metadata, words):
    make_study(restarts_twice, folder, metadata=metadata)
    _, out, _ = say("analysis.report", *words)
    page = (folder_of("mine") / "index.html").read_text().partition("<body>")[2]
    assert not re.search("[Cc]laim|1907.06916", out.replace("+claims=false", "") + page)


@pytest.mark.figures
def test_test_accuracy_at_restarts_is_drawn_where_runs_have_several(folder, say):
    make_study(restarts_twice, folder, seeds=1)
    say("analysis.report")
    assert (folder_of("mine") / "restarts.png").stat().st_size > 0
    assert "Test accuracy at each restart" in (folder_of("mine") / "index.html").read_text()


def test_a_studys_own_contrast_is_the_one_reported(folder, say):
    make_study(well, folder, seeds=1, contrast=("bits", [32, 1]))
    assert say("analysis.report")[1].startswith("study mine, bits: 32 minus 1")
    assert say("analysis.report", "contrast.factor=norm")[1].startswith("study mine, norm: bn minus srelu")


def test_mlflow_keeps_the_report_with_the_study(folder, say):
    from mlflow.tracking import MlflowClient

    make_study(well, folder)
    say("analysis.report")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (parent,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id], "tags.kind = 'study'")
    assert "report/index.html" in {item.path for item in client.list_artifacts(parent.info.run_id, "report")}


def test_trials_from_before_a_key_count_with_the_value_they_had_in_effect(folder, say):
    older = [make_trial(0, norm="bn", bits=1)]
    older = [dataclasses.replace(trial, params={**trial.params, "dataset.root": "data"}) for trial in older]
    newer = [make_trial(0, norm="srelu", bits=1)]
    newer = [dataclasses.replace(trial, params={**trial.params, "model.residual": True}) for trial in newer]
    study = Study("mine", {"norm": ["bn", "srelu"]}, [*older, *newer])
    tracker = Tracker("sqlite:///mlflow.db", study, store=FolderStore(folder / "runs"))
    for trial in study.trials:
        for event in run_directory.attempt(well, trial, folder / "runs"):
            tracker.record(trial, event)
    assert tracker.close() is None
    assert say("analysis.report")[0] == 0
    table = pd.read_csv(folder_of("mine") / "margins.csv")
    assert table["n"].tolist() == [1]
    assert not {"model.residual", "dataset.root"} & {*table}  # where data lay tells no cells apart


def test_without_arguments_the_study_requested_last_is_reported(folder, say):
    make_study(well, folder, "first", seeds=1)
    make_study(well, folder, "second", seeds=1)
    assert "study second, norm: " in say("analysis.report")[1]
    assert "study first, norm: " in say("analysis.report", "study=first")[1]


def test_one_seed_gives_margins_without_intervals(folder, say):
    make_study(well, folder, seeds=1)
    assert say("analysis.report")[0] == 0
    assert pd.read_csv(folder_of("mine") / "margins.csv")["low_pp"].isna().all()


def test_a_study_of_one_trial_has_a_report_without_a_margin(folder, say):
    trial = make_trial(0)
    tracker = Tracker("sqlite:///mlflow.db", Study("one", {}, [trial]), store=FolderStore(folder))
    for event in run_directory.attempt(well, trial, folder):
        tracker.record(trial, event)
    tracker.close()
    status, out, _ = say("analysis.report")
    assert status == 0
    assert "study one: no factor was swept, so there is no margin" in out
    assert "No factor was swept" in Path("reports/one/index.html").read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("study=nothing", "study=nothing: no such study; allowed: mine"),
        ("contrast.factor=depth", "contrast.factor=depth: not varied in study mine; allowed: norm, bits"),
        ("contrast.levels=[bn,gn]", "contrast.levels=[bn,gn]: allowed: two or more of bn, srelu"),
        ("path=x.csv", "path=x.csv: source=mlflow takes no path; allowed: study, metric, factors"),
        ("source=published path=x.csv", "path=x.csv: cannot be read: "),
        ("source=published path=bad.csv", "path=bad.csv: no column id, "),
        ("source=published study=mine", "study=mine: source=published takes no study; allowed: path"),
        (
            "source=published contrast.levels=[bn,srelu]",
            "source=published, contrast norm: bn minus srelu: no two numbers differ in that alone",
        ),
        ("source=elsewhere", "source=elsewhere: allowed: mlflow, published, csv"),
        ("track.uri=sqlite:///none.db", "track.uri=sqlite:///none.db: there is no none.db; run a study first"),
        ("nonsense=1", "nonsense=1: no such key; allowed: source, study, path, metric, factors, "),
        ("+x=1", "x=1: no such key; allowed: source, study, path, metric, factors, "),
        ("contrast.levels=bn", "contrast.levels=bn: allowed: a list in brackets: [a,b]"),
        ("out=bad.csv", "out=bad.csv: "),
        ("out=", "out=: allowed: a folder"),
        ("-m contrast.factor=bits,norm", "-m: this command takes no sweeps"),
        ("contrast.levels=bn,srelu", "contrast.levels=bn,srelu: a list stands in brackets: [a,b]"),
        ("track.uri=here", "track.uri=here: allowed: sqlite:///FILE"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_status_2(folder, say, line, message):
    make_study(well, folder, seeds=1)
    Path("bad.csv").write_text("a,b\n1,2\n")
    status, out, err = say("analysis.report", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_an_mlflow_without_studies_says_how_to_make_one(folder, say):
    connect(f"sqlite:///{folder}/mlflow.db")
    status, _, err = say("analysis.report")
    assert status == 2
    assert err.startswith("no study here yet; run one first: ")


@pytest.mark.parametrize("theirs", ["reports", "reports/published", "reports/published/margins.csv"])
def test_a_report_folder_of_somebody_else_is_one_line(folder, say, monkeypatch, theirs):
    monkeypatch.setattr(
        page, "write", lambda findings, lines, warned, into, made_of: (into / "margins.csv").write_text("")
    )
    path = Path("reports/published/margins.csv")
    path.parent.mkdir(parents=True)
    path.touch()
    Path(theirs).chmod(0o444 if theirs.endswith("csv") else 0o555)
    with plain_user():
        status, out, err = say("analysis.report", "source=published")
    for each in ("reports", "reports/published"):
        Path(each).chmod(0o755)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"out=reports: Permission denied: {Path(theirs).absolute()}; allowed: ")
