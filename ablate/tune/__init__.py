"""Fair tuning: every cell the same budget, chosen on validation, winners trained again. The room that knows Optuna."""

from ablate.tune.asked import METRICS, TunedCell, Tuning, check

__all__ = ["METRICS", "TunedCell", "Tuning", "check"]
