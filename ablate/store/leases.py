"""Claims on trials where there is neither a lock nor a rename: numbered objects made if absent, and a beating heart.

<trial_id>/claims/000002.json   the second claim; the number is its fencing token
<trial_id>/claims/000002.beat   rewritten while its holder lives, OVER once it is through
<trial_id>/claims/prune         why a tuning has the trial stop, until it does

Whoever holds the highest number works on the trial, and what stands under that number is the truth about it. A holder
that was taken for dead may write on: it does so under its own, lower number, sees the higher one, and stops.

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

BEAT_S = 5.0
DEAD_AFTER_S = 30.0
"""Without a beat, by the observer's own clock: clocks of two machines are never compared."""
OVER = b"over"


@dataclass(frozen=True)
class Claim:
    """A claim on a trial. `owner`: the driver whose attempt it is. `beat`: what its heart said last."""

    trial_id: str
    number: int
    owner: str = ""
    beat: bytes = b""

    @property
    def is_over(self) -> bool:
        return self.beat == OVER


def stem(trial_id: str, number: int) -> str:
    """What the names of everything under the number begin with."""
    return f"{trial_id}/{number:06d}"


def numbers(trial_id: str, names: Iterable[str]) -> list[int]:
    """The numbers of the claims among the objects' names, ascending."""
    pattern = re.compile(rf"{re.escape(trial_id)}/claims/(\d+)\.json")
    return sorted(int(found[1]) for name in names if (found := pattern.fullmatch(name)))


def highest(objects: Objects, trial_id: str) -> Claim | None:
    """The claim that counts; None on a trial that nobody began."""
    number = last_number(objects, trial_id)
    if not number:
        return None
    claim, beat = (f"{trial_id}/claims/{number:06d}.{ending}" for ending in ("json", "beat"))
    found = objects.read_all([claim, beat])
    return Claim(trial_id, number, json.loads(found.get(claim, b"{}")).get("owner", ""), found.get(beat, b""))


def highest_of(objects: Objects, trial_ids: Iterable[str]) -> dict[str, Claim]:
    """The claims that count, of those trials that were ever begun, in a few requests however many they are."""
    wanted = set(trial_ids)
    last: dict[str, int] = {}
    for name in objects.names() if len(wanted) > 1 else objects.names(*wanted):
        found = re.fullmatch(r"([^/]+)/claims/(\d+)\.json", name)
        if found and found[1] in wanted:
            last[found[1]] = max(last.get(found[1], 0), int(found[2]))
    beats = objects.read_all(f"{one}/claims/{number:06d}.beat" for one, number in last.items())
    return {
        one: Claim(one, number, beat=beats.get(f"{one}/claims/{number:06d}.beat", b"")) for one, number in last.items()
    }


def last_number(objects: Objects, trial_id: str) -> int:
    """The number of the claim that counts; 0 without one."""
    return max(numbers(trial_id, objects.names(f"{trial_id}/claims")), default=0)


def take(objects: Objects, trial_id: str, owner: str, number: int) -> bool:
    """Claim the trial under this number; False when somebody else has it."""
    claim = {"owner": owner, "nonce": uuid.uuid4().hex, "host": os.uname().nodename, "pid": os.getpid()}
    return objects.create(f"{trial_id}/claims/{number:06d}.json", json.dumps(claim).encode())


def beat(objects: Objects, trial_id: str, number: int, text: bytes) -> None:
    """Say that the claim's holder lives, with a text unlike the last one; or that it is OVER."""
    objects.write(f"{trial_id}/claims/{number:06d}.beat", text)


class Watch:
    """Tells claims whose holder died, by how long their beat stayed the same under these eyes.

    Pickled, it takes along which are dead, and nothing of the clock.
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

    def is_alive(self, claim: Claim | None) -> bool:
        """Whether somebody works under the claim, as far as one can tell now."""
        if claim is None or claim.is_over:
            return False
        key, now = (claim.trial_id, claim.number), self.clock()
        beat, since = self._seen.setdefault(key, (claim.beat, now))
        if beat != claim.beat:
            self._seen[key] = claim.beat, now
            self.dead.discard(key)
        elif now - since >= DEAD_AFTER_S:
            self.dead.add(key)
        return key not in self.dead
