from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import analysis
from ablate.core.errors import UsageError
from ablate.tracking.client import connect
from tests.analysis.test_report import make_study
from tests.support.fakes import well
from tests.support.reports import folder_of, numbers_of

HEAD = "norm,width,rep,acc,dir"
ROWS = [
    f"{norm},{width},{rep},{0.9 + (norm == 'bn') * width / 100 + rep / 1000:.4f},/x/{norm}{width}{rep}"
    for norm in ("bn", "gn")
    for width in (1, 2)
    for rep in (0, 1, 2)
]


def write(*rows, head=HEAD):
    Path("runs.csv").write_text("\n".join([head, *rows]) + "\n")


CSV = ("source=csv", "path=runs.csv", "metric=acc", "factors=[norm,width]", "seed=rep")


def margins(name):
    return numbers_of(name)["margins"]


def test_a_csv_of_runs_has_its_margins(folder, say):
    write(*ROWS)
    status, out, err = say("analysis.report", *CSV)
    assert (status, err) == (0, "")
    assert [(row["width"], round(row["margin_pp"], 6), row["n"]) for row in margins("runs")] == [(1, 1, 3), (2, 2, 3)]
    assert margins("runs")[0]["first_runs"] == "row 2 row 3 row 4"
    assert "Runs differ in more than the factors: dir. They are paired all the same, by factors and seed." in out
    assert "Claim" not in out


def test_a_metric_that_is_no_share_is_shown_as_it_is_and_less_may_be_better(folder, say):
    write(
        *(
            f"{norm},{rep},{2.0 + (norm == 'gn') + rep / 100 + (norm == 'gn') * rep / 1000}"
            for norm in ("bn", "gn")
            for rep in range(3)
        ),
        head="norm,seed,loss",
    )
    status, out, _ = say(
        "analysis.report", "source=csv", "path=runs.csv", "metric=loss", "factors=[norm]", "lower_is_better=true"
    )
    assert status == 0
    assert "bn better" in out
    assert margins("runs")[0]["margin_pp"] == pytest.approx(-1.001)
    assert "pp" not in out


SMALL = [
    f"{norm},{seed},{0.002 + (norm == 'gn') * 0.0003 + seed / 1e5 + (norm == 'gn') * seed / 1e6}"
    for norm in ("bn", "gn")
    for seed in range(3)
]


@pytest.mark.parametrize(("words", "word"), [((), "bn better"), (("equivalence=0.001",), "bn better, by less than")])
def test_a_loss_has_its_own_digits_and_no_smallest_difference_but_the_one_typed(folder, say, words, word):
    write(*SMALL, head="norm,seed,mse")
    line = ["source=csv", "path=runs.csv", "metric=mse", "factors=[norm]", "lower_is_better=true", *words]
    status, out, err = say("analysis.report", *line)
    assert (status, err) == (0, "")
    assert word in out
    assert "norm: bn minus gn: -0.00030, 95% interval -0.00030 to -0.00030" in " ".join(out.split())
    assert "mse is shown as it is (unit=plain)" in " ".join(out.split())
    above_figures = (folder_of("runs") / "index.html").read_text().partition("</style>")[2].partition("<figure")[0]
    assert ("one-sided tests against 0.001" in above_figures) == bool(words)
    assert not re.search(r"points\b|0\.5 |\bpp\b", above_figures)
    report = numbers_of("runs")
    assert report["equivalence_pp"] == (0.001 if words else None)


def test_an_error_rate_in_percent_is_not_multiplied_by_100(folder, say):
    rows = [f"{norm},{seed},{0.3 + (norm == 'gn') * 0.1 + seed / 100}" for norm in ("bn", "gn") for seed in range(3)]
    write(*rows, head="norm,seed,err")
    line = ["source=csv", "path=runs.csv", "metric=err", "factors=[norm]", "lower_is_better=true"]
    status, _, err = say("analysis.report", *line)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("metric=err: its values lie between 0.3 and 0.42; are they percent? allowed: unit=percent, ")
    assert say("analysis.report", *line, "unit=percent")[0] == 0
    assert margins("runs")[0]["margin_pp"] == pytest.approx(-0.1)
    assert say("analysis.report", *line, "unit=fraction")[0] == 0
    assert margins("runs")[0]["margin_pp"] == pytest.approx(-10)


def test_a_diverged_row_is_named_and_not_dropped(folder, say):
    write(*(f"{row},done" for row in ROWS[:-1]), "gn,2,2,,/x,diverged", head=f"{HEAD},outcome")
    status, out, _ = say("analysis.report", *CSV)
    assert status == 0
    assert "norm=gn: 1 diverged" in out
    assert "2 of 3" in out


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (ROWS, "path=none.csv", "path=none.csv: cannot be read: "),
        ([], "", "path=runs.csv: it has no rows; allowed: one row per run"),
        (ROWS, "metric=auc", "path=runs.csv: no column metric=auc; allowed: norm, width, rep, acc, dir"),
        (
            ROWS,
            "factors=[norm,depth]",
            "path=runs.csv: no column depth, of factors=[norm,depth]; allowed: norm, width, ",
        ),
        (
            ROWS,
            "seed=seed",
            "path=runs.csv: no column seed=seed; allowed: one of the columns norm, width, rep, acc, dir",
        ),
        (
            ROWS,
            "factors=[norm]",
            "row 2 and row 5 are both norm=bn seed=0; allowed: factors=[...] that tell them apart",
        ),
        (
            ["bn,1,0,nan,"],
            "",
            "path=runs.csv: row 2 (norm=bn width=1 seed=0): acc=nan: allowed: a number, as 0.91; or a column ",
        ),
        ([*ROWS, "bn,4,0,good,"], "", "path=runs.csv: row 14 (norm=bn width=4 seed=0): acc=good: allowed: a number"),
        ([*ROWS, "bn,4,,0.9,"], "", "path=runs.csv: row 14 (norm=bn width=4): seed is empty; allowed: "),
        (
            ["bn,1,0,0.9,", "bn,1,1,0.9,", "gn,1,2,0.8,"],
            "",
            "contrast norm: bn minus gn: no two finished runs differ in that alone and share a seed; "
            "seeds: norm=bn has 0, 1; norm=gn has 2",
        ),
        (
            ROWS,
            "factors=[norm,n]",
            "factors=[norm,n]: n is a column of the report itself; allowed: a column or param of ",
        ),
        (ROWS, "factors=[norm,norm]", "factors=[norm,norm]: norm is named twice; allowed: "),
        (ROWS, "factors=[norm,acc]", "factors=[norm,acc]: acc is a column of the report itself"),
        (ROWS, "metric=rep", "metric=rep: it is the seed too; allowed: another one, or seed= another one"),
        (ROWS, "metric=loss", "metric=loss: is less of it better? allowed: lower_is_better=true or false"),
        ([*ROWS, "bn,4,0,1e300,"], "", "path=runs.csv: row 14 (norm=bn width=4 seed=0): acc=1e300: allowed: a number"),
        (ROWS, "study=x", "study=x: source=csv takes no study; allowed: path, metric, factors"),
        (ROWS, "metric=null", "source=csv needs metric=: "),
        (ROWS, "contrast.factor=depth", "contrast.factor=depth: not varied in study runs; allowed: norm, width"),
        (ROWS, "contrast.levels=[bn,ln]", "contrast.levels=[bn,ln]: allowed: two or more of bn, gn"),
        (
            ROWS,
            "contrast.equivalence_pp=0",
            "contrast.equivalence_pp=0.0: allowed: the smallest difference of interest, above 0",
        ),
    ],
)
def test_a_mistake_in_a_csv_or_about_it_is_one_line(folder, say, rows, line, message):
    write(*rows)
    status, out, err = say("analysis.report", *CSV, *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not Path("reports").exists()


def elsewhere(*runs, name="theirs"):
    """An experiment made with MLflow alone, of runs as (params, metrics, status)."""
    client = connect(f"sqlite:///{Path.cwd()}/mlflow.db")
    experiment = client.create_experiment(name, (Path.cwd() / "mlruns").as_uri())
    for params, metrics, status in runs:
        run_id = client.create_run(experiment).info.run_id
        for key, value in params.items():
            client.log_param(run_id, key, value)
        for key, value in metrics.items():
            client.log_metric(run_id, key, value)
        client.set_terminated(run_id, status)


def sweep(**extra):
    return [
        ({"norm": norm, "seed": seed, **extra}, {"auc": 0.8 + (norm == "bn") * (0.02 + seed / 1000)}, "FINISHED")
        for norm in ("bn", "gn")
        for seed in range(3)
    ]


THEIRS = ("study=theirs", "metric=auc", "factors=[norm]")


def test_an_experiment_that_we_did_not_make_has_its_margins(folder, say):
    elsewhere(*sweep(), ({}, {}, "FINISHED"))
    status, out, err = say("analysis.report", *THEIRS)
    assert (status, err) == (0, "")
    assert [(round(row["margin_pp"], 6), row["n"]) for row in margins("theirs")] == [(2.1, 3)]
    assert "Left out: runs without norm: 1." in out


def test_runs_that_failed_or_diverged_there_are_named(folder, say):
    elsewhere(
        *sweep(),
        ({"norm": "gn", "seed": 3}, {"auc": float("nan")}, "FINISHED"),
        ({"norm": "gn", "seed": 4}, {}, "FAILED"),
        ({"norm": "gn", "seed": 5}, {}, "FINISHED"),
    )
    status, out, _ = say("analysis.report", *THEIRS)
    assert status == 0
    assert "norm=gn: 1 diverged; norm=gn: 1 error; norm=gn: 1 no metric" in out


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("metric", ["auc", "loss"])
def test_a_metric_that_is_no_finite_number_is_a_run_that_diverged(folder, say, value, metric):
    runs = [(params, {metric: metrics["auc"]}, status) for params, metrics, status in sweep()]
    elsewhere(*runs, ({"norm": "gn", "seed": 3}, {metric: value}, "FINISHED"))
    line = ["study=theirs", f"metric={metric}", "factors=[norm]", "lower_is_better=false"]
    status, out, err = say("analysis.report", *line)
    assert (status, err) == (0, "")
    assert "norm=gn: 1 diverged" in out
    assert (round(margins("theirs")[0]["margin_pp"], 6), margins("theirs")[0]["n"]) == (
        (2.1, 3) if metric == "auc" else (0.021, 3)
    )


def test_a_failed_run_makes_way_for_its_repeat(folder, say):
    elsewhere(({"norm": "bn", "seed": 0}, {}, "FAILED"), *sweep())
    assert say("analysis.report", *THEIRS)[0] == 0
    assert margins("theirs")[0]["n"] == margins("theirs")[0]["planned"] == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "study=theirs",
            "study=theirs: ablate did not make it; it needs metric= one of auc; factors=[...] of lr, norm, seed",
        ),
        ("study=theirs metric=acc factors=[norm]", "study=theirs: no run has metric=acc; allowed: auc"),
        (
            "study=theirs metric=auc factors=[bits]",
            "study=theirs: no run has bits, of factors=[bits]; allowed: lr, norm, seed",
        ),
        (
            "study=theirs metric=auc factors=[norm] seed=s",
            "study=theirs: no run has seed=s; allowed: one of the params lr, ",
        ),
        ("study=nothing", "study=nothing: no such study; allowed: mine; with metric= and factors= also theirs"),
        (
            "study=mine factors=[norm]",
            "factors=['norm']: allowed for runs that ablate did not make; a study has its own factors",
        ),
        ("study=mine metric=auc", "metric=auc: no trial of study mine has it; allowed: "),
    ],
)
def test_a_mistake_about_an_experiment_is_one_line(folder, say, line, message):
    make_study(well, folder, seeds=1)
    elsewhere(*sweep(lr=0.1))
    status, out, err = say("analysis.report", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_another_metric_of_our_own_study_is_no_news_to_the_papers(folder, say):
    make_study(well, folder)
    status, out, err = say("analysis.report", "metric=train_acc")
    assert (status, err) == (0, "")
    assert "Claim" not in out
    assert numbers_of("mine")["measure"] == "train_acc"


def test_a_study_is_loaded_as_a_tidy_frame(folder):
    make_study(well, folder)
    frame = analysis.load("mine")
    assert frame.columns[:5].tolist() == ["norm", "bits", "seed", "outcome", "acc"]
    assert (len(frame), frame.attrs) == (12, {"study": "mine", "factors": ["norm", "bits"]})
    pd.testing.assert_frame_equal(frame, analysis.load())
    with pytest.raises(UsageError, match="study=other: no such study; allowed: mine"):
        analysis.load("other")


def test_importing_analysis_imports_nothing_heavy():
    import subprocess
    import sys

    heavy = "import analysis, sys; print([m for m in ('pandas', 'numpy', 'mlflow', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_csv_with_semicolons_spaces_and_odd_names_is_read(folder, say):
    rows = [row.replace(",", ";").replace("gn", "$g$ <b> 漢").replace(";1;", ";x;") for row in ROWS]
    write(*rows, head=HEAD.replace(",", "; "))
    status, out, err = say("analysis.report", *CSV)
    assert (status, err) == (0, "")
    assert "bn minus $g$ <b> 漢" in out
    assert (folder_of("runs") / "index.html").exists()


def test_a_csv_in_which_nothing_is_done_says_so(folder, say):
    write(*(f"{row},OOM" for row in ROWS), head=f"{HEAD},outcome")
    status, _, err = say("analysis.report", *CSV)
    assert status == 2
    assert err.startswith("path=runs.csv: column outcome: no row says done; it has oom; allowed: done, diverged, ...")


def test_a_share_that_is_a_loss_is_no_percentage(folder, say):
    make_study(well, folder)
    status, out, _ = say("analysis.report", "metric=train_loss", "lower_is_better=true")
    assert (status, "%)" in out) == (0, False)


LISTS = [
    ([64], [64, 64], "[64]", "[64, 64]"),
    ('["a","b"]', "[]", '["a", "b"]', "[]"),
    ('{"a": 1}', '{"a": [2, {"b": null}]}', '{"a": 1}', '{"a": [2, {"b": null}]}'),
    ("['a', 'b']", "(64, 64)", "['a', 'b']", "(64, 64)"),
    ("null", "NaN", "null", "NaN"),
]


@pytest.mark.parametrize(("first", "second", "this", "that"), LISTS)
def test_a_list_or_a_mapping_is_a_level_like_others(folder, say, first, second, this, that):
    runs = [
        (
            {"hidden": level, "seed": seed, "width": 1},
            {"auc": 0.8 + (level == first) * (0.02 + seed / 1000)},
            "FINISHED",
        )
        for level in (first, second)
        for seed in range(3)
    ]
    elsewhere(*runs)
    status, out, err = say("analysis.report", "study=theirs", "metric=auc", "factors=[hidden]")
    assert (status, err) == (0, "")
    assert f"hidden: {this} minus {that}: +2.10 points" in " ".join(out.split())
    assert [(round(row["margin_pp"], 6), row["n"]) for row in margins("theirs")] == [(2.1, 3)]
    assert (folder_of("theirs") / "margins.svg").exists()


def test_a_contrast_names_lists_as_they_are_typed(folder, say):
    elsewhere(
        *(
            ({"hidden": level, "seed": seed}, {"auc": 0.8 + len(level) / 100 + seed / 1000}, "FINISHED")
            for level in ([8], [8, 8], [8, 8, 8])
            for seed in range(3)
        )
    )
    line = ["study=theirs", "metric=auc", "factors=[hidden]"]
    status, out, err = say("analysis.report", *line, "contrast.levels=[[8,8,8],[8]]")
    assert (status, err) == (0, "")
    assert "hidden: [8, 8, 8] minus [8]: +2.00 points" in " ".join(out.split())
    status, _, err = say("analysis.report", *line, "contrast.levels=[[9],[8]]")
    assert (status, err) == (2, "contrast.levels=[[9],[8]]: allowed: two or more of [8], [8, 8], [8, 8, 8]\n")


@pytest.mark.parametrize("level", ["[true, null]", "[red]", "[/x]", ":smile:", "a[b]c"])
def test_a_level_that_reads_as_markup_is_printed_as_it_is(folder, say, level):
    write(*(row.replace("gn", f'"{level}"', 1) for row in ROWS))
    status, out, err = say("analysis.report", *CSV)
    assert (status, err) == (0, "")
    assert f" {level} (%) " in out
