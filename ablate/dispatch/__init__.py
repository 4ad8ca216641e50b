"""Where and when trials run: `in_process` and `on_ray`, one contract. The one room that knows Ray."""

from ablate.dispatch.here import in_process
from ablate.dispatch.on_ray import Aids, on_ray
from ablate.dispatch.queue import Queue
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents

__all__ = ["Aids", "Queue", "RunInSlot", "Slot", "TrialEvents", "in_process", "on_ray"]
