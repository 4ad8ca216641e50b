"""Where and when trials run: `in_process` and `on_ray`, one contract. The one room that knows Ray.

here.py      one after the other, in this process
on_ray.py    side by side, on a Ray of our own (private_ray.py) or on a cluster (cluster.py)
way_in.py    a cluster's address and token
nodes.py     what each of its machines says of itself
bundle.py    the code that travels there
jobs.py      studies that run there by themselves
"""

from ablate.dispatch.cluster import Cluster
from ablate.dispatch.here import in_process
from ablate.dispatch.on_ray import Aids, on_ray
from ablate.dispatch.queue import Queue
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents
from ablate.dispatch.way_in import check as let_in

__all__ = ["Aids", "Cluster", "Queue", "RunInSlot", "Slot", "TrialEvents", "in_process", "let_in", "on_ray"]
