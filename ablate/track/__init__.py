"""Studies in MLflow: an experiment each, a parent run, a child run per trial. The one room that knows MLflow.

tracker.py     the thread: a queue, retries, patience
writer.py      events -> one trial's run
experiment.py  the study's runs, found or made once, whoever else is making them
owner.py       whose experiment is whose
client.py      the way in, and which errors mean that nobody is there
__main__.py    python -m ablate.track study=NAME

Nothing here imports MLflow (1.9 s) before the thread does.
"""

from ablate.track.tracker import PATIENCE_S, Tracker, Undelivered

__all__ = ["PATIENCE_S", "Tracker", "Undelivered"]
