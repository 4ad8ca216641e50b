"""Studies in MLflow: an experiment each, a parent run, a child run per trial. Only this package imports MLflow.

tracker.py     the thread: a queue, retries, patience
writer.py      events -> one trial's run
experiment.py  the study's runs, found or made once, whoever else is making them
owner.py       whose experiment is whose
client.py      how to connect, and which errors mean that no server answers
address.py     checks a tracking address before anything starts
registry.py    puts an exported model into MLflow's registry
remove.py      deletes a study's experiment

Nothing here imports MLflow (1.9 s) before the thread does.
"""
