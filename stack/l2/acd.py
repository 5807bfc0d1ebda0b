"""Address conflict detection (RFC 5227): may we have this address, and may we keep it?

Before a host uses an address it probes three times and listens; nobody objecting, it announces itself twice; from
then on it defends. A gateway whose addresses are fixed by its configuration skips the probing (§2.1-a asks it of those
who are assigned an address) and starts with the announcement. Both defend the way that §2.4 (c) gives to those whom others depend on:
for ever, with one broadcast in ten seconds at most.

    claim() -> PROBING -- 3 probes, 2 s of silence --> CLAIMED -- 2 announcements
                  '-- somebody has it, or wants it --> CONFLICT
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from usernat.stack.deadlines import Deadlines

if TYPE_CHECKING:
    from random import Random

# RFC 5227 §1.1, in µs
SECOND_US = 1_000_000
PROBE_WAIT = 1 * SECOND_US
PROBE_NUM = 3
PROBE_MIN = 1 * SECOND_US
PROBE_MAX = 2 * SECOND_US
ANNOUNCE_WAIT = 2 * SECOND_US
ANNOUNCE_NUM = 2
ANNOUNCE_INTERVAL = 2 * SECOND_US
MAX_CONFLICTS = 10
RATE_LIMIT_INTERVAL = 60 * SECOND_US
DEFEND_INTERVAL = 10 * SECOND_US

PROBING = "probing"
CLAIMED = "claimed"
CONFLICT = "conflict"

Broadcast = Callable[[int, int], None]  # an ARP request, of sender address and target address


class Claim:
    """Our wish for one address. Only once `state` is CLAIMED may the owner use it (§2.1-a)."""

    __slots__ = ("address", "left", "state")

    def __init__(self, address: int, state: str, left: int) -> None:
        self.address = address
        self.state = state
        self.left = left  # probes or announcements still to be sent

    def __repr__(self) -> str:
        return f"Claim({self.address:#010x}, {self.state})"


class ConflictDetection:
    """All claims and defences of one interface.

    broadcast: sends an ARP request to all. rng: chooses the moments of the probes.
    claims: those that are being probed for, by address.
    """

    def __init__(self, broadcast: Broadcast, rng: Random) -> None:
        self.claims: dict[int, Claim] = {}
        self._broadcast = broadcast
        self._rng = rng
        self._conflicts = 0  # since an address was last claimed without one
        self._last_start: int | None = None
        self._announced: dict[int, Claim] = {}
        self._defended: dict[int, int] = {}  # address of ours to the time of its last defence
        self._deadlines: Deadlines[Claim] = Deadlines()

    def claim(self, address: int, now: int) -> Claim:
        """Begin to probe for an address. A claim for the same address that is under way is returned as it is."""
        under_way = self.claims.get(address)
        if under_way is not None:
            return under_way
        start = now
        if self._conflicts >= MAX_CONFLICTS and self._last_start is not None:
            start = max(now, self._last_start + RATE_LIMIT_INTERVAL)  # §2.1.1-e
        self._last_start = start
        claim = self.claims[address] = Claim(address, PROBING, PROBE_NUM)
        self._deadlines.set(claim, start + self._rng.randrange(PROBE_WAIT + 1))  # §2.1.1-b
        return claim

    def announce(self, address: int, now: int) -> Claim:
        """Announce an address that is ours already, now and once more after two seconds (§2.3-a)."""
        claim = Claim(address, CLAIMED, ANNOUNCE_NUM)
        self.withdraw(address)
        self._announced[address] = claim
        self._step(claim, now)
        return claim

    def withdraw(self, address: int) -> None:
        """The address is ours no longer, or no longer wanted: send nothing more about it."""
        for table in (self.claims, self._announced):
            claim = table.pop(address, None)
            if claim is not None:
                self._deadlines.clear(claim)
        self._defended.pop(address, None)

    def on_arp(self, sender: int, target: int, *, request: bool) -> bool:
        """Hold an ARP packet of another host against the claims; whether it ended one."""
        # §2.1.1-c: whoever speaks from the address has it. §2.1.1-d: whoever probes for it wants it.
        address = sender if sender or not request else target
        claim = self.claims.pop(address, None)
        if claim is None:
            return False
        claim.state = CONFLICT
        self._conflicts += 1
        self._deadlines.clear(claim)
        return True

    def defend(self, address: int, now: int) -> bool:
        """Somebody uses an address of ours: say whose it is. False where that was said less than ten seconds ago."""
        last = self._defended.get(address)
        if last is not None and now - last < DEFEND_INTERVAL:  # §2.4-b, way (c)
            return False
        self._defended[address] = now
        self._broadcast(address, address)
        return True

    def poll_at(self) -> int | None:
        """When the next probe or announcement is due, in µs."""
        return self._deadlines.next()

    def on_time(self, now: int) -> None:
        """Send the probes and announcements that are due."""
        for claim in self._deadlines.expire(now):
            self._step(claim, now)

    def _step(self, claim: Claim, now: int) -> None:
        if claim.state == PROBING and claim.left:
            self._probe(claim, now)
            return
        if claim.state == PROBING:
            del self.claims[claim.address]
            self._conflicts = 0
            self._announced[claim.address] = claim
            claim.state, claim.left = CLAIMED, ANNOUNCE_NUM
        self._broadcast(claim.address, claim.address)
        claim.left -= 1
        if claim.left:
            self._deadlines.set(claim, now + ANNOUNCE_INTERVAL)
        else:
            del self._announced[claim.address]  # §2.1-b: nothing is repeated from here on

    def _probe(self, claim: Claim, now: int) -> None:
        self._broadcast(0, claim.address)  # §2.1.1-a
        claim.left -= 1
        spacing = PROBE_MIN + self._rng.randrange(PROBE_MAX - PROBE_MIN + 1)
        self._deadlines.set(claim, now + (spacing if claim.left else ANNOUNCE_WAIT))
