"""A guest speaks from the addresses that it was given, and from no others (RFC 1812 §5.3.8, BCP 38).

    leased   DHCP has bound the address to the MAC address, and the lease runs
    static   few addresses of the configuration can be used without asking; the first MAC address that does claims it, and DHCP
             leases it to nobody else from then on

All that is known stands in the lease table, which tells of each change at once; the guard keeps it as the flat dict that the stack looks into for
every packet. So an address that was released, declined or has run out is nobody's at the very next packet.

A guest that has no address yet speaks from 0.0.0.0, to DHCP and in ARP probes; the stack lets that pass. What a MAC address is worth is a question to the link:
where several guests share one, a guest that forges both addresses of another passes for it, as on any Ethernet without port security.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from usernat.nat.dhcp.leases import LeaseTable


class SourceGuard:
    """The `SourceValidation` of a gateway. What it refuses is counted in the stack, `arp.spoofed_source` and `ipv4.spoofed_source`.

    leases: of the gateway's DHCP server, which the guard watches from now on. static: addresses that can be used without a lease.
    changed_hands(address): called when an address has become another MAC address's, or nobody's.
    bindings: the MAC address that may use each address now. At most one for each address of the pool, and the static ones.
    """

    __slots__ = ("_changed_hands", "_leases", "_static", "bindings")

    def __init__(
        self,
        leases: LeaseTable,
        static: Iterable[int] = (),
        changed_hands: Callable[[int], None] = lambda _address: None,
    ) -> None:
        self.bindings = {
            lease.address: mac for lease in leases if (mac := leases.owner(lease.address)) is not None
        }
        self._static = frozenset(static)
        self._changed_hands = changed_hands
        self._leases = leases
        leases.watch = self._changed

    def admit(self, address: int, mac: bytes) -> bool:
        """Whether the address, which is not bound to it, may be this MAC address's: a static one that nobody else has."""
        return address in self._static and self._leases.claim(address, mac)

    def _changed(self, address: int, mac: bytes | None) -> None:
        if mac != self.bindings.get(address):
            self._changed_hands(address)
        if mac is None:
            self.bindings.pop(address, None)
        else:
            self.bindings[address] = mac
