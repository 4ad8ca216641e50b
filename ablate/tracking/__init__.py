"""Studies in MLflow: an experiment each, a parent run, a child run per trial. Of ablate, it alone imports MLflow.

tracker.py     a thread with a queue that writes, and retries while MLflow does not answer
record.py      the format: the tags and params of a study's runs
encoding.py    how values are encoded in tags and params
artifacts.py   the names and contents of artifacts
trial_metadata.py  what trials bring to a study's metadata
writer.py      writes a trial's events to its run
experiment.py  the study's runs, each made once, even when two drivers make it
owner.py       the names of experiments on a server with several users
client.py      how to connect, and which errors mean that no server answers
address.py     checks a tracking address before anything starts
registry.py    puts an exported model into MLflow's registry
remove.py      deletes a study's experiment

None of these modules imports MLflow (1.9 s) before the thread does.
"""
