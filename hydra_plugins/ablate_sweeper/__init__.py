"""Hydra's hook for -m: the whole line becomes one study, and the app's own function runs it."""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class AblateSweeper(Sweeper):
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.task, self.master = hydra_context.config_loader, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Pass a `Plan` to the app. Without -m, Hydra passes it one config."""
        from ablate.planning import plan

        return self.task(plan.sweep(self.loader, self.master, arguments))


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="ablate",
    node={"_target_": f"{__name__}.{AblateSweeper.__name__}"},
    provider="ablate",
)
