"""The lease table: one record an address, so it can never outgrow the pool, and no address can have two holders.

    IDLE      nobody's; `client` is the last holder, who gets it back while nobody else needed it (RFC 2131 §4.3.1)
    OFFERED   held for `client` until the offer expires
    BOUND     leased to `client` until the lease expires
    DECLINED  a client found the address in use; out of service until the quarantine expires
    CLAIMED   used without a lease by the host at `mac`; leased to nobody else

Only an IDLE record ever changes its client, so an active lease cannot be stolen: whoever asks when no address is idle gets nothing.
(A client is what the rules say it is, RFC 2131 §4.2-a: who repeats another's identifier is that client, with a new MAC address, unless
`DhcpConfig.bound_to_mac` makes two of them.)
Addresses are given out in this order (RFC 2131 §4.3.1-a): the client's own, its last one, the one that it uses already, the one it asks for,
one never used, the one idle for longest. What is offered is held for one client, and free again where no REQUEST comes (§3.1-d).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from usernat.stack.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDLE = 0
OFFERED = 1
BOUND = 2
DECLINED = 3
CLAIMED = 4


class Lease:
    """What is known of one address. `expires_us` is None for an infinite lease and for idle records."""

    __slots__ = ("address", "client", "expires_us", "lease_s", "mac", "state")

    def __init__(self, address: int) -> None:
        self.address = address
        self.client = b""
        self.mac = b""
        self.state = IDLE
        self.expires_us: int | None = None
        self.lease_s = 0  # seconds offered or granted

    @property
    def active(self) -> bool:
        """Whether the address belongs to its client now, be it by offer or by lease."""
        return self.state in (OFFERED, BOUND)


class LeaseTable:
    """Who holds which address of `pool`. Times in µs.

    watch: called at each change of a record with the address and the MAC address that may use it now, None for nobody.
    """

    def __init__(self, pool: range, *, hold_us: int, quarantine_us: int) -> None:
        self.pool = pool
        self._hold_us = hold_us
        self._quarantine_us = quarantine_us
        self._fresh = iter(pool)  # addresses not looked at yet
        self._by_address: dict[int, Lease] = {}
        self._by_client: dict[bytes, Lease] = {}
        self._idle: OrderedDict[int, Lease] = OrderedDict()  # the one idle for longest comes first
        self._expiry: Deadlines[int] = Deadlines()  # by address
        self._declined: OrderedDict[int, Lease] = OrderedDict()
        self._in_use: dict[int, None] = {}  # the one in use for longest comes first
        self._claimed: dict[int, Lease] = {}
        self.watch: Callable[[int, bytes | None], None] | None = None

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_address.values())

    def owner(self, address: int) -> bytes | None:
        """The MAC address that holds a lease on `address` now, None where nobody does."""
        lease = self._by_address.get(address)
        return lease.mac if lease is not None and lease.state == BOUND else None

    def first(self) -> int | None:
        """The address that has been in use for longest, by a lease (renewals included) or a claim; None where none is."""
        return next(iter(self._in_use), None)

    def find(self, client: bytes) -> Lease | None:
        """The record of `client`, active or remembered."""
        return self._by_client.get(client)

    def offer(self, client: bytes, mac: bytes, requested: int | None, now: int) -> Lease | None:
        """Holds an address for `client`, None when there is none. A running lease stays as it is."""
        lease = self._by_client.get(client) or self._unused(requested, mac)
        if lease is None:
            return None
        if lease.state != BOUND:
            self._assign(lease, client)
            lease.mac = mac
            self._enter(lease, OFFERED, now + self._hold_us)
        return lease

    def bind(self, lease: Lease, mac: bytes, lease_s: int | None, now: int) -> None:
        """The client took the address for `lease_s` seconds (None: for ever)."""
        lease.mac = mac
        self._enter(lease, BOUND, None if lease_s is None else now + lease_s * 1_000_000)

    def release(self, lease: Lease) -> None:
        """The client gave the address up; the record is kept for its return (RFC 2131 §4.3.4-a)."""
        self._enter(lease, IDLE, None)

    def decline(self, lease: Lease, now: int) -> None:
        """The client found the address in use. At most a quarter of the pool waits so; beyond, the one that waited longest returns."""
        del self._by_client[lease.client]
        lease.client = lease.mac = b""
        self._enter(lease, DECLINED, now + self._quarantine_us)
        if len(self._declined) > max(1, len(self.pool) // 4):
            self._enter(next(iter(self._declined.values())), IDLE, None)

    def claim(self, address: int, mac: bytes) -> bool:
        """The host at `mac` uses the address without a lease; whether it may. It keeps it until it asks for a lease, and is then offered it.

        The address need not be of the pool. The caller knows which may be claimed, and they are few: each makes a record.
        """
        lease = self._by_address.get(address) or self._record(address)
        if lease.state != IDLE:
            return lease.mac == mac
        if lease.client:
            del self._by_client[lease.client]
        lease.client, lease.mac = b"", mac
        self._enter(lease, CLAIMED, None)
        return True

    def expire(self, now: int) -> int:
        """Frees what has run out by `now`; how many."""
        expired = self._expiry.expire(now)
        for address in expired:
            self._enter(self._by_address[address], IDLE, None)
        return len(expired)

    def poll_at(self) -> int | None:
        """When the next record runs out."""
        return self._expiry.next()

    def _unused(self, requested: int | None, mac: bytes) -> Lease | None:
        """The claim of the one who asks, else a record that is nobody's now."""
        for lease in self._claimed.values():
            if lease.mac == mac and lease.address in self.pool:
                return lease
        if requested is not None and requested in self.pool:
            known = self._by_address.get(requested)
            if known is None:
                return self._record(requested)
            if known.state == IDLE:
                return known
        for address in self._fresh:
            if address not in self._by_address:
                return self._record(address)
        return next(iter(self._idle.values()), None)

    def _record(self, address: int) -> Lease:
        lease = self._by_address[address] = self._idle[address] = Lease(address)
        return lease

    def _assign(self, lease: Lease, client: bytes) -> None:
        if lease.client != client:
            if lease.client:
                del self._by_client[lease.client]
            lease.client = client
            self._by_client[client] = lease

    def _enter(self, lease: Lease, state: int, expires_us: int | None) -> None:
        """The one place where a record changes its state, and so its place in the orders."""
        address = lease.address
        self._idle.pop(address, None)
        self._declined.pop(address, None)
        self._claimed.pop(address, None)
        if state in (BOUND, CLAIMED):
            self._in_use[address] = None  # which keeps its place, where it was there
        else:
            self._in_use.pop(address, None)
        lease.state, lease.expires_us = state, expires_us
        self._expiry.set(address, expires_us)
        if state == IDLE:
            self._idle[address] = lease
        elif state == DECLINED:
            self._declined[address] = lease
        elif state == CLAIMED:
            self._claimed[address] = lease
        if self.watch is not None:
            self.watch(address, lease.mac if state in (BOUND, CLAIMED) else None)
