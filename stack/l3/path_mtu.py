"""How large a datagram the path to a destination takes (RFC 1191).

Only destinations whose path is narrower than our own link have an entry; to all others goes what the link takes, near
or far (a departure from RFC 1122 §3.3.3-c, which is older than path MTU discovery). Estimates go down on "fragmentation needed", which
the transport must have found to quote something that it really sent (RFC 5927 §7), never up; after ten minutes the entry is
forgotten and the link's MTU is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass

from usernat.stack.counters import Counters
from usernat.stack.device import MIN_MTU

AGE_US = 600_000_000  # RFC 1191 §3-d: at least five minutes, ten recommended
MAX_ENTRIES = 1024
PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)  # RFC 1191 §7.1, what lies below 65,535


@dataclass(slots=True)
class PathMtuCounters(Counters):
    """lowered, ignored: what reports did to an estimate. evicted: destinations forgotten for newer ones."""

    lowered: int = 0
    ignored: int = 0
    evicted: int = 0


class PathMtu:
    """Estimates by destination, bounded; the oldest goes first."""

    def __init__(self, link_mtu: int) -> None:
        self._link_mtu = link_mtu
        self._entries: dict[int, tuple[int, int]] = {}  # dst -> (mtu, expires), in the order of expiry
        self.counters = PathMtuCounters()

    def get(self, dst: int) -> int:
        """The largest datagram, in bytes, believed to reach `dst` whole."""
        entry = self._entries.get(dst)
        return entry[0] if entry is not None else self._link_mtu

    def too_big(self, dst: int, mtu: int, datagram_length: int, now: int) -> bool:
        """Take in a "fragmentation needed" about a datagram of ours. True where the estimate went down.

        mtu: of the next hop as reported, 0 from routers older than RFC 1191. datagram_length: of what was too big, in bytes.
        """
        if mtu == 0:
            mtu = _plateau_below(datagram_length)
        mtu = max(mtu, MIN_MTU)  # RFC 1191 §3-b
        if mtu >= self.get(dst):
            self.counters.ignored += 1
            return False  # RFC 1191 §3-c
        self.counters.lowered += 1
        self._entries.pop(dst, None)
        if len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
            self.counters.evicted += 1
        self._entries[dst] = (mtu, now + AGE_US)
        return True

    def poll_at(self) -> int | None:
        """When the oldest estimate is forgotten."""
        for _, expires in self._entries.values():
            return expires
        return None

    def expire(self, now: int) -> list[int]:
        """Forget estimates that are ten minutes old, so that larger datagrams are tried again; returns the destinations."""
        forgotten = []
        while self._entries:
            dst = next(iter(self._entries))
            if self._entries[dst][1] > now:
                break
            del self._entries[dst]
            forgotten.append(dst)
        return forgotten


def _plateau_below(length: int) -> int:
    """RFC 1191 §3-f, §5-a: the largest plateau below the length of what did not fit."""
    return next((plateau for plateau in PLATEAUS if plateau < length), MIN_MTU)
