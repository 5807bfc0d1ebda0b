"""Which names each guest has found at which address: what makes a rule about a name mean something for a flow to an address.

The DNS screening binds, the admission of flows asks, and nobody else writes. An address has as many names as the guest has found there, and a
name as many addresses, so that names which share an address neither grant nor revoke for each other (C32). What one guest has found is
no other guest's. A flow is decided once, with the names of that moment: when a binding ends, no flow does (C34).

A record's TTL says when to ask again, not how long the guest will use the address: programs resolve first and connect later. So a binding lives
`FLOOR_S` at least; and `CEILING_S` at most, however long a server would like it to. There is no timer: an end is noticed where somebody looks.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from usernat.stack.counters import Counters

FLOOR_S = 60
CEILING_S = 86_400
SECOND_US = 1_000_000

NAMES = 32  # of one address for one guest: each is judged when a flow to it begins
GUEST_BINDINGS = 4096
BINDINGS = 16384  # of all guests: some 5 MB


@dataclass(slots=True)
class NameCounters(Counters):
    """Of bindings."""

    bound: int = 0
    renewed: int = 0  # found again, and so kept for longer
    expired: int = 0  # over when somebody looked
    too_many_names: int = 0  # gave way to another name of the same address
    guest_full: int = 0  # gave way to another address of the same guest
    full: int = 0  # gave way to another guest's


class _Guest:
    """One guest's addresses, that used longest ago first; each with its names and when they end (µs)."""

    __slots__ = ("addresses", "bindings")

    def __init__(self) -> None:
        self.addresses: OrderedDict[int, dict[str, int]] = OrderedDict()
        self.bindings = 0


class NameTable:
    """The bindings of one gateway's guests. Guests and addresses are integers, times in µs."""

    def __init__(
        self, *, names: int = NAMES, guest_bindings: int = GUEST_BINDINGS, bindings: int = BINDINGS
    ) -> None:
        """Caps: names <= guest_bindings <= bindings, or ValueError."""
        if not 0 < names <= guest_bindings <= bindings:
            raise ValueError("an address has at most as many names as a guest, and a guest as all together")
        self.counters = NameCounters()
        self._names = names
        self._guest_bindings = guest_bindings
        self._bindings = bindings
        self._guests: OrderedDict[int, _Guest] = OrderedDict()  # that used longest ago first
        self._count = 0

    def __len__(self) -> int:
        """Bindings, those included whose end nobody has noticed."""
        return self._count

    def names(self, guest: int, address: int, now: int) -> tuple[str, ...]:
        """Under which names the guest has found the address, sorted. Called once a flow."""
        known = self._guests.get(guest)
        if known is None:
            return ()
        ends = known.addresses.get(address)
        if ends is None:
            return ()
        if min(ends.values()) <= now:
            self._forget_ended(known, ends, now)
            if not ends:
                del known.addresses[address]
                self._forget_if_empty(guest, known)
                return ()
        self._guests.move_to_end(guest)
        known.addresses.move_to_end(address)
        return tuple(sorted(ends))

    def bind(self, guest: int, address: int, name: str, ttl_s: int, now: int) -> None:
        """The guest was told that the name has the address, for so long. Extends what is bound already, and never shortens it."""
        end = now + min(max(ttl_s, FLOOR_S), CEILING_S) * SECOND_US
        known = self._guests.setdefault(guest, _Guest())
        self._guests.move_to_end(guest)
        ends = known.addresses.setdefault(address, {})
        known.addresses.move_to_end(address)
        if name in ends:
            ends[name] = max(end, ends[name])
            self.counters.renewed += 1
            return
        self._make_room(known, ends, now)
        ends[name] = end
        known.bindings += 1
        self._count += 1
        self.counters.bound += 1

    def forget(self, guest: int) -> None:
        """The address is another guest's from now on."""
        known = self._guests.pop(guest, None)
        if known is not None:
            self._count -= known.bindings

    def _make_room(self, known: _Guest, ends: dict[str, int], now: int) -> None:
        """For one more name of an address, which is the one used last."""
        if len(ends) >= self._names:
            self._forget_ended(known, ends, now)
        if len(ends) >= self._names:
            del ends[min(ends, key=ends.__getitem__)]
            self._lost(known, 1)
            self.counters.too_many_names += 1
        while known.bindings >= self._guest_bindings:
            self.counters.guest_full += self._forget_oldest(known)
        while self._count >= self._bindings:
            oldest = next(iter(self._guests))
            self.counters.full += self._forget_oldest(self._guests[oldest])
            self._forget_if_empty(oldest, self._guests[oldest])

    def _forget_ended(self, known: _Guest, ends: dict[str, int], now: int) -> None:
        ended = [name for name, end in ends.items() if end <= now]
        for name in ended:
            del ends[name]
        self._lost(known, len(ended))
        self.counters.expired += len(ended)

    def _forget_oldest(self, known: _Guest) -> int:
        """How many names the address had."""
        _, ends = known.addresses.popitem(last=False)
        self._lost(known, len(ends))
        return len(ends)

    def _forget_if_empty(self, guest: int, known: _Guest) -> None:
        if not known.addresses:
            del self._guests[guest]

    def _lost(self, known: _Guest, count: int) -> None:
        known.bindings -= count
        self._count -= count
