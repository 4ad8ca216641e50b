"""Plan, run and track a study: `python -m ablate.run -m norm=bn,srelu bits=1,32`; `trial=ID` runs a trial again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ablate.cli import app

if TYPE_CHECKING:
    from ablate.planning.plan import Plan


def main() -> None:
    if any(word.startswith("trial=") for word in sys.argv[1:]):
        from ablate import replay

        replay.main()
    from ablate.planning import schema

    schema.register()
    app.main("run", run, sweeps=True)


def run(typed: Plan | app.Composed) -> int:
    """Run what was typed, or show it; return the exit status: see `run_study`.

    Args:
        typed: the plan of a line with -m, or the config of a line without, which asks for one trial.
    """
    from ablate.driver.study_run import run_study
    from ablate.planning import plan

    if isinstance(typed, plan.Plan):
        return run_study(typed, single=False)
    return run_study(plan.single_trial(typed), single=True)


if __name__ == "__main__":
    main()
