"""Leases on trials in an object store, which has no locks: numbered objects made only if absent, and a heartbeat.

<trial_id>/claims/000002.json   the second lease; the number is its fencing token
<trial_id>/claims/000002.beat   rewritten while its holder lives, OVER once the holder has ended
<trial_id>/claims/prune         why tuning has the trial stop, until it does

Whoever holds the highest number works on the trial, and what is stored under that number is the truth about it. A
holder that was presumed dead may go on writing: it does so under its own, lower number, sees the higher one, and stops.

Source: M. Kleppmann, How to do distributed locking (2016), on fencing tokens.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ablate.store.object_store import Objects

HEARTBEAT_S = 5.0
DEAD_AFTER_S = 30.0
"""Without a new heartbeat, by the observer's own clock: clocks of two machines are never compared."""
OVER = b"over"


@dataclass(frozen=True)
class Lease:
    """A lease on a trial. `owner` names the driver whose attempt it is. `heartbeat` is the holder's last one."""

    trial_id: str
    number: int
    owner: str = ""
    heartbeat: bytes = b""

    @property
    def is_over(self) -> bool:
        """Whether its holder has given it back."""
        return self.heartbeat == OVER


def stem(trial_id: str, number: int) -> str:
    """Return the prefix of the names of all objects under the number."""
    return f"{trial_id}/{number:06d}"


def numbers(trial_id: str, names: Iterable[str]) -> list[int]:
    """Return the numbers of the leases among the objects' names, ascending."""
    pattern = re.compile(rf"{re.escape(trial_id)}/claims/(\d+)\.json")
    return sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))


def highest(objects: Objects, trial_id: str) -> Lease | None:
    """Return the lease that counts; None for a trial that nobody began."""
    number = last_number(objects, trial_id)
    if not number:
        return None
    lease, heartbeat = (f"{trial_id}/claims/{number:06d}.{ending}" for ending in ("json", "beat"))
    contents = objects.read_all([lease, heartbeat])
    owner = json.loads(contents.get(lease, b"{}")).get("owner", "")
    return Lease(trial_id, number, owner, contents.get(heartbeat, b""))


def highest_of(objects: Objects, trial_ids: Iterable[str]) -> dict[str, Lease]:
    """Return the leases that count, of those trials that were ever begun, in a few requests however many they are."""
    wanted = set(trial_ids)
    last: dict[str, int] = {}
    for name in objects.names() if len(wanted) > 1 else objects.names(*wanted):
        match = re.fullmatch(r"([^/]+)/claims/(\d+)\.json", name)
        if match and match[1] in wanted:
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    name_of = {trial_id: f"{trial_id}/claims/{number:06d}.beat" for trial_id, number in last.items()}
    heartbeats = objects.read_all(name_of.values())
    return {
        trial_id: Lease(trial_id, number, heartbeat=heartbeats.get(name_of[trial_id], b""))
        for trial_id, number in last.items()
    }


def last_number(objects: Objects, trial_id: str) -> int:
    """Return the number of the lease that counts; 0 without one."""
    return max(numbers(trial_id, objects.names(f"{trial_id}/claims")), default=0)


def take(objects: Objects, trial_id: str, owner: str, number: int) -> bool:
    """Take the lease with this number; return False when somebody else has it."""
    lease = {"owner": owner, "nonce": uuid.uuid4().hex, "host": os.uname().nodename, "pid": os.getpid()}
    return objects.create(f"{trial_id}/claims/{number:06d}.json", json.dumps(lease).encode())


def send_heartbeat(objects: Objects, trial_id: str, number: int, text: bytes) -> None:
    """Show that the lease's holder lives, with a text unlike the last one; or that it is OVER."""
    objects.write(f"{trial_id}/claims/{number:06d}.beat", text)


class Watch:
    """Recognizes the leases of dead holders by how long this process has seen the same heartbeat.

    Pickled, it takes along which leases are dead, and nothing of the clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.dead: set[tuple[str, int]] = set()
        self._seen: dict[tuple[str, int], tuple[bytes, float]] = {}

    def __getstate__(self) -> dict[str, set[tuple[str, int]]]:
        return {"dead": set(self.dead)}

    def __setstate__(self, state: dict[str, set[tuple[str, int]]]) -> None:
        Watch.__init__(self)
        self.dead = state["dead"]

    def is_alive(self, lease: Lease | None) -> bool:
        """Return whether somebody works under the lease, as far as can be known now."""
        if lease is None or lease.is_over:
            return False
        key, now = (lease.trial_id, lease.number), self.clock()
        heartbeat, since = self._seen.setdefault(key, (lease.heartbeat, now))
        if heartbeat != lease.heartbeat:
            self._seen[key] = lease.heartbeat, now
            self.dead.discard(key)
        elif now - since >= DEAD_AFTER_S:
            self.dead.add(key)
        return key not in self.dead
