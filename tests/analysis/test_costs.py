from __future__ import annotations

import dataclasses

import pytest
from matplotlib import pyplot as plt

from analysis.effects import contrasts
from analysis.findings import find
from analysis.rendering import cost_tables, sentences
from analysis.rendering.plots import costs as figures
from tests.support.frames import rows

MEASURED = {
    "train_images_per_s": 1234.5,
    "saved_bytes": 131_744.0,
    "train_peak_tensor_bytes": 25.3e6,
    "peak_bytes": 9e8,
    "parameters": 685_410.0,
    "norm_moments": 1878.0,
    "weight_bytes": 92_956.0,
    "inference_peak_bytes": 24_576.0,
    "multiply_adds": 6_511_616.0,
    "multiplications": 0.0,
    "norm_ops": 32_976.0,
    "activation_ops": 16_384.0,
    "scale_ops": 16_424.0,
    "add_ops": 7168.0,
    "pool_ops": 6952.0,
    "latency_ms": 0.8127,
    "latency_low_ms": 0.7597,
    "latency_high_ms": 0.8676,
    "inference_images_per_s": 8225.3,
}


def study(**changes):
    """bn and srelu at 1 and 32 bits, two seeds; changes: column -> factor for shifted ReLU."""
    trials = []
    for norm in ("bn", "srelu"):
        for bits in (1, 32):
            for seed in range(2):
                measured = {
                    key: value * (changes.get(key, 1) if norm == "srelu" else 1) for key, value in MEASURED.items()
                }
                measured["weight_bytes"] *= bits
                measured["latency_ms"] *= 1 + seed / 100
                acc = 0.9 + 0.01 * (norm == "bn") + 0.0005 * bits + 0.001 * seed
                trials.append(({"norm": norm, "bits": bits, "train_s": 2.0 + seed, **measured}, seed, acc))
    return rows(*trials)


def findings(runs):
    return find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5)


def test_training_costs_are_a_row_a_cell_in_units_that_people_read():
    table = cost_tables.training(study())
    assert table.columns.tolist() == [
        *("norm", "bits", "n", "s per epoch", "images/s", "kept for backward (kB an image)"),
        *("tensors at the peak (MB)", "process at the peak (MB)"),
    ]
    assert table.iloc[0].tolist() == ["bn", "1", "2", "2.5", "1,234", "131.7", "25.3", "900"]


def test_inference_costs_are_a_row_a_cell_in_units_that_people_read():
    cell = {"norm": "bn", "bits": "32", "n": "2"}
    assert cost_tables.inference(study()).iloc[1].to_dict() == {
        **cell,
        "parameters": "685,410",
        "moments": "1,878",
        "weights (kB)": "2,974.6",
        "maps (kB)": "24.6",
        "multiply-adds (M)": "6.51",
        "of these multiplications (M)": "0.00",
        "norm (k)": "33.0",
        "other operations (k)": "46.9",
    }
    row = cost_tables.speed(study()).iloc[1].to_dict()
    assert row == {**cell, "images/s": "8,225", "latency (ms)": "0.817 (0.76 to 0.868)"}


def test_what_nobody_measured_is_left_out():
    runs = rows(({"norm": "bn", "train_s": 2.0}, 0, 0.9), ({"norm": "srelu", "train_s": 2.0}, 0, 0.9), factors=["norm"])
    assert cost_tables.training(runs).columns.tolist() == ["norm", "n", "s per epoch"]
    assert cost_tables.inference(runs).empty
    assert cost_tables.speed(runs).empty
    assert cost_tables.in_full(runs)["train_s"].tolist() == [2.0, 2.0]


def test_the_summary_says_what_batch_norm_costs_at_inference():
    with_costs = findings(study(latency_ms=0.9, norm_ops=0.01, weight_bytes=0.9))
    (line,) = [sentence for sentence in sentences.sentences(with_costs) if sentence.startswith("At inference")]
    assert line == (
        "At inference bn takes, beside srelu, 1.11 times the latency of one image (not tested), "
        "1.10 times the bytes of weights and maps, 1.005 times the operations on one image."
    )


def test_one_seed_has_no_test_of_its_latency_and_the_summary_says_so():
    runs = study()
    single_seed = dataclasses.replace(runs, frame=runs.frame[runs.frame["seed"] == 0])
    (line,) = [line for line in sentences.sentences(findings(single_seed)) if line.startswith("At inference")]
    assert "1.00 times the latency of one image (not tested), 1.00 times the bytes" in line


@pytest.mark.parametrize(
    ("at", "acc", "expected"),
    [
        ([3, 1, 2], [0.9, 0.5, 0.7], [1, 2, 0]),
        ([1, 1, 2], [0.5, 0.6, 0.6], [1]),
        ([1, 2], [0.9, 0.5], [0]),
        ([], [], []),
    ],
)
def test_the_front_holds_what_nothing_beats(at, acc, expected):
    assert figures.front(at, acc) == expected


def test_the_figures_name_cells_and_mark_the_front():
    drawn = figures.figures(findings(study(weight_bytes=0.5, latency_ms=2)))
    assert drawn.keys() == {"pareto-weights", "pareto-operations", "pareto-latency"}
    for figure in drawn.values():
        words = {text.get_text() for text in figure.findobj(plt.Text)}
        assert {"bn", "srelu", "bits 1", "bits 32", "test accuracy (%)", "no other is cheaper and better"} <= words
        plt.close(figure)
    assert drawn["pareto-weights"].axes[0].get_xlabel() == "weights (kB)"
    assert drawn["pareto-weights"].axes[0].get_xscale() == "log"
    assert not [word for figure in drawn.values() for word in figure.findobj(plt.Text) if "$" in word.get_text()]


def test_without_measurements_there_is_no_figure():
    runs = study()
    bare = dataclasses.replace(runs, frame=runs.frame.drop(columns=list(MEASURED)))
    assert set(figures.figures(findings(bare)).values()) == {None}
