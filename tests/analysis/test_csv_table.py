from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ablate.core.errors import UsageError
from analysis.sources import csv_table
from tests.support.reports import numbers_of

LINE = ("source=csv", "path=runs.csv", "metric=acc", "factors=[norm]")
COMMAS = "norm,seed,acc\nbn,0,0.91\ngn,0,0.93\nbn,1,0.90\ngn,1,0.95\n"
MARGIN, PAIRS = -3.5, 2


def write(text, encoding="utf-8"):
    Path("runs.csv").write_bytes(text.encode(encoding))


def report(say, *words):
    status, out, err = say("analysis.report", *LINE, *words)
    assert (status, err) == (0, "")
    return " ".join(out.split()), numbers_of("runs")["margins"]


def refused(say, *words):
    status, out, err = say("analysis.report", *LINE, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not Path("reports").exists()
    return err.strip()


AS_THE_WORLD_WRITES_IT = {
    "plain": COMMAS,
    "Excel's first line": "sep=;\n" + COMMAS.replace(",", ";"),
    "Excel's first line, in quotes and with a tail": '"sep=;";;\r\n' + COMMAS.replace(",", ";").replace("\n", "\r\n"),
    "a separator of one's own": "sep=|\n" + COMMAS.replace(",", "|"),
    "tabs": COMMAS.replace(",", "\t"),
    "a byte order mark": "\ufeff" + COMMAS,
    "a byte order mark before Excel's first line": "\ufeffsep=;\n" + COMMAS.replace(",", ";"),
    "a trailing comma in each row": COMMAS.replace("\n", ",\n").replace("acc,", "acc"),
    "trailing commas in the header too": COMMAS.replace("\n", ",,\n"),
    "trailing commas in some rows": COMMAS.replace("0.93", "0.93,,"),
    "blanks around values and names": COMMAS.replace(",", " , "),
    "quotes behind blanks": 'norm, "seed", "acc"\n"bn", "0", "0.91"\n"gn","0", 0.93\nbn,1,0.90\n"gn" ,1,0.95\n'.replace(
        '"gn" ', "gn "
    ),
    "the row numbers of pandas": ",norm,seed,acc\n0,bn,0,0.91\n1,gn,0,0.93\n2,bn,1,0.90\n3,gn,1,0.95\n",
    "the row numbers of R": '"","norm","seed","acc"\n1,bn,0,0.91\n2,gn,0,0.93\n3,bn,1,0.90\n4,gn,1,0.95\n',
    "blank rows": COMMAS.replace("\ngn", "\n\n,,\ngn"),
    "the line ends of old Macs": COMMAS.replace("\n", "\r"),
    "semicolons and decimal commas": "norm;seed;acc\nbn;0;0,91\ngn;0;0,93\nbn;1;0,90\ngn;1;0,95\n",
    "percent signs": "norm,seed,acc\nbn,0,91%\ngn,0,93 %\nbn,1,90.0%\ngn,1,95%\n",
    "percent signs behind decimal commas": "norm;seed;acc\nbn;0;91,0%\ngn;0;93,0%\nbn;1;90,0 %\ngn;1;95%\n",
}


@pytest.mark.parametrize("text", AS_THE_WORLD_WRITES_IT.values(), ids=AS_THE_WORLD_WRITES_IT)
def test_a_csv_has_the_same_margin_however_it_is_written(folder, say, text):
    write(text)
    _, margins = report(say)
    assert [(round(row["margin_pp"], 6), row["n"], row["first_runs"][:5]) for row in margins] == [
        (MARGIN, PAIRS, margins[0]["first_runs"][:5])
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_csv_may_say_its_encoding(folder, say, encoding):
    write(COMMAS.replace(",", "\t").replace("bn", "bän"), encoding)
    out, _ = report(say)
    assert "norm: bän minus gn: -3.50 points" in out


def test_a_compressed_csv_is_read(folder, say):
    Path("runs.csv.gz").write_bytes(gzip.compress(COMMAS.encode()))
    assert say("analysis.report", *LINE, "path=runs.csv.gz")[0] == 0


def test_what_is_read_otherwise_than_it_is_written_is_said(folder, say):
    write("norm;seed;acc\nbn;0;91,5%\ngn;0;93,0%\nbn;1;90,0%\ngn;1;95%\n")
    out, _ = report(say)
    assert "acc has decimal commas: 91,5% is 91.5%." in out
    assert "acc has percent signs (unit=percent)." in out


def test_an_error_rate_with_percent_signs_need_not_be_asked_about(folder, say):
    write("norm,seed,err\nbn,0,0.52%\ngn,0,0.61%\nbn,1,0.49%\ngn,1,0.63%\n")
    _, margins = report(say, "metric=err", "lower_is_better=true")
    assert round(margins[0]["margin_pp"], 6) == -0.115


@pytest.mark.parametrize("word", ["None", "NA", "null", "nan", "N/A"])
def test_a_word_for_nothing_is_a_level_like_others(folder, say, word):
    write(COMMAS.replace("gn", word))
    out, _ = report(say)
    assert f"norm: bn minus {word}: -3.50 points" in out


def test_levels_are_numbers_although_some_rows_have_none(folder, say):
    write("norm,seed,acc\n" + "".join(f"{lr},{seed},0.9{seed}\n" for lr in ("10", "2", "None") for seed in (0, 1)))
    out, _ = report(say)
    assert "norm: 2 minus 10:" in out
    assert "norm: 2 minus None:" in out


def test_a_row_keeps_the_number_of_its_line(folder, say):
    write('sep=,\nnorm,seed,note,acc\n\nbn,0,"two\nlines",0.91\n,,,\ngn,0,,good\n')
    assert refused(say).startswith("path=runs.csv: row 7 (norm=gn seed=0): acc=good: allowed: a number")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("norm,seed,acc, acc\nbn,0,0.9,0.8\n", "column acc is there twice; allowed: each name once"),
        ("norm,norm,seed,acc\nbn,gn,0,0.9\n", "column norm is there twice; allowed: each name once"),
        ('"seed",norm,seed ,acc\n0,bn,0,0.9\n', "column seed is there twice; allowed: each name once"),
        ("norm,seed,acc,outcome,outcome\nbn,0,0.9,done,done\n", "column outcome is there twice"),
        ("norm,seed,acc\nbn,0,0,91\n", "row 2 has 4 fields, the header 3; allowed: one field for each name"),
        ("norm,seed,acc\n1,bn,0,0.91\n2,gn,0,0.93\n", "row 2 has 4 fields, the header 3; allowed: one field for each"),
        ('norm,seed,acc\nbn,0,"0,91"\n', "row 2 (norm=bn seed=0): acc=0,91: allowed: a number, as 0.91"),
        ("norm;seed;acc\nbn;0;0,91\ngn;0;0.93\n", "row 2 (norm=bn seed=0): acc=0,91: allowed: a number, as 0.91"),
        ("norm,seed,acc\nbn,0,91%\ngn,0,0.93\n", "row 2 (norm=bn seed=0): acc=91%: allowed: a number, as 0.91"),
        ("norm,seed,acc\nbn,0,-inf\n", "row 2 (norm=bn seed=0): acc=-inf: allowed: a number, as 0.91; or a column"),
        ("norm,seed,acc\nbn,0\n", "row 2 (norm=bn seed=0): acc=: allowed: a number, as 0.91; or a column outcome"),
        ("norm,seed,acc\nbn,NA,0.9\n", "row 2 (norm=bn): seed is empty; allowed: a level of each factor and a seed"),
        ('norm,seed,acc\n"bn,0,0.9\n', "cannot be read: unexpected end of data; allowed: fields in which quotes end"),
        ("\n\n", "it is empty; allowed: a header, and one row per run"),
        ("norm,seed,acc\n", "it has no rows; allowed: one row per run"),
    ],
)
def test_what_a_csv_leaves_open_is_refused_in_one_line(folder, say, text, message):
    write(text)
    assert refused(say).startswith(f"path=runs.csv: {message}")


def test_a_file_that_is_no_text_is_refused_in_one_line(folder, say):
    write(COMMAS.replace("gn", "größe"), "latin-1")
    assert refused(say).startswith(
        "path=runs.csv: cannot be read: line 3 is no text in UTF-8; allowed: a CSV file saved"
    )


def test_percent_signs_are_no_fractions(folder, say):
    write(COMMAS.replace("0.9", "9").replace("\n", "%\n").replace("acc%", "acc"))
    assert refused(say, "unit=fraction").startswith(
        "unit=fraction: the values of acc have percent signs; allowed: unit"
    )


def test_a_name_that_nobody_asks_for_may_be_there_twice(folder, say):
    write(COMMAS.replace("\n", ",1,2\n").replace("acc,1,2", "acc,note,note"))
    report(say)


WITH_OUTCOMES = (
    "norm,seed,acc,outcome\nbn,0,0.91,{0}\ngn,0,0.93,{0}\nbn,1,0.90,{0}\ngn,1,0.95,{0}\nbn,2,0.1,{1}\ngn,2,0.94,{0}\n"
)


@pytest.mark.parametrize(
    ("done", "other", "means"),
    [
        ("Done", "Diverged", "1 diverged"),
        ("FINISHED", "Crashed", "1 error"),
        ("ok", "KILLED", "1 interrupted"),
        ("success", "Out of memory", "1 oom"),
        ("done", "", "1 missing"),
        ("done", "running", "1 running"),
    ],
)
@pytest.mark.parametrize("name", ["outcome", "Outcome"])
def test_outcomes_are_read_in_any_case(folder, say, done, other, means, name):
    write(WITH_OUTCOMES.format(done, other).replace("outcome", name))
    out, margins = report(say)
    assert f"norm=bn: {means}" in out
    assert (round(margins[0]["margin_pp"], 6), margins[0]["n"]) == (MARGIN, PAIRS)


@pytest.mark.parametrize("name", ["outcome", "State", "status"])
def test_an_outcome_that_is_not_known_is_refused_in_one_line(folder, say, name):
    write(WITH_OUTCOMES.format("finished", "exploded").replace("outcome", name))
    start = f"path=runs.csv: row 6 (norm=bn seed=2): {name}=exploded: no such outcome; allowed: done, collapsed, "
    assert refused(say).startswith(start)


WANDB = (
    '"Name","State","norm","seed","acc"\n"a","finished","bn","0","0.91"\n"b","finished","gn","0","0.93"\n'
    '"c","finished","bn","1","0.90"\n"d","finished","gn","1","0.95"\n"e","{}","bn","2","{}"\n"f","finished","gn","2","0.9"\n'
)


@pytest.mark.parametrize(
    ("state", "acc", "means"),
    [
        ("crashed", "0.11", "1 error"),
        ("failed", "", "1 error"),
        ("killed", "0.5", "1 interrupted"),
        ("running", "", "1 running"),
        ("finished", "NaN", "1 diverged"),
        ("finished", "Infinity", "1 diverged"),
        ("finished", "", "1 no metric"),
    ],
)
def test_the_state_of_a_run_in_wandb_is_its_outcome(folder, say, state, acc, means):
    write(WANDB.format(state, acc))
    out, margins = report(say)
    assert f"norm=bn: {means}" in out
    assert "Column State says what became of each run." in out
    assert (round(margins[0]["margin_pp"], 6), margins[0]["n"]) == (MARGIN, PAIRS)


def test_a_state_of_the_union_is_no_outcome(folder, say):
    write(WITH_OUTCOMES.format("OK", "CA").replace("outcome", "state").replace("0.1", "0.91"))
    out, margins = report(say)
    assert "Column state" not in out
    assert margins[0]["n"] == 3


def test_a_state_may_be_the_factor(folder, say):
    write("State,seed,acc\nfinished,0,0.91\nrunning,0,0.93\nfinished,1,0.90\nrunning,1,0.95\n")
    assert round(report(say, "factors=[State]")[1][0]["margin_pp"], 6) == MARGIN


def test_a_header_alone_has_no_rows(folder):
    write("norm,seed,acc\n")
    assert csv_table.read(Path("runs.csv")).text.empty
    with pytest.raises(UsageError, match=r"path=other\.csv: cannot be read: No such file or directory"):
        csv_table.read(Path("other.csv"))
