"""Studies whose trials follow from results: seeds where they decide."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ablate.core.errors import Diverged
from ablate.core.events import Done, Epoch, Started
from ablate.core.study import Cell
from ablate.driver import session
from ablate.planning.contrasts import pairs
from ablate.stats import sequential
from ablate.store import manifest, run_directory
from tests.support.fakes import Killed, killed_at
from tests.tuning.test_tuner import HERE

MARGINS_PP = {1: 0.3, 8: 0.6, 32: 5.0}
LINE = ["-m", "norm=bn,srelu", "bits=1,8,32", "seeds=auto", "max_seeds=12", *HERE]
STUDY = "digits-bits-norm"


def noise(seed, bits):
    return np.random.default_rng([seed, bits]).normal(0, 0.4)


class Fake:
    """Margins as in MARGINS_PP, with noise; `fails` says which trials diverge."""

    def __init__(self, fails=lambda config: False):
        self.fails, self.trained = fails, []

    def __call__(self, policy, cost, slot):
        return self.run

    def run(self, config, directory):
        self.trained.append(directory.name)
        yield Started(host="here", pid=1, device="cpu", threads=1, epochs=config["recipe"]["epochs"])
        if self.fails(config):
            raise Diverged("the training loss is nan in epoch 1")
        is_first = config["norm"]["_target_"].endswith(".bn")
        bits, seed = config["bits"], config["seed"]
        acc = 0.9 + is_first * (MARGINS_PP[bits] + noise(seed, bits)) / 100
        yield Epoch(epoch=1, metrics={"train_loss": 0.1, "wall_s": 0.1})
        yield Done(metrics={"test_acc": acc, "wall_s": 0.1})


@pytest.fixture
def fake(monkeypatch, folder):
    def use(**how):
        made = Fake(**how)
        monkeypatch.setattr(session, "_train", made)
        return made

    return use


def seeds_of(study=STUDY):
    accs = {}
    for trial in manifest.known(study, Path("runs")).values():
        accs.setdefault((trial.params["norm"], trial.params["bits"]), []).append(trial.seed)
    return {cell: sorted(seeds) for cell, seeds in accs.items()}


def test_seeds_are_added_where_the_verdict_is_undecided_and_nowhere_else(fake, say):
    made = fake()
    status, out, err = say("ablate.run", *LINE)
    assert (status, err) == (0, ""), out
    values = np.array([[margin + noise(seed, bits) for seed in range(12)] for bits, margin in MARGINS_PP.items()])
    shown, _, taken = sequential.play(values, 0.5)
    assert 3 <= taken[2] < taken[0] <= 12
    for bits, count in zip(MARGINS_PP, taken, strict=True):
        for norm in ("bn", "srelu"):
            assert seeds_of()[norm, bits] == list(range(count))
    assert max(Counter(made.trained).values()) == 1
    assert shown[2]


@pytest.mark.parametrize("at", [4, 25, 60, 75])
def test_killed_at_any_point_the_same_line_ends_with_the_same_seeds(fake, say, monkeypatch, at):
    made = fake()
    run = made.run
    monkeypatch.setattr(made, "run", killed_at(run, at))
    with pytest.raises(Killed):
        say("ablate.run", *LINE)
    monkeypatch.setattr(made, "run", run)
    assert say("ablate.run", *LINE)[0] == 0
    broken = seeds_of()
    say("ablate.run", *LINE, "runs=elsewhere")
    whole = {}
    for trial in manifest.known(STUDY, Path("elsewhere")).values():
        whole.setdefault((trial.params["norm"], trial.params["bits"]), []).append(trial.seed)
    assert broken == {cell: sorted(seeds) for cell, seeds in whole.items()}


def test_a_pair_that_fails_again_and_again_stops_at_the_most_seeds(fake, say):
    fake(fails=lambda config: config["bits"] == 1 and config["norm"]["_target_"].endswith(".srelu"))
    assert say("ablate.run", *LINE)[0] == 1
    assert seeds_of()["srelu", 1] == list(range(12))
    assert len(seeds_of()["srelu", 32]) < 12


def test_the_report_says_decided_where_the_driver_stopped(say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", Fake())
    tracked = [word for word in LINE if word != "track=off"]
    assert say("ablate.run", *tracked)[0] == 0
    assert say("analysis.report")[0] == 0
    report = json.loads(Path(f"reports/{STUDY}/report.json").read_text())
    for row in report["margins"]:
        is_decided = not row["verdict"].startswith("undecided")
        assert is_decided or row["n"] == 12
    assert [row["verdict"] for row in report["margins"] if row["bits"] == 32] == ["first better"]
    assert report["equivalence_pp"] == 0.5


def test_tuned_cells_get_seeds_where_they_decide_too(fake, say, monkeypatch):
    from tests.tuning.test_tuner import OPTIMA
    from tests.tuning.test_tuner import Fake as Tunable

    monkeypatch.setattr(session, "_train", Tunable(OPTIMA))
    line = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=4", "tune.space.recipe.lr=0.1,0.05,0.02,0.01"]
    status, out, _ = say("ablate.run", *line, "seeds=auto", "max_seeds=9", *HERE)
    assert status == 0, out
    trials = manifest.known("digits-norm-tuned", Path("runs")).values()
    final = Counter(trial.params["norm"] for trial in trials if not trial.tuning)
    assert len(set(final.values())) == 1
    assert all(isinstance(run_directory.outcome(trial, Path("runs")), Done) for trial in trials)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["norm=bn", "seeds=auto"], "seeds=auto: no two cells of design=full differ in one factor alone"),
        (["norm=bn,srelu", "seeds=auto", "max_seeds=2"], "max_seeds=2: allowed: 3 to 10000"),
        (["norm=bn,srelu", "seeds=some"], "seeds=some: allowed: 1 to 10000, or auto"),
        (["norm=bn,srelu", "seeds=auto", "equivalence_pp=0"], "equivalence_pp=0: allowed: a number above 0"),
    ],
)
def test_a_mistake_is_one_line(fake, say, words, message):
    made = fake()
    status, out, err = say("ablate.run", "-m", *words, *HERE)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
    assert made.trained == []


def test_the_plan_tells_what_to_expect_and_what_that_saves(say, folder):
    status, out, err = say("ablate.run", *LINE, "mode=plan")
    assert (status, err) == (0, "")
    assert "up to 12" in out
    assert "12 seeds of every cell would be 72" in out


def cell(**levels):
    return Cell(tuple(levels.items()))


def test_pairs_differ_in_the_contrast_alone_and_bn_stands_against_each_temperature():
    cells = [cell(norm="bn", temperature=None)]
    cells = [Cell((("norm", "bn"), ("norm.temperature", None), ("bits", bits))) for bits in (1, 32)]
    cells += [
        Cell((("norm", "srelu"), ("norm.temperature", temperature), ("bits", bits)))
        for temperature in (1, 10)
        for bits in (1, 32)
    ]
    contrasts = pairs(cells, {"norm": ["bn", "srelu"], "norm.temperature": [1, 10], "bits": [1, 32]})
    assert sorted(map(str, (f"{first} | {second}" for first, second in contrasts))) == sorted(
        f"norm=bn norm.temperature=null bits={bits} | norm=srelu norm.temperature={temperature} bits={bits}"
        for temperature in (1, 10)
        for bits in (1, 32)
    )


def test_pairs_are_of_the_first_factor_where_there_is_no_norm_and_numbers_go_by_size():
    cells = [cell(bits=bits, width=width) for bits in (32, 1) for width in (1, 2)]
    contrasts = pairs(cells, {"bits": [32, 1], "width": [1, 2]})
    assert [(str(first), str(second)) for first, second in contrasts] == [
        ("bits=1 width=1", "bits=32 width=1"),
        ("bits=1 width=2", "bits=32 width=2"),
    ]


def test_pairs_of_one_factor_at_a_time_are_all_against_the_base():
    cells = [cell(a=1, b=1), cell(a=2, b=1), cell(a=1, b=2)]
    assert pairs(cells, {"a": [1, 2], "b": [1, 2]}, base=cells[0]) == [(cells[0], cells[1]), (cells[0], cells[2])]
