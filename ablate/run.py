"""Plan, run and track a study: `python -m ablate.run -m norm=bn,srelu bits=1,32`."""

from __future__ import annotations

from ablate.cli import app
from ablate.driver.study_run import run_study
from ablate.planning import plan, schema
from ablate.planning.plan import Plan


def main() -> None:
    schema.register()
    app.main("config", run, sweeps=True)


def run(typed: Plan | app.Composed) -> int:
    """Run what was typed, or show it; return the exit status: see `run_study`.

    Args:
        typed: the plan of a line with -m, or the config of a line without, which asks for one trial.
    """
    if isinstance(typed, Plan):
        return run_study(typed, single=False)
    return run_study(plan.single_trial(typed), single=True)


if __name__ == "__main__":
    main()
