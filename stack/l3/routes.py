"""Where a datagram goes next: longest prefix first, then the list of default gateways (RFC 1122 §3.3.1).

Prefixes of our own addresses are on link and need no entry here. An entry may list several gateways; one that does not answer
ARP is passed over for a minute in favour of the next, and never pinged to find out (RFC 1122 §3.3.1.4-a). Redirects
are not listened to, so the table changes by the owner's hand only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

from usernat.stack.addr import format_ip, prefix_mask

if TYPE_CHECKING:
    from usernat.stack.l3.addresses import Addresses

DEAD_GATEWAY_US = 60_000_000
MAX_GATEWAYS = 8  # a route


class Routes:
    """The routing table of one interface. `version` grows with every change, so that what was looked up can be kept."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        # -prefix length -> network -> gateways
        self._table: SortedDict[int, dict[int, list[int]]] = SortedDict()
        self._dead: dict[int, int] = {}  # gateway -> when it is tried again, µs
        self.version = 0

    def add(self, network: int, prefix: int, gateway: int) -> None:
        """Route a prefix by a gateway, behind those that it has already. ValueError where that cannot be."""
        if not 0 <= prefix <= 32 or network & ~prefix_mask(prefix):
            raise ValueError(f"{format_ip(network)}/{prefix} is not a network")
        if self._addresses.on_link(gateway) is None or gateway in self._addresses.own:
            raise ValueError(f"gateway {format_ip(gateway)} is not a neighbour")
        gateways = self._table.setdefault(-prefix, {}).setdefault(network, [])
        if gateway in gateways:
            return
        if len(gateways) == MAX_GATEWAYS:
            raise ValueError(f"a route has at most {MAX_GATEWAYS} gateways")
        gateways.append(gateway)
        self.version += 1

    def add_default(self, gateway: int) -> None:
        """Add a default gateway behind those there are (RFC 1122 §3.3.1.2-b)."""
        self.add(0, 0, gateway)

    def remove(self, network: int, prefix: int) -> None:
        """Forget a route with all its gateways. ValueError where there is none."""
        networks = self._table.get(-prefix, {})
        if networks.pop(network, None) is None:
            raise ValueError(f"no route to {format_ip(network)}/{prefix}")
        if not networks:
            del self._table[-prefix]
        self.version += 1

    def next_hop(self, dst: int) -> int | None:
        """The neighbour to hand a datagram for `dst` to: `dst` itself where it is on link, None where no route is."""
        if self._addresses.on_link(dst) is not None:  # RFC 1122 §3.3.1.1-a, -b: for that no gateway is needed
            return dst
        for (
            negative_length,
            networks,
        ) in self._table.items():  # the default, of length zero, comes last: RFC 1122 §3.3.1.2-a
            gateways = networks.get(dst & prefix_mask(-negative_length))
            if gateways:
                return self._living(gateways)
        return None

    def gateway_failed(self, gateway: int, now: int) -> None:
        """A neighbour did not answer: where it is a gateway, prefer others for a while."""
        if any(gateway in gateways for networks in self._table.values() for gateways in networks.values()):
            self._dead[gateway] = now + DEAD_GATEWAY_US
            self.version += 1

    def poll_at(self) -> int | None:
        """When the next failed gateway gets another chance."""
        return min(self._dead.values()) if self._dead else None

    def on_time(self, now: int) -> None:
        """Give failed gateways whose minute is over another chance."""
        for gateway in [gateway for gateway, until in self._dead.items() if until <= now]:
            del self._dead[gateway]
            self.version += 1

    def _living(self, gateways: list[int]) -> int | None:
        """The first gateway that is not known to be down, or the first of all; None where none is a neighbour any more."""
        near = [gateway for gateway in gateways if self._addresses.on_link(gateway) is not None]
        return next((gateway for gateway in near if gateway not in self._dead), near[0] if near else None)
