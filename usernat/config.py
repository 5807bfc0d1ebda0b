"""What a gateway can be told, checked before anything is started.

A `Config` that exists is a valid one: every mistake is a `ConfigError` of one line that names the value and says what is possible.
Addresses may be given as text or as `ipaddress` objects, and are kept as `ipaddress` objects.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from usernat.nat.forward import Forward
from usernat.policy.decision import TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_MTU = 68  # bytes, RFC 791 §3.2
MAX_MTU = 65520  # bytes: what a Linux TAP takes, rounded down
DNS_PORT = 53
MAX_BOOT_FILE = 255  # bytes: what one DHCP option holds

# Where things stand in the guest's network, counted from its first address. As in slirp, so that guests made for it fit.
_GATEWAY, _NAMESERVER, _FIRST_LEASE = 2, 3, 15
_LONGEST_PREFIX = 27  # the smallest network that has room for the first lease below its broadcast address
_SHORTEST_PREFIX = 8

LOCAL = "127.0.0.1"  # where forwards are bound if nothing else is said
_FORWARD = re.compile(r"(?:([0-9.]+):)?([0-9]{1,6}):([0-9]{1,6})(?:/(tcp|udp))?")

Resolver = tuple[IPv4Address, int]
"""Address and port of a DNS server."""


class ConfigError(ValueError):
    """A setting that cannot be. `str()` of it is one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one gateway.

    subnet: the guest's network, /8 to /27. The gateway is its address 2, the DNS forwarder 3, leases begin at 15.
    mtu: of the guest's link, bytes, 68 to 65520; the link's own limit counts where it is lower.
    host_loopback: whether the gateway's address reaches services on the host's 127.0.0.1.
    dns: resolvers to forward to, `ADDR` or `ADDR:PORT`, in order of preference; the host's own where empty.
    publish: ports of the host that lead to the guest from the start, as `UserNat.publish` has them.
    anti_spoof: a guest speaks only from an address that DHCP has leased to its MAC address, or from one of `static`; else it is dropped and counted.
    static: addresses that a guest may give itself, the first MAC address that does so; the first lease (`guest`) always is one.
    boot_file: name or URL, told by DHCP, of what a guest that boots from the network is to load (iPXE takes http://…). There is no TFTP server.
    capture: a file that gets every frame in pcap format, None for no capture.
    """

    subnet: IPv4Network | str = "10.0.2.0/24"
    mtu: int = 1500
    host_loopback: bool = False
    dns: Sequence[str | Resolver] = ()
    publish: Sequence[str | Forward] = ()
    anti_spoof: bool = True
    static: Sequence[str | IPv4Address] = ()
    boot_file: str = ""
    capture: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mtu, int) or not MIN_MTU <= self.mtu <= MAX_MTU:
            raise ConfigError(f"mtu must be {MIN_MTU} to {MAX_MTU} bytes, not {self.mtu}")
        if isinstance(self.dns, str):
            raise ConfigError(f"dns must be a sequence of resolvers, not the text {self.dns!r}")
        object.__setattr__(self, "subnet", parse_subnet(self.subnet))
        object.__setattr__(self, "static", parse_static(self.static, self.network))
        object.__setattr__(self, "dns", tuple(parse_resolver(resolver) for resolver in self.dns))
        if isinstance(self.publish, str):
            raise ConfigError(f"publish must be a sequence of forwards, not the text {self.publish!r}")
        object.__setattr__(self, "publish", tuple(parse_forward(forward) for forward in self.publish))
        if not self.boot_file.isascii() or len(self.boot_file) > MAX_BOOT_FILE:
            raise ConfigError(f"boot_file must be at most {MAX_BOOT_FILE} ASCII characters")
        if self.capture == "":
            raise ConfigError("capture must name a file")
        if self.capture is not None:
            object.__setattr__(self, "capture", Path(self.capture))

    @property
    def network(self) -> IPv4Network:
        """The guest's network."""
        assert isinstance(self.subnet, IPv4Network)
        return self.subnet

    @property
    def static_addresses(self) -> tuple[IPv4Address, ...]:
        """The addresses that need no lease, the first lease among them."""
        named = (address for address in self.static if not isinstance(address, str))
        return tuple(dict.fromkeys((self.guest, *named)))

    @property
    def resolvers(self) -> tuple[Resolver, ...]:
        """The resolvers that were named."""
        return tuple(resolver for resolver in self.dns if not isinstance(resolver, str))

    @property
    def forwards(self) -> tuple[Forward, ...]:
        """What is published."""
        return tuple(forward for forward in self.publish if not isinstance(forward, str))

    @property
    def gateway(self) -> IPv4Address:
        """The gateway's address."""
        return self.network[_GATEWAY]

    @property
    def nameserver(self) -> IPv4Address:
        """The DNS forwarder's address."""
        return self.network[_NAMESERVER]

    @property
    def guest(self) -> IPv4Address:
        """The first address that is leased, and the one of a guest that is configured without DHCP."""
        return self.network[_FIRST_LEASE]


def parse_subnet(value: IPv4Network | str) -> IPv4Network:
    """The guest's network. Raises ConfigError for what is no network, or none that a guest can live in."""
    try:
        network = IPv4Network(value)
    except ValueError:
        raise ConfigError(_subnet_mistake(str(value))) from None
    if not _SHORTEST_PREFIX <= network.prefixlen <= _LONGEST_PREFIX:
        raise ConfigError(f"subnet must be /{_SHORTEST_PREFIX} to /{_LONGEST_PREFIX}, not {network}")
    if not 0 < int(network.network_address) >> 24 < 224 or network.is_loopback:
        raise ConfigError(f"subnet must be of unicast addresses outside 0/8 and 127/8, not {network}")
    return network


def _subnet_mistake(text: str) -> str:
    """What is wrong with it, and the network that was probably meant."""
    try:
        meant = ipaddress.IPv4Interface(text).network
    except ValueError:
        return f"not an IPv4 network: {text!r} (for example 10.0.2.0/24)"
    return f"subnet {text} has bits set after its prefix; the network is {meant}"


def parse_static(values: Sequence[str | IPv4Address], network: IPv4Network) -> tuple[IPv4Address, ...]:
    """Addresses that a guest of the network may have. Raises ConfigError."""
    if isinstance(values, str):
        raise ConfigError(f"static must be a sequence of addresses, not the text {values!r}")
    taken = (
        network.network_address,
        network.broadcast_address,
        network[_GATEWAY],
        network[_NAMESERVER],
    )
    addresses = []
    for value in values:
        try:
            address = IPv4Address(value)
        except ValueError:
            raise ConfigError(f"not an address of a guest: {value!r} (for example {network[20]})") from None
        if address not in network or address in taken:
            raise ConfigError(f"not an address of a guest: {address} (it must be a free one of {network})")
        addresses.append(address)
    return tuple(addresses)


def parse_resolver(value: str | Resolver) -> Resolver:
    """`ADDR` or `ADDR:PORT`. Raises ConfigError."""
    if isinstance(value, str):
        address, colon, port_text = value.partition(":")
        port = int(port_text) if port_text.isascii() and port_text.isdigit() else DNS_PORT if not colon else 0
    else:
        address, port = str(value[0]), value[1]
    try:
        resolver = IPv4Address(address)
    except ValueError:
        raise ConfigError(f"not a resolver: {value!r} (an IPv4 address, with :PORT if not 53)") from None
    if not 0 < port <= 65535:
        raise ConfigError(f"not a resolver: {value!r} (the port must be 1 to 65535)")
    if resolver.is_multicast or not 0 < int(resolver) >> 24 < 240:
        raise ConfigError(f"not a resolver: {value!r} (a unicast address is needed)")
    return resolver, port


def parse_forward(value: str | Forward) -> Forward:
    """`[ADDR:]HOST:GUEST[/udp]`: an address of the host (127.0.0.1 where none is given), a port of it (0: any that is free), one of the guest; `/tcp`
    may be said. Raises ConfigError.
    """
    if isinstance(value, str):
        match = _FORWARD.fullmatch(value)
        if match is None:
            raise ConfigError(f"not a forward: {value!r} ([ADDR:]HOST:GUEST[/udp])")
        address_text, host, guest, protocol = match.groups()
        try:
            address = IPv4Address(address_text or LOCAL)
        except ValueError:
            raise ConfigError(f"not a forward: {value!r} ({address_text} is not an IPv4 address)") from None
        forward = Forward(UDP if protocol == "udp" else TCP, int(address), int(host), int(guest))
    else:
        forward = value
    if not 0 <= forward.port <= 65535 or not 0 < forward.guest_port <= 65535:
        raise ConfigError(
            f"not a forward: {str(value)!r} (ports are 1 to 65535, and HOST may be 0 for any that is free)"
        )
    return forward
