from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from analysis.rendering import markup
from tests.support.reports import folder_of

PDFLATEX = shutil.which("pdflatex") or ""
NAMES = ["a|b", "a\nb", "|", r"a\|b", r"back\slash", "`x|y`", "*x*", "__x__", "<b>x</b>", "&lt;", "$x$", "[64, 64]"]
NAMES += ["[x](http://x)", "a\r\n\r\nb", "* x", "~~x~~", "50%&c#_{}^~", "-0.5|", "[true, null]", "{}", '{"a": 1}']


def split_cells(row):
    """Return a row's cells as GitHub's parser splits them, without their escapes."""
    cells = re.findall(r"((?:\\.|[^|\\])*)\|", row.removeprefix("|"))
    return [re.sub(r"\\(.)", r"\1", cell).strip() for cell in cells]


def one_line(name):
    return re.sub(r"\s*[\r\n]+\s*", " ", name)


@pytest.mark.parametrize("name", NAMES)
def test_no_level_breaks_a_table_in_markdown(name):
    table = pd.DataFrame({"norm": [name, "bn"], "margin": ["+1.00", "-1.00"]})
    header, rule, *rows = markup.markdown(table).splitlines()
    assert split_cells(header) == ["norm", "margin"]
    assert re.fullmatch(r"[|:-]+", rule)
    assert [split_cells(row) for row in rows] == [[one_line(name), "+1.00"], ["bn", "-1.00"]]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_factor_breaks_a_table_in_markdown(name):
    title, blank, header, _, row = markup.markdown(pd.DataFrame({name: ["x"]}), f"{name}: a minus b").splitlines()
    assert blank == ""
    assert split_cells(header) == [one_line(name)]
    assert split_cells(row) == ["x"]
    assert re.sub(r"\\(.)", r"\1", title) == f"**{one_line(name)}: a minus b**"


@pytest.mark.parametrize(
    "text", ["norm", "recipe.micro_batch", "-0.50 to +1.25", "<0.001", "[64, 64]", "3 of 5", "–", "− norm x bits"]
)
def test_what_breaks_nothing_is_left_as_it_is_in_markdown(text):
    assert markup.markdown_text(text) == text


@pytest.mark.parametrize("name", ["<script>", "a <b> c", "x</td>", "<!-- x", "&amp;", "`x", "*x", "_x"])
def test_what_would_vanish_from_a_page_is_escaped_in_markdown(name):
    assert markup.markdown_text(name) != name


def test_levels_in_latex_are_no_options_of_the_row_before():
    text = markup.latex(pd.DataFrame({"norm": ["[64, 64]", "* x"], "margin": ["+1.00", "-1.00"]}), ["norm"])
    assert "\n{}[64, 64] & " in text
    assert "\n{}* x & " in text


def test_a_title_stays_a_comment_in_latex():
    assert markup.latex(pd.DataFrame({"x": ["1"]}), [], "a\nb: c").startswith("% a b: c\n\\begin{tabular}{r}")


@pytest.mark.skipif(not PDFLATEX, reason="needs pdflatex and booktabs")
def test_no_name_and_no_level_breaks_a_table_in_latex(tmp_path: Path):
    tables = [pd.DataFrame({"norm": NAMES, "margin": ["+1.00"] * len(NAMES)})]
    tables += [pd.DataFrame({name: ["x"]}) for name in NAMES]
    body = "\n\n".join(markup.latex(table, ["norm"], name) for table, name in zip(tables, ["all", *NAMES], strict=True))
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}" + "\n" + r"\end{document}"
    )
    line = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("level", ["a|b", "a`|`b", "[64, 64]", "<i>x", r"a\|b"])
def test_a_report_has_as_many_cells_in_each_row(folder, say, level):
    rows = "".join(f'"{level}",{seed},0.9{seed}\nbn,{seed},0.8{2 * seed}\n' for seed in range(3))
    Path("t.csv").write_text("no|rm,seed,acc\n" + rows)
    status, _, err = say("analysis.report", "source=csv", "path=t.csv", "metric=acc", "factors=[no|rm]")
    assert (status, err) == (0, "")
    tables = {file for file in folder_of("t").glob("*.md") if file.name != "provenance.md"}  # a list of lines
    for file in sorted(tables):
        lines = [line for line in file.read_text().splitlines() if line.startswith("|")]
        assert len({len(split_cells(line)) for line in lines if not line.startswith("|:")}) == 1, file
    assert f"{level} (%)" in split_cells((folder_of("t") / "margins.md").read_text().splitlines()[2])
