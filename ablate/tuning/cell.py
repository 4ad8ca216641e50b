"""The tuning of one cell: an optuna_study asked for configurations, and told how their trials went."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import optuna
from optuna.trial import TrialState

from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch, Outcome
from ablate.core.levels import Level
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
    """One cell's optuna_study, new or gone on with.

    A configuration counts as started once a trial of it is handed out. One that comes a second time is told the
    first one's result and counts no more. With a smaller budget than an earlier driver had, only as many of the first
    configurations count as that allows.
    """

    def __init__(self, storage: Any, study: str, tuning: Tuning, cell: TunedCell) -> None:
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
        self.running: dict[str, Any] = {}  # trial_id -> Optuna's trial, while it is not over
        self.told: dict[str, int] = {}  # trial_id -> epochs told
        self.taken_over: list[Trial] = []
        for frozen in self.optuna_study.get_trials(deepcopy=False):
            self._take_over(frozen)

    @property
    def started(self) -> int:
        return len(self.numbers)

    @property
    def spent(self) -> int:
        """Epochs that the configurations trained, all together."""
        return sum(self.told.values())

    @property
    def is_spent(self) -> bool:
        """Whether no further configuration is to be started."""
        promised = sum(self.cell.epochs - self.told[trial_id] for trial_id in self.running)
        is_out_of_epochs = self.tuning.epochs is not None and self.spent + promised >= self.tuning.epochs
        return is_out_of_epochs or self.started >= self.tuning.budget(self.cell)

    @property
    def is_over(self) -> bool:
        return self.is_spent and not self.running

    def ask(self) -> Trial:
        """The next configuration, as a trial."""
        for tries in itertools.count():
            found = self._asked(fresh=self.tuning.sampler == "grid" or tries >= _TRIES)
            trial = self._trial(found.params)
            found.set_user_attr(TRIAL, trial.trial_id)
            if trial.trial_id not in self.numbers:
                self.numbers[trial.trial_id] = found.number
                self.running[trial.trial_id] = found
                self.told[trial.trial_id] = 0
                return trial
            self._tell_twin(found, self.numbers[trial.trial_id])
        raise AssertionError

    def report(self, trial: Trial, event: Epoch) -> str | None:
        """An epoch of a trial; why it is to stop now, if it is."""
        found = self.running.get(trial.trial_id)
        if found is None:
            return None
        value = event.metrics.get(self.tuning.metric)
        if value is None:
            told = f"{trial.cell} tells no {self.tuning.metric} at the end of an epoch"
            raise UsageError(
                f"tune.metric={self.tuning.metric}: {told}; allowed: data that sets images aside to choose by"
            )
        if event.epoch > self.told[trial.trial_id]:
            self.told[trial.trial_id] = event.epoch
            found.report(value, event.epoch)
        if self.tuning.epochs is not None and self.spent >= self.tuning.epochs and event.epoch < self.cell.epochs:
            return f"the cell's budget of {self.tuning.epochs} epochs is spent"
        if self.tuning.pruner != "none" and event.epoch < self.cell.epochs and found.should_prune():
            told = f"{self.tuning.metric} {value:.4g} at epoch {event.epoch} of {self.cell.epochs}"
            return f"{self.tuning.pruner} pruner: {told}"
        return None

    def tell(self, trial: Trial, outcome: Outcome, last: Epoch | None) -> None:
        """How a trial ended; `last` is its last epoch."""
        found = self.running.pop(trial.trial_id, None)
        if found is None:
            return
        kind = "done" if isinstance(outcome, Done) else outcome.kind
        found.set_user_attr(OUTCOME, kind)
        if kind == "done":
            assert last is not None
            found.set_user_attr(LOSS, last.metrics.get("valid_loss", math.inf))
            self.optuna_study.tell(found, last.metrics[self.tuning.metric])
        elif kind == "diverged":
            self.optuna_study.tell(found, 0.0 if self.more_is_better else math.inf)  # a sampler is to keep away
        else:
            self.optuna_study.tell(found, state=TrialState.PRUNED if kind == "pruned" else TrialState.FAIL)

    def best(self) -> Values | None:
        """The configuration with the best `metric`; of equals the smaller loss, then the first. None without any."""
        known = self.optuna_study.get_trials(deepcopy=False)
        counted = set(self.numbers.values())
        done = [one for one in known if one.number in counted and one.user_attrs.get(OUTCOME) == "done"]
        if not done:
            return None

        def place(one: Any) -> tuple[float, float, int]:
            return (-one.value if self.more_is_better else one.value, one.user_attrs[LOSS], one.number)

        return self._values(min(done, key=place).params)

    def _take_over(self, frozen: Any) -> None:
        """One of an earlier driver's, which may have been killed at any point."""
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
                self._tell_twin(optuna.trial.Trial(self.optuna_study, frozen._trial_id), self.numbers[trial.trial_id])
            return
        self.numbers[trial.trial_id] = frozen.number
        self.told[trial.trial_id] = max(frozen.intermediate_values, default=0)
        self.taken_over.append(trial)
        if is_running:
            self.running[trial.trial_id] = optuna.trial.Trial(self.optuna_study, frozen._trial_id)

    def _asked(self, *, fresh: bool) -> Any:
        number = len(self.optuna_study.get_trials(deepcopy=False))
        self.optuna_study.sampler = _sampler(self.tuning, number)
        if fresh:
            self.optuna_study.enqueue_trial(self._untried())
        return self.optuna_study.ask({key: _distribution(dimension) for key, dimension in self.cell.space.items()})

    def _untried(self) -> dict[str, Any]:
        """A configuration of a finite space that was not tried, in an order that is the same for equal spaces."""
        of_each = [_all(dimension) for dimension in self.cell.space.values()]
        points = [dict(zip(self.cell.space, point, strict=True)) for point in itertools.product(*of_each)]
        random.Random(self.tuning.seed).shuffle(points)
        return next(point for point in points if self._trial(point).trial_id not in self.numbers)

    def _tell_twin(self, found: Any, number: int) -> None:
        """Let the sampler know what this configuration gave the first time."""
        twin = next(one for one in self.optuna_study.get_trials(deepcopy=False) if one.number == number)
        found.set_user_attr(TWIN, number)
        if twin.state == TrialState.COMPLETE:
            self.optuna_study.tell(found, twin.value)
        else:
            self.optuna_study.tell(found, state=TrialState.FAIL)

    def _values(self, params: dict[str, Any]) -> dict[str, Level]:
        return {
            key: params[key] if isinstance(dimension, Levels) else dimension.rounded(params[key])
            for key, dimension in self.cell.space.items()
        }

    def _trial(self, params: dict[str, Any]) -> Trial:
        return self.cell.make(self._values(params), self.tuning.seed)


def _distribution(dimension: Dimension) -> Any:
    if isinstance(dimension, Levels):
        return optuna.distributions.CategoricalDistribution(dimension.levels)
    if dimension.whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _all(dimension: Dimension) -> list[Level]:
    if isinstance(dimension, Levels):
        return list(dimension.levels)
    return list(range(int(dimension.low), int(dimension.high) + 1))


def _sampler(tuning: Tuning, number: int) -> Any:
    """Seeded by the configuration's number: the same draws in every cell while they are random, and after a restart."""
    seed = random.Random(f"{tuning.seed} {number}").getrandbits(32)
    if tuning.sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    first = min(_FIRST_RANDOM, math.ceil((tuning.trials or 3 * _FIRST_RANDOM) / 3))
    return optuna.samplers.TPESampler(n_startup_trials=first, multivariate=True, seed=seed)


def _pruner(tuning: Tuning, cell: TunedCell) -> Any:
    if tuning.pruner == "median":
        first = max(2, (tuning.trials or USUAL_TRIALS) // 6)  # that nothing is held against
        return optuna.pruners.MedianPruner(n_startup_trials=first, n_warmup_steps=max(1, round(0.3 * cell.epochs)))
    if tuning.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=cell.epochs)
    return optuna.pruners.NopPruner()
