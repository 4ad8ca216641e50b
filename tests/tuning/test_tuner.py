from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest

from ablate.core.errors import Diverged, Pruned, UsageError
from ablate.core.events import Done, Epoch, Failed, Started
from ablate.core.identity import NUMERICS
from ablate.driver import session
from ablate.planning import nuisance
from ablate.planning.search_space import Levels, Range
from ablate.store import manifest, run_directory
from ablate.tuning import storage
from tests.support.fakes import Killed, killed_at

HERE = ["dispatch=in_process", "track=off", "depth=8", "width=1", "recipe.epochs=5"]
LR = "tune.space.recipe.lr=tag(log,interval(0.001,1))"
SPACE = [LR, "tune.space.norm.temperature=1,3,10"]
TRAINED: list[tuple[str, int]] = []


def acc_of(config, optimum_of):
    """Falls off with the distance from the arm's optimum, in factors of ten of the learning rate."""
    best, acc = optimum_of[config["norm"]["_target_"].rpartition(".")[2]]
    return max(0.1, acc - 0.2 * abs(math.log10(config["recipe"]["lr"] / best)))


class Fake:
    """Trains nothing: accuracies follow from the config; `optima` gives each norm's best learning rate and accuracy."""

    def __init__(self, optima, diverges_above=math.inf):
        self.optima, self.diverges_above = optima, diverges_above
        self.trained = []  # trial directories, as often as they were begun
        self.epochs = Counter()

    def __call__(self, policy, cost, slot):
        return self.run

    def run(self, config, directory):
        self.trained.append(directory.name)
        epochs = config["recipe"]["epochs"]
        yield Started(host="here", pid=1, device="cpu", threads=1, epochs=epochs)
        acc = acc_of(config, self.optima)
        for epoch in range(1, epochs + 1):
            if (directory / run_directory.PRUNE).exists():
                raise Pruned((directory / run_directory.PRUNE).read_text())
            if config["recipe"]["lr"] > self.diverges_above:
                raise Diverged("the training loss is nan in epoch 1")
            valid = acc * (0.5 + 0.5 * epoch / epochs)
            self.epochs[directory.name] += 1
            yield Epoch(epoch=epoch, metrics={"valid_acc": valid, "valid_loss": 1 - valid, "wall_s": 0.1 * epoch})
        test = acc + 0.001 * (config["seed"] % 7)
        yield Done(metrics={"test_acc": test, "wall_s": 0.5}, predicted=[1, 0], labels=[1, 0])


OPTIMA = {"bn": (0.1, 0.90), "srelu": (0.005, 0.95)}
"""At a learning rate of 0.1 for both, batch norm wins by 21 points; each at its best, it loses by 5."""


@pytest.fixture
def fake(monkeypatch, folder):
    def use(optima=OPTIMA, **how):
        made = Fake(optima, **how)
        monkeypatch.setattr(session, "_train", made)
        return made

    return use


def trials_of(study):
    return list(manifest.known(study, Path("runs")).values())


def tried(study):
    return [trial for trial in trials_of(study) if trial.tuning]


def final(study):
    return [trial for trial in trials_of(study) if not trial.tuning]


def acc_by_norm(study):
    ends = {}
    for trial in final(study):
        ends.setdefault(trial.params["norm"], []).append(run_directory.outcome(trial, Path("runs")).metrics["test_acc"])
    return {norm: sum(accs) / len(accs) for norm, accs in ends.items()}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_tuning_finds_the_right_winner_where_one_learning_rate_for_all_finds_the_wrong_one(fake, say, sampler):
    fake()
    say("ablate.run", "-m", "norm=bn,srelu", "recipe.lr=0.1", "study=untuned", *HERE)
    line = ["-m", "norm=bn,srelu", f"tune={sampler}", "tune.trials=16", LR, "study=tuned", *HERE]
    status, out, err = say("ablate.run", *line)
    assert (status, err) == (0, ""), out
    untuned, tuned = acc_by_norm("untuned"), acc_by_norm("tuned")
    assert untuned["bn"] > untuned["srelu"] + 0.1
    assert tuned["srelu"] > tuned["bn"] + 0.01


def test_every_cell_starts_as_many_configurations_and_only_fresh_seeds_are_for_margins(fake, say):
    made = fake()
    line = ["-m", "norm=bn,srelu", "bits=1,32", "tune=random", "tune.trials=6", *SPACE, "seeds=2", *HERE]
    assert say("ablate.run", *line)[0] == 0
    study = "digits-bits-norm-tuned"
    assert Counter(str(trial.cell) for trial in tried(study)) == {
        f"norm={norm} bits={bits}": 6 for norm, bits in itertools.product(("bn", "srelu"), (1, 32))
    }
    assert {trial.seed for trial in tried(study)} == {10_000}
    assert Counter(trial.seed for trial in final(study)) == {0: 4, 1: 4}
    assert max(Counter(made.trained).values()) == 1
    for cell in {trial.cell for trial in final(study)}:
        of_cell = [trial for trial in tried(study) if trial.cell == cell]
        best = max(of_cell, key=lambda trial: acc_of(trial.config, OPTIMA))
        for trial in final(study):
            if trial.cell == cell:
                assert trial.config["recipe"]["lr"] == best.config["recipe"]["lr"]


def test_random_search_tries_the_same_learning_rates_in_every_arm(fake, say):
    fake()
    say("ablate.run", "-m", "norm=bn,srelu", "tune=random", "tune.trials=5", *reversed(SPACE), *HERE)
    lrs = {}
    for trial in tried("digits-norm-tuned"):
        lrs.setdefault(trial.params["norm"], set()).add(trial.config["recipe"]["lr"])
    assert lrs["bn"] == lrs["srelu"]
    assert len(lrs["bn"]) == 5


def test_without_a_number_a_small_space_is_tried_whole_and_a_large_one_20_times(planned):
    small = planned("norm=bn,srelu", "tune=tpe", "tune.space.recipe.lr=0.1,0.2,0.3", SPACE[1])
    large = planned("norm=bn,srelu", "tune=tpe", *SPACE)
    assert (small.tuning.trials, large.tuning.trials) == (3, 20)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_finite_space_is_tried_without_repetition_to_its_last_configuration(fake, say, sampler):
    made = fake()
    space = ["tune.space.recipe.lr=0.1,0.01,0.001", "tune.space.recipe.momentum=0.8,0.9"]
    trials = [] if sampler == "grid" else ["tune.trials=6"]
    assert say("ablate.run", "-m", "norm=bn,srelu", f"tune={sampler}", *trials, *space, *HERE)[0] == 0
    points = Counter(
        (trial.params["norm"], trial.config["recipe"]["lr"], trial.config["recipe"]["momentum"])
        for trial in tried("digits-norm-tuned")
    )
    assert points == dict.fromkeys(itertools.product(("bn", "srelu"), (0.1, 0.01, 0.001), (0.8, 0.9)), 1)
    assert max(Counter(made.trained).values()) == 1


def test_said_again_with_a_larger_budget_it_goes_on_where_it_was(fake, say):
    made = fake()
    line = ["-m", "norm=bn,srelu", "tune=random", LR, "seeds=1", *HERE]
    say("ablate.run", *line, "tune.trials=3")
    first = set(made.trained)
    assert "Nothing to train" in say("ablate.run", *line, "tune.trials=3")[1]
    say("ablate.run", *line, "tune.trials=7")
    assert len(tried("digits-norm-tuned")) == 14
    assert first < set(made.trained)
    assert max(Counter(made.trained).values()) == 1


def test_said_again_with_a_smaller_budget_the_choice_is_among_the_first_ones(fake, say):
    fake()
    line = ["-m", "norm=bn,srelu", "tune=random", LR, "seeds=1", *HERE]
    _, first, _ = say("ablate.run", *line, "tune.trials=2")
    say("ablate.run", *line, "tune.trials=9")
    _, again, _ = say("ablate.run", *line, "tune.trials=2")
    assert [row for row in again.splitlines() if "recipe.lr " in row] == [
        row for row in first.splitlines() if "recipe.lr " in row
    ]


@pytest.mark.parametrize("at", [3, 10, 16, 29, 41])
def test_killed_at_any_point_it_ends_with_the_same_budget_and_trains_nothing_twice(fake, say, monkeypatch, at):
    made = fake()
    line = ["-m", "norm=bn,srelu", "bits=1,32", "tune=tpe", "tune.trials=4", *SPACE, "seeds=1", *HERE]
    run = made.run
    monkeypatch.setattr(made, "run", killed_at(run, at))
    with pytest.raises(Killed):
        say("ablate.run", *line)
    monkeypatch.setattr(made, "run", run)
    assert say("ablate.run", *line)[0] == 0
    done = Counter(str(trial.cell) for trial in tried("digits-bits-norm-tuned"))
    assert set(done.values()) == {4}
    assert len(done) == 4
    twice = [name for name, times in Counter(made.trained).items() if times > 1]
    assert len(twice) <= 1, "the one that was running"
    assert all(
        isinstance(run_directory.outcome(trial, Path("runs")), Done) for trial in trials_of("digits-bits-norm-tuned")
    )


def test_a_torn_last_line_of_the_journal_is_gone_over(fake, say):
    fake()
    line = ["-m", "norm=bn,srelu", "tune=tpe", "tune.trials=4", LR, "seeds=1", *HERE]
    say("ablate.run", *line)
    with Path("runs/studies/digits-norm-tuned.optuna").open("a") as file:
        file.write('{"op_code": 5, "wor')
    assert say("ablate.run", *line, "tune.trials=6")[0] == 0
    assert len(tried("digits-norm-tuned")) == 12


@pytest.mark.parametrize("storage", ["sqlite:///tuning.db", "elsewhere/tuning.log"])
def test_the_storage_may_be_a_database_or_a_file_and_is_gone_on_with(fake, say, storage):
    made = fake()
    line = ["-m", "norm=bn,srelu", "tune=tpe", LR, "seeds=1", f"tune.storage={storage}", *HERE]
    assert say("ablate.run", *line, "tune.trials=3")[0] == 0
    assert say("ablate.run", *line, "tune.trials=5")[0] == 0
    assert len(tried("digits-norm-tuned")) == 10
    assert max(Counter(made.trained).values()) == 1


@pytest.mark.parametrize("content", ["name,acc\nmine,0.9\nyours,", "SQLite format 3\0 and more\nof a database"])
def test_a_file_that_is_no_journal_is_refused_and_keeps_its_last_line(fake, say, content):
    fake()
    Path("mine.csv").write_text(content)
    line = ["-m", "norm=bn,srelu", "tune=tpe", LR, "seeds=1", "tune.storage=mine.csv", *HERE]
    status, _, err = say("ablate.run", *line)
    assert status == 2
    assert "tune.storage=mine.csv: there is another file of that name; allowed: " in err
    assert Path("mine.csv").read_text() == content


def test_mlflows_database_and_optunas_are_not_taken_for_one_anothers(fake, say, mlflow_db):
    fake()
    line = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=2", LR, "seeds=1"]
    status, _, err = say("ablate.run", *line, "tune.storage=sqlite:///mlflow.db", *HERE)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "tune.storage=sqlite:///mlflow.db: it is MLflow's database, and Optuna needs one of its own" in err
    assert say("ablate.run", *line, "tune.storage=sqlite:///tuning.db", *HERE)[0] == 0
    for command in (["ablate.run", *line, *HERE], ["analysis.report"]):
        status, _, err = say(*command, "track.uri=sqlite:///tuning.db")
        assert (status, len(err.splitlines())) == (2, 1)
        assert "track.uri=sqlite:///tuning.db: it is Optuna's database, and MLflow needs one of its own" in err


def test_a_database_with_tables_of_mlflow_is_not_opened_for_a_tuning(mlflow_db):
    """As a server's database, which nothing looks into beforehand."""
    with pytest.raises(UsageError, match=r"^tune\.storage=sqlite:///mlflow\.db: it is MLflow's database"):
        storage.open_storage("sqlite:///mlflow.db", Path("unused"))


def test_configurations_that_diverge_count_and_are_never_chosen(fake, say):
    fake({"bn": (1.0, 0.9), "srelu": (0.01, 0.9)}, diverges_above=0.1)
    status, out, _ = say("ablate.run", "-m", "norm=bn,srelu", "tune=random", "tune.trials=8", LR, *HERE)
    assert status == 0, out
    ends = Counter(
        getattr(run_directory.outcome(trial, Path("runs")), "kind", "done") for trial in tried("digits-norm-tuned")
    )
    assert ends["diverged"] > 0
    assert ends.total() == 16
    assert all(trial.config["recipe"]["lr"] <= 0.1 for trial in final("digits-norm-tuned"))


def test_where_nothing_comes_through_the_cell_is_named_and_the_status_says_so(fake, say):
    fake(diverges_above=0.0)
    status, out, _ = say("ablate.run", "-m", "norm=bn,srelu", "tune=random", "tune.trials=2", LR, *HERE)
    assert status == 1
    assert "norm=bn: none of its configurations came through" in out
    assert final("digits-norm-tuned") == []


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruning_saves_epochs_counts_as_tried_and_keeps_the_choice(fake, say, pruner):
    made = fake()
    line = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=12", LR, "recipe.epochs=14", *HERE[:-1]]
    say("ablate.run", *line, "study=whole")
    whole = made.epochs.total()
    made.epochs.clear()
    for path in Path("runs").glob("t*/events.jsonl"):
        path.unlink()
    say("ablate.run", *line, f"tune.pruner={pruner}", "study=pruned")
    assert made.epochs.total() < 0.8 * whole
    assert len(tried("pruned")) == 24
    chosen = [
        {(trial.params["norm"], trial.config["recipe"]["lr"]) for trial in final(name)} for name in ("whole", "pruned")
    ]
    assert chosen[0] == chosen[1]


def test_a_pruned_configuration_goes_on_where_a_study_asks_for_it_whole(fake, say):
    fake()
    line = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=12", LR, "recipe.epochs=14", *HERE[:-1]]
    say("ablate.run", *line, "tune.pruner=median", "study=pruned")
    ends = {trial.trial_id: run_directory.outcome(trial, Path("runs")) for trial in tried("pruned")}
    pruned = {trial_id for trial_id, end in ends.items() if isinstance(end, Failed)}
    assert {ends[trial_id].kind for trial_id in pruned} == {"pruned"}
    say("ablate.run", *line, "study=whole")
    requested = {trial.trial_id: trial for trial in tried("whole")}
    assert pruned <= requested.keys()
    assert all(isinstance(run_directory.outcome(trial, Path("runs")), Done) for trial in requested.values())


def test_a_budget_of_epochs_is_the_same_for_every_cell(fake, say):
    made = fake()
    line = ["-m", "norm=bn,srelu", "tune=random", "tune.epochs=23", "tune.pruner=median", *SPACE, "seeds=1", *HERE]
    assert say("ablate.run", *line)[0] == 0
    spent = Counter()
    for trial in tried("digits-norm-tuned"):
        spent[trial.params["norm"]] += made.epochs[trial.trial_id]
    assert set(spent.values()) == {23}


def test_a_choice_at_the_edge_of_its_space_is_told(fake, say):
    fake({"bn": (0.001, 0.9), "srelu": (0.01, 0.9)})
    line = ["-m", "norm=bn,srelu", "tune=grid", "tune.space.recipe.lr=0.001,0.01,0.1", *HERE]
    _, out, _ = say("ablate.run", *line)
    assert "recipe.lr 0.001 (lowest allowed)" in " ".join(out.split())
    assert out.count("allowed") == 1


def test_data_that_sets_nothing_aside_is_one_line_though_its_config_does_not_say_so(fake, say, monkeypatch):
    made = fake()
    run = made.run

    def without_validation(config, directory):
        for event in run(config, directory):
            yield Epoch(epoch=event.epoch, metrics={"train_loss": 0.1}) if isinstance(event, Epoch) else event

    monkeypatch.setattr(made, "run", without_validation)
    status, _, err = say("ablate.run", "-m", "norm=bn,srelu", "tune=random", "tune.trials=2", LR, *HERE)
    assert status == 2
    assert err.startswith("tune.metric=valid_acc: norm=bn reports no valid_acc at the end of an epoch")
    assert len(err.splitlines()) == 1


def test_two_drivers_do_not_tune_one_study_at_once(fake, say):
    from filelock import FileLock

    fake()
    Path("runs/studies").mkdir(parents=True)
    with FileLock("runs/studies/digits-norm-tuned.tune.lock"):
        status, _, err = say("ablate.run", "-m", "norm=bn,srelu", "tune=random", LR, *HERE)
    assert status == 2
    assert err.startswith("study=digits-norm-tuned: another process is tuning it")


TWO = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*TWO, "tune.space.recipe.lrr=0.1,0.2"],
            "tune.space.recipe.lrr=0.1, 0.2: no such key; did you mean recipe.lr?",
        ),
        ([*TWO, "tune.space.zzz=0.1,0.2"], "tune.space.zzz=0.1, 0.2: no such key; allowed: keys that --cfg job prints"),
        ([*TWO, "tune.space.recipe.lr=0.1"], "tune.space.recipe.lr=0.1: one value leaves nothing to choose"),
        ([*TWO, "tune.space.recipe.lr=interval(1,0.1)"], "the low end below the high one"),
        ([*TWO, "tune.space.recipe.lr=tag(log,interval(0,1))"], "a range in the logarithm begins above 0"),
        ([*TWO, "tune.space.recipe.lr=tag(lin,interval(0,1))"], "tag lin; allowed: log"),
        ([*TWO, "tune.space.recipe.lr=interval(-1,1)"], "recipe.lr=-1: allowed: a number above 0"),
        ([*TWO, "tune.space.recipe.batch_size=interval(16,64)"], "recipe.batch_size"),
        ([*TWO, "tune.space.norm=gn,ln"], "tune.space.norm=gn, ln: norm is a factor of this study"),
        ([*TWO, "tune.space.recipe=paper,scaled_lr"], "a group of options; allowed: a value, as recipe.lr is"),
        ([*TWO, "tune.space.seed=1,2"], "it says where or how a trial runs"),
        ([*TWO, "tune.space.dispatch.max_lost=1,2"], "it says where or how a trial runs"),
        (
            [*TWO, "tune.space.dataset.valid_fraction=0.1,0.2"],
            "it changes the images that configurations are compared on",
        ),
        ([*TWO, LR, LR], "recipe.lr is typed twice"),
        ([*TWO, LR, "tune.metric=test_acc"], "tune.metric=test_acc: validation images are to choose by"),
        ([*TWO, LR, "tune.metric=accuracy"], "tune.metric=accuracy; allowed: valid_acc, valid_loss"),
        (
            [*TWO, LR, "dataset.valid_fraction=0"],
            "dataset.valid_fraction=0 leaves norm=bn no validation images to choose by",
        ),
        ([*TWO, LR, "tune.epochs=50"], "two budgets; allowed: one"),
        ([*TWO[:3], LR, "tune.epochs=3"], "tune.epochs=3: one trial trains 5; allowed: 5 or more"),
        ([*TWO[:3], LR, "tune.trials=0"], "tune.trials=0: allowed: 1 or more"),
        ([*TWO[:3], LR, "tune.epochs=0"], "tune.epochs=0: allowed: 1 or more"),
        ([*TWO, LR, "tune.seed=2"], "tune.seed=2: margins are made of seeds 0 to 2; allowed: 3 or more"),
        ([*TWO, LR, "tune.pruner=best"], "tune.pruner=best: allowed: none, median, hyperband"),
        ([*TWO, LR, "tune.storage=nope://x"], "tune.storage=nope://x: "),
        (
            [*TWO, LR, "tune.storage=sqlite:///all.db", "track.uri=sqlite:///all.db"],
            "tune.storage=sqlite:///all.db track.uri=sqlite:///all.db: one database for both, ",
        ),
        ([*TWO[:3], "tune.trials=9", "tune.space.recipe.lr=0.1,0.2"], "holds 2 configurations; allowed: up to 2"),
        ([*TWO, "tune.space.norm.temperature=1,2,3,4"], "tune=random: norm=bn has nothing to choose"),
        (["-m", "norm=bn,srelu", "tune=grid", LR], "a grid has levels; allowed: a,b, or tune=random or tpe"),
        (
            ["-m", "norm=bn,srelu", "tune=grid", "tune.space.recipe.lr=0.1,0.2", SPACE[1]],
            "every cell is to get the same",
        ),
        (["-m", "norm=bn,srelu", "tune=random"], "tune=random: nothing to choose from"),
        (["-m", "norm=bn,srelu", LR], "tune.space.recipe.lr: with tune=none nothing is tuned; allowed: tune=tpe"),
        (["-m", "norm=bn,srelu", "tune=best", LR], "tune=best: no such option; allowed: grid, none, random, tpe"),
        (["tune=random"], "tune=random: tune is for a study; allowed: with -m"),
        (["-m", "norm=bn,srelu", "nuisance.recipe.lrr=0.1,0.2"], "no such key; did you mean recipe.lr?"),
        (
            ["-m", "norm=bn,srelu", "nuisance.norm.temperature=1,2"],
            "norm=bn has no such key, and every cell gets the same",
        ),
        ([*TWO, LR, "nuisance.recipe.lr=0.1,0.2"], "nuisance.recipe.lr draws it; allowed: one of the two"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_starts(fake, say, words, message):
    made = fake()
    status, out, err = say("ablate.run", *words, *HERE)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert made.trained == []
    assert not list(Path().glob("runs/t*"))


def test_nuisance_values_are_the_same_in_every_arm_and_cover_their_space(planned):
    made = planned(
        "norm=bn,srelu", "nuisance.recipe.batch_size=32,64,125", "nuisance.recipe.lr=interval(0.01,0.1)", "seeds=24"
    )
    drawn = {}
    for trial in made.study.trials:
        drawn.setdefault(trial.seed, set()).add((trial.config["recipe"]["batch_size"], trial.config["recipe"]["lr"]))
    assert all(len(values) == 1 for values in drawn.values())
    sizes, lrs = zip(*(next(iter(values)) for values in drawn.values()), strict=True)
    assert set(Counter(sizes).values()) == {8}
    assert set(Counter(int((lr - 0.01) / 0.0301) for lr in lrs).values()) <= {7, 8, 9}
    assert made.study.name.startswith("digits-norm-nuisance-")
    assert planned("norm=bn,srelu", "nuisance.recipe.batch_size=32,64", "seeds=24").study.name != made.study.name


def test_more_seeds_draw_what_they_would_have_drawn():
    space = {"a": Levels((1, 2, 3)), "b": Range(0.1, 10.0, log=True)}
    assert [nuisance.draw(space, seed) for seed in range(3)] == [nuisance.draw(space, seed) for seed in range(6)][:3]


def test_draws_of_a_nuisance_factor_never_change():
    """They are part of a trial's identity: with these, NUMERICS would have to go up."""
    space = {"recipe.batch_size": Levels((32, 64, 125)), "recipe.lr": Range(0.01, 0.1, log=True)}
    assert NUMERICS == 2
    assert [tuple(nuisance.draw(space, seed).values()) for seed in range(3)] == DRAWN


DRAWN = [(32, 0.08328), (125, 0.01794), (64, 0.04993)]
