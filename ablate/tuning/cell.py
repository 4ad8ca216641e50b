"""The tuning of one cell: an Optuna study proposes configurations and gets the results of their trials."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch, Outcome
from ablate.core.levels import Level, is_number
from ablate.core.study import Trial
from ablate.planning.search_space import Dimension, Levels
from ablate.planning.tuning import METRICS, USUAL_TRIALS, TunedCell, Tuning, Values, name_of

TWIN = "twin_of"
LOSS = "valid_loss"
OUTCOME = "outcome"
TRIAL = "trial_id"
_TRIES = 100
_FIRST_RANDOM = 10


class CellTuning:
    """One cell's Optuna study, new or continued.

    A configuration counts as started once a trial of it is handed out. When Optuna proposes it a second time, it gets
    the first trial's result and does not count again. Where an earlier driver had a larger budget, only the first
    configurations count, as many as the budget allows now.
    """

    def __init__(self, storage: optuna.storages.BaseStorage, study: str, tuning: Tuning, cell: TunedCell) -> None:
        self.tuning, self.cell = tuning, cell
        self.more_is_better = METRICS[tuning.metric] == "maximize"
        self.optuna_study = optuna.create_study(
            storage=storage,
            study_name=name_of(study, tuning, cell),
            direction="maximize" if self.more_is_better else "minimize",
            pruner=_pruner(tuning, cell),
            load_if_exists=True,
        )
        self.numbers: dict[str, int] = {}  # trial_id -> number in Optuna
        self.running: dict[str, optuna.trial.Trial] = {}  # trial_id -> Optuna's trial, until it ends
        self.epochs: dict[str, int] = {}  # trial_id -> the last epoch that it reported
        self.taken_over: list[Trial] = []
        for frozen in self.optuna_study.get_trials(deepcopy=False):
            self._take_over(frozen)

    @property
    def started(self) -> int:
        return len(self.numbers)

    @property
    def spent(self) -> int:
        """Return the number of epochs that all configurations trained together."""
        return sum(self.epochs.values())

    @property
    def is_spent(self) -> bool:
        """Return whether the budget allows no further configuration."""
        promised = sum(self.cell.epochs - self.epochs[trial_id] for trial_id in self.running)
        is_out_of_epochs = self.tuning.epochs is not None and self.spent + promised >= self.tuning.epochs
        return is_out_of_epochs or self.started >= self.tuning.budget(self.cell)

    @property
    def is_over(self) -> bool:
        return self.is_spent and not self.running

    def ask(self) -> Trial:
        """Return the next configuration, as a trial."""
        for tries in itertools.count():
            proposed = self._propose(fresh=self.tuning.sampler == "grid" or tries >= _TRIES)
            trial = self._trial(proposed.params)
            proposed.set_user_attr(TRIAL, trial.trial_id)
            if trial.trial_id not in self.numbers:
                self.numbers[trial.trial_id] = proposed.number
                self.running[trial.trial_id] = proposed
                self.epochs[trial.trial_id] = 0
                return trial
            self._tell_twin(proposed, self.numbers[trial.trial_id])
        raise AssertionError

    def report(self, trial: Trial, event: Epoch) -> str | None:
        """Take in an epoch of a trial; return the reason why the trial is to stop now, or None.

        Raises:
            UsageError: the epoch has no value of the metric.
        """
        running = self.running.get(trial.trial_id)
        if running is None:
            return None
        value = event.metrics.get(self.tuning.metric)
        if value is None:
            raise UsageError(
                f"tune.metric={self.tuning.metric}: {trial.cell} reports no {self.tuning.metric} at the end of an "
                "epoch; allowed: data that sets images aside to choose by"
            )
        if event.epoch > self.epochs[trial.trial_id]:
            self.epochs[trial.trial_id] = event.epoch
            running.report(value, event.epoch)
        if self.tuning.epochs is not None and self.spent >= self.tuning.epochs and event.epoch < self.cell.epochs:
            return f"the cell's budget of {self.tuning.epochs} epochs is spent"
        if self.tuning.pruner != "none" and event.epoch < self.cell.epochs and running.should_prune():
            reached = f"{self.tuning.metric} {value:.4g} at epoch {event.epoch} of {self.cell.epochs}"
            return f"{self.tuning.pruner} pruner: {reached}"
        return None

    def tell(self, trial: Trial, outcome: Outcome, last: Epoch | None) -> None:
        """Take in how a trial ended; `last` is its last epoch."""
        running = self.running.pop(trial.trial_id, None)
        if running is None:
            return
        kind = "done" if isinstance(outcome, Done) else outcome.kind
        running.set_user_attr(OUTCOME, kind)
        if kind == "done":
            assert last is not None
            running.set_user_attr(LOSS, last.metrics.get("valid_loss", math.inf))
            self.optuna_study.tell(running, last.metrics[self.tuning.metric])
        elif kind == "diverged":
            self.optuna_study.tell(running, 0.0 if self.more_is_better else math.inf)  # so that the sampler avoids it
        else:
            self.optuna_study.tell(running, state=TrialState.PRUNED if kind == "pruned" else TrialState.FAIL)

    def best(self) -> Values | None:
        """Return the configuration with the best metric, or None where none is done.

        Of equal ones it is the one with the smaller loss, then the one that was proposed first.
        """
        counted = set(self.numbers.values())
        done = [
            (frozen.value, frozen)
            for frozen in self.optuna_study.get_trials(deepcopy=False)
            if frozen.number in counted and frozen.user_attrs.get(OUTCOME) == "done" and frozen.value is not None
        ]
        if not done:
            return None

        def rank(pair: tuple[float, FrozenTrial]) -> tuple[float, float, int]:
            value, frozen = pair
            return (-value if self.more_is_better else value, frozen.user_attrs[LOSS], frozen.number)

        _, best = min(done, key=rank)
        return self._values(best.params)

    def _take_over(self, frozen: FrozenTrial) -> None:
        """Take over a trial of an earlier driver, which may have been killed at any point."""
        is_running = frozen.state == TrialState.RUNNING
        if frozen.params.keys() != self.cell.space.keys() or TWIN in frozen.user_attrs:
            if is_running:
                self.optuna_study.tell(frozen.number, state=TrialState.FAIL)
            return
        if self.started >= self.tuning.budget(self.cell):
            return
        trial = self._trial(frozen.params)
        if trial.trial_id in self.numbers:
            if is_running:
                self._tell_twin(_live(self.optuna_study, frozen), self.numbers[trial.trial_id])
            return
        self.numbers[trial.trial_id] = frozen.number
        self.epochs[trial.trial_id] = max(frozen.intermediate_values, default=0)
        self.taken_over.append(trial)
        if is_running:
            self.running[trial.trial_id] = _live(self.optuna_study, frozen)

    def _propose(self, *, fresh: bool) -> optuna.trial.Trial:
        """Return Optuna's next trial; with `fresh`, one of a configuration that was not tried."""
        number = len(self.optuna_study.get_trials(deepcopy=False))
        self.optuna_study.sampler = _sampler(self.tuning, number)
        if fresh:
            self.optuna_study.enqueue_trial(self._untried())
        return self.optuna_study.ask({key: _distribution(dimension) for key, dimension in self.cell.space.items()})

    def _untried(self) -> dict[str, Level]:
        """Return an untried configuration of a finite space; equal spaces are gone through in the same order."""
        of_each = [_all(dimension) for dimension in self.cell.space.values()]
        points = [dict(zip(self.cell.space, point, strict=True)) for point in itertools.product(*of_each)]
        random.Random(self.tuning.seed).shuffle(points)
        return next(point for point in points if self._trial(point).trial_id not in self.numbers)

    def _tell_twin(self, proposed: optuna.trial.Trial, number: int) -> None:
        """Give the sampler the result that this configuration had as trial `number`."""
        twin = next(frozen for frozen in self.optuna_study.get_trials(deepcopy=False) if frozen.number == number)
        proposed.set_user_attr(TWIN, number)
        if twin.state == TrialState.COMPLETE:
            self.optuna_study.tell(proposed, twin.value)
        else:
            self.optuna_study.tell(proposed, state=TrialState.FAIL)

    def _values(self, params: Mapping[str, Level]) -> dict[str, Level]:
        values: dict[str, Level] = {}
        for key, dimension in self.cell.space.items():
            value = params[key]
            if not isinstance(dimension, Levels):
                assert is_number(value)
                value = dimension.rounded(value)
            values[key] = value
        return values

    def _trial(self, params: Mapping[str, Level]) -> Trial:
        return self.cell.make(self._values(params), self.tuning.seed)


def _live(study: optuna.Study, frozen: FrozenTrial) -> optuna.trial.Trial:
    """Return a running trial of an earlier process, as one that takes reports.

    Optuna has no public way to do so: `FrozenTrial._trial_id` is private. Nothing else here uses a private name.
    """
    return optuna.trial.Trial(study, frozen._trial_id)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Levels):
        return optuna.distributions.CategoricalDistribution(dimension.levels)
    if dimension.whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _all(dimension: Dimension) -> list[Level]:
    if isinstance(dimension, Levels):
        return list(dimension.levels)
    return list(range(int(dimension.low), int(dimension.high) + 1))


def _sampler(tuning: Tuning, number: int) -> BaseSampler:
    """Return the sampler for the configuration with this number, which seeds it.

    So draws are the same in every cell as long as they are random, and the same after a restart.
    """
    seed = random.Random(f"{tuning.seed} {number}").getrandbits(32)
    if tuning.sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    first = min(_FIRST_RANDOM, math.ceil((tuning.trials or 3 * _FIRST_RANDOM) / 3))
    return optuna.samplers.TPESampler(n_startup_trials=first, multivariate=True, seed=seed)


def _pruner(tuning: Tuning, cell: TunedCell) -> BasePruner:
    if tuning.pruner == "median":
        first = max(2, (tuning.trials or USUAL_TRIALS) // 6)  # before that many trials it prunes none
        return optuna.pruners.MedianPruner(n_startup_trials=first, n_warmup_steps=max(1, round(0.3 * cell.epochs)))
    if tuning.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=cell.epochs)
    return optuna.pruners.NopPruner()
