"""What the DHCP server tells its clients, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import INFINITE
from usernat.stack.addr import is_unicast, prefix_mask

MAX_POOL = 65536  # addresses: a bound on the lease table


@dataclass(frozen=True, slots=True)
class DhcpConfig:
    """Of one network. Addresses are ints, lease times seconds, other times µs.

    server, prefix: the gateway's address on the guests' network, and the length of its prefix.
    first, last: the pool, both included; every address of it must lie in the network and must not be the gateway's or a name server's.
        Of more than 65,536 addresses only so many are leased, the first ones.
    dns: name servers in order of preference (RFC 5625 §5.1-a).
    mtu: told to clients where it is not 1500 (RFC 2132 §5.1-a). domain: told where it is not empty (RFC 5625 §5.2-a, RFC 2132 §3.17-a).
    boot_file: what a machine that boots from the network is to load, told where it is not empty (RFC 2132 §9.5).
    authoritative: whether this is the only server of the network, so that a client it does not know is refused what it claims, at once.
    max_lease_s: 0xFFFFFFFF lets clients ask for infinite leases.
    bound_to_mac: whether a client that comes with another MAC address is another client, and gets another address. Then nobody gets what is somebody
        else's by repeating its identifier; but RFC 2131 §4.2 has the identifier alone tell who a client is.
    hold_us: how long an offer waits for its REQUEST. quarantine_us: how long a declined address stays out of use.
    Raises ValueError for a pool that cannot work.
    """

    server: int
    prefix: int
    first: int
    last: int
    dns: tuple[int, ...] = ()
    mtu: int = 1500
    domain: str = ""
    boot_file: str = ""
    authoritative: bool = True
    bound_to_mac: bool = False
    lease_s: int = 86_400
    min_lease_s: int = 60
    max_lease_s: int = 7 * 86_400
    hold_us: int = 30_000_000
    quarantine_us: int = 600_000_000
    parameters: dict[int, bytes] = field(init=False)

    def __post_init__(self) -> None:
        mask = prefix_mask(self.prefix)
        network = self.server & mask
        broadcast = network | ~mask & 0xFFFFFFFF
        if not network < self.first <= self.last < broadcast:
            raise ValueError("the DHCP pool must lie between the network's first and last host address")
        if any(self.first <= address <= self.last for address in (self.server, *self.dns)):
            raise ValueError("the DHCP pool contains the address of the gateway or of a name server")
        if not 0 < self.min_lease_s <= self.lease_s <= self.max_lease_s <= INFINITE:
            raise ValueError(
                "lease times must satisfy 0 < min_lease_s <= lease_s <= max_lease_s <= 0xFFFFFFFF"
            )
        object.__setattr__(self, "parameters", self._parameters(mask, broadcast))

    def _parameters(self, mask: int, broadcast: int) -> dict[int, bytes]:
        """The options that clients may ask for; the mask stands before the router (RFC 2132 §3.3-a)."""
        parameters = {
            opt.SUBNET_MASK: opt.address_list(mask),
            opt.ROUTER: opt.address_list(self.server),
            opt.DOMAIN_NAME_SERVER: opt.address_list(*self.dns),
            opt.DOMAIN_NAME: self.domain.encode("ascii"),
            opt.INTERFACE_MTU: self.mtu.to_bytes(2, "big") if self.mtu != 1500 else b"",
            opt.BROADCAST_ADDRESS: opt.address_list(broadcast),
            opt.BOOT_FILE: self.boot_file.encode("ascii"),
        }
        return {tag: data for tag, data in parameters.items() if data}

    @property
    def pool(self) -> range:
        """The addresses to lease: of a huge network the first ones, since each may come to have a record."""
        return range(self.first, min(self.last + 1, self.first + MAX_POOL))

    def is_host(self, address: int) -> bool:
        """Whether the address can be a host's on this network."""
        mask = prefix_mask(self.prefix)
        in_network = address & mask == self.server & mask and address & ~mask & 0xFFFFFFFF not in (
            0,
            ~mask & 0xFFFFFFFF,
        )
        return in_network and address != self.server and is_unicast(address)
