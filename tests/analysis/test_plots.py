from __future__ import annotations

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from analysis.effects import contrasts
from analysis.findings import Histories, find
from analysis.rendering import plots
from analysis.rendering.plots import costs, epochs, factors, margins
from analysis.rendering.plots.margins import points_of, roles_of
from analysis.rendering.plots.style import look, save
from tests.support.frames import rows


def make_findings(seeds=3, drop=(), **levels):
    """Return the findings of a study over these levels, norm first; shifted ReLU diverges at the levels in `drop`."""
    rng = np.random.default_rng(2)
    trials = [
        (
            {"norm": norm, **dict(zip(levels, cell, strict=True))},
            seed,
            "diverged" if norm == "srelu" and set(drop) & set(cell) else 0.9 + rng.normal(0, 0.002),
        )
        for norm in ("bn", "srelu")
        for cell in product(*levels.values())
        for seed in range(seeds)
    ]
    runs = rows(*trials, factors=["norm", *levels])
    return find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5)


def drawn(figure):
    """Return all words in a figure, and close it."""
    words = [text.get_text() for text in figure.findobj(plt.Text)]
    plt.close(figure)
    return " ".join(words)


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    yield
    assert not plt.get_fignums()


def roles(findings):
    return roles_of(findings.comparisons[0].rows, findings.runs.frame)


def test_size_is_the_x_axis_bits_are_colours_and_data_sets_are_panels():
    findings = make_findings(
        width=[1, 4], depth=[8, 14], bits=[1, 32], dataset=["digits", "mnist"], momentum=[0.8, 0.9]
    )
    assigned = roles(findings)
    assert (assigned.x, assigned.hue, assigned.panel, assigned.averaged) == (
        ("depth", "width"),
        "bits",
        "dataset",
        ("momentum",),
    )


def test_other_factors_take_the_roles_that_are_left():
    assigned = roles(make_findings(lr=[0.1, 0.2, 0.3], batch=[1, 2]))
    assert (assigned.x, assigned.hue, assigned.panel, assigned.averaged) == (("lr",), "batch", None, ())


def test_networks_are_in_the_order_of_their_size():
    findings = make_findings(width=[10, 1, 4], depth=[20, 8])
    figure = margins.margins(findings.comparisons[0], findings)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["8-1", "20-1", "8-4", "20-4", "8-10", "20-10"]
    assert "network size: depth-width" in drawn(figure)


def test_a_factor_without_a_role_is_averaged_over_by_seed_and_named():
    findings = make_findings(width=[1, 4], bits=[1, 32], dataset=["digits", "mnist"], momentum=[0.8, 0.9])
    comparison = findings.comparisons[0]
    (point, *_) = points_of(comparison.rows, roles(findings))
    cells = [
        row
        for row in comparison.rows
        if (row.levels["width"], row.levels["bits"], row.levels["dataset"]) == (1, 1, "digits")
    ]
    assert len(cells) == 2
    assert point.mean_pp == pytest.approx(np.mean([[*row.by_seed.values()] for row in cells]))
    assert "mean over momentum" in drawn(margins.margins(comparison, findings))


def test_cells_without_a_margin_are_marked_and_not_dropped():
    findings = make_findings(bits=[1, 32], drop=[1])
    assert "no margin" in drawn(margins.margins(findings.comparisons[0], findings))
    findings = make_findings(width=[1, 4], bits=[1, 32], drop=[1])
    assert "×: no seed is done in both arms" in drawn(margins.margins(findings.comparisons[0], findings))
    assert "failed" in drawn(factors.heat_map(findings.comparisons[0], findings))


def test_one_cell_and_one_seed_are_drawn(tmp_path):
    findings = make_findings(seeds=1, bits=[32])
    assert [figure.name for figure in plots.save_all(findings, tmp_path)] == ["margins"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png", ".pdf"}


def test_a_study_of_many_cells_keeps_its_figures_to_a_page(tmp_path):
    findings = make_findings(
        seeds=1, width=[1, 2, 4, 10], depth=[8, 14, 20], bits=[1, 2, 4, 32], dataset=list("abcdefghijkl"), lr=[1, 2]
    )
    figure = margins.margins(findings.comparisons[0], findings)
    assert max(figure.get_size_inches()) < 12
    assert "8 of 12 panels" in drawn(figure)


def test_no_figure_is_drawn_without_data(tmp_path):
    assert plots.save_all(make_findings(bits=[32], drop=[32]), tmp_path) == []
    lone = make_findings(bits=[32])
    assert (factors.gaps(lone), factors.heat_map(lone.comparisons[0], lone), factors.importance(lone)) == (None,) * 3


def test_the_gap_is_drawn_against_the_error_at_the_most_bits():
    findings = make_findings(bits=[1, 32], width=[1, 4])
    figure = factors.gaps(findings)
    assert {"norm bn", "norm srelu"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    assert "test error at 32 bits (%)" in drawn(figure)


def test_importance_names_the_two_levels_and_the_better_one_first():
    runs = rows(
        *(({"norm": n, "bits": b}, s, 0.8 + (b == 32) / 10) for n in ("bn", "srelu") for b in (1, 32) for s in (0, 1))
    )
    findings = find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5)
    assert "bits: 32 over 1" in drawn(factors.importance(findings))


def test_arms_of_a_factor_that_is_true_or_false_are_drawn_against_their_costs():
    runs = rows(
        *(
            ({"model.residual": residual, "weight_bytes": 1e3 * (1 + residual)}, seed, 0.9)
            for residual in (True, False)
            for seed in (0, 1)
        ),
        factors=["model.residual"],
    )
    findings = find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5)
    figure = costs.figures(findings)["pareto-weights"]
    assert {"true", "false"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    plt.close(figure)


def histories(*cycle_ends):
    labels = {f"r{seed}": "norm=bn" for seed in range(3)}
    curves = pd.DataFrame(
        [(run, epoch, 0.5 + epoch / 20 + index / 50) for index, run in enumerate(labels) for epoch in range(1, 7)]
    )
    ends = pd.DataFrame([(run, epoch, 0.6 + epoch / 20) for run in labels for epoch in cycle_ends])
    columns = ["run_id", "epoch", "value"]
    return Histories(
        labels,
        "validation accuracy",
        curves.set_axis(columns, axis=1),
        ends.reindex(columns=range(3)).set_axis(columns, axis=1),
    )


def test_restarts_are_marked_in_the_learning_curves():
    assert "restarts" in drawn(epochs.curves(histories(2, 6)))
    assert "restarts" not in drawn(epochs.curves(histories()))


def test_the_band_of_a_curve_is_the_range_over_seeds():
    figure = epochs.curves(histories())
    (band,) = figure.axes[0].collections
    assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(55)
    assert "validation accuracy (%)" in drawn(figure)
    assert "log scale" in drawn(epochs.restarts(histories(2, 6)))


def test_on_the_page_figures_have_the_pages_colours_and_unique_ids(tmp_path):
    findings = make_findings(width=[1, 4], bits=[1, 32])
    svgs = [figure.svg for figure in plots.save_all(findings, tmp_path)]
    assert len(svgs) == 5
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in svgs]
    assert sum(map(len, ids)) == len(set().union(*ids))
    for svg, own_ids in zip(svgs, ids, strict=True):
        assert "currentColor" in svg
        assert "#1b1b1b" not in svg
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= own_ids
    assert "currentColor" not in (tmp_path / "margins.svg").read_text()


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    def draw(folder):
        folder.mkdir()
        with look():
            figure, axes = plt.subplots()
            axes.plot([1, 2])
        save(figure, folder, "f")
        return (folder / "f.svg").read_bytes()

    assert draw(tmp_path / "a") == draw(tmp_path / "b")
