"""Where and when trials run. `in_process` and `on_ray` have the same contract. Only this package imports Ray.

in_process.py      one trial after the other, in this process
on_ray.py          side by side, on an embedded Ray (embedded_ray.py) or on a cluster (cluster.py)
capacity.py        what the machines have, and the share of it that a trial requests
slot.py, queue.py  the resources of a trial, and the trials that wait
shared_data.py     data sets that are held once on a machine
cluster_access.py  a cluster's address and token
node_check.py      the check that each of its machines makes of itself
code_bundle.py     the code that is sent there
jobs.py            studies that run there by themselves
multi_process.py   a trial on several processes; rank.py, one of them
ray_private.py     everything that is used of Ray beyond its public API
"""

from ablate.dispatch.capacity import check_here
from ablate.dispatch.cluster import Cluster
from ablate.dispatch.cluster_access import check as check_access
from ablate.dispatch.in_process import in_process
from ablate.dispatch.on_ray import RayOptions, on_ray
from ablate.dispatch.queue import Queue
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents

__all__ = [
    "Cluster",
    "Queue",
    "RayOptions",
    "RunInSlot",
    "Slot",
    "TrialEvents",
    "check_access",
    "check_here",
    "in_process",
    "on_ray",
]
