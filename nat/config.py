"""What a gateway is told once, before its guest comes: addresses, switches, caps and time-outs.

The defaults are those of slirp for the addresses (10.0.2.0/24, gateway .2, DNS .3, leases from .15) and those of the NAT RFCs for the
times. All times are in seconds here, for people; the flows turn them into µs once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from usernat.stack.addr import prefix_mask

ECHO_TIMEOUT_S = 60  # RFC 5508 REQ-2: at least 60 s
UDP_TIMEOUT_S = 300  # RFC 4787 REQ-5, REQ-5c: at least 2 minutes, 5 or more by default
UDP_DNS_TIMEOUT_S = 30  # RFC 4787 REQ-5a: well-known ports may have a shorter one
TCP_ESTABLISHED_TIMEOUT_S = 2 * 3600 + 4 * 60  # RFC 5382 REQ-5
TCP_TRANSITORY_TIMEOUT_S = 4 * 60  # RFC 5382 REQ-5, RFC 7857 §2.1-b: of closing connections
TCP_CONNECT_TIMEOUT_S = 4 * 60  # of opening ones; the host's kernel may give up before
FIRST_BYTES_TIMEOUT_S = 10  # a client that speaks first does so at once
PUBLISHED_TIMEOUT_S = 10  # a guest is near; a SYN may be lost three times
ASK_TIMEOUT_S = 30  # a guest's SYNs go on for a minute or more

# RFC 4787 REQ-8
ADDRESS_DEPENDENT = "address-dependent"
ENDPOINT_INDEPENDENT = "endpoint-independent"


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on what guests can make grow (RFC 6888 REQ-5). A full table refuses what is new; what lives is never removed to make room (REQ-11).

    tcp, udp, echo: flows of that kind a guest address may have (RFC 6888 REQ-4, REQ-4b). The exception to the rule above is `tcp_opening`:
    of connections that nobody has established yet, the oldest gives way to the newest, so that unanswered SYNs do not shut out a real one.
    total: flows of all kinds and guests.
    new_per_second: flows a guest address may open a second in the long run, twice that at once (RFC 6888 REQ-4c).
    udp_destinations: destinations that one UDP flow remembers; the one silent for longest is forgotten first.
    echo_pending: the same for the requests of one echo flow.
    forwarded_tcp, forwarded_udp: what comes in by all forwards together, connections and clients; they count here and nowhere else, so that a flood from
    outside leaves the guests their own flows. forward_opening: connections of one forward that the guest has not answered yet; more wait in the
    host's kernel.
    """

    tcp: int = 4096
    tcp_opening: int = 512
    udp: int = 2048
    echo: int = 64
    total: int = 8192
    new_per_second: int = 2000
    udp_destinations: int = 512
    echo_pending: int = 256
    forwarded_tcp: int = 1024
    forwarded_udp: int = 1024
    forward_opening: int = 128


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds of silence after which a flow is over. The defaults are what the RFCs ask for at the least; less is the embedder's own decision.

    tcp_connect: how long the host may try before the held SYN is given up. first_bytes: how long a guest may take to say whom it wants, where a
    rule needs to know. ask: how long somebody who is asked may take. tcp_established: neither end has sent anything;
    tcp_transitory: the same once both directions have ended (RFC 5382 REQ-5a, RFC 7857 §2.1-a). udp: a mapping (RFC 4787 REQ-5b). udp_dns: a
    mapping used for port 53 alone. echo: a binding (RFC 5508 REQ-2a). published: how long a guest may take to answer a connection that comes in by a forward.
    """

    tcp_connect: float = TCP_CONNECT_TIMEOUT_S
    first_bytes: float = FIRST_BYTES_TIMEOUT_S
    ask: float = ASK_TIMEOUT_S
    tcp_established: float = TCP_ESTABLISHED_TIMEOUT_S
    tcp_transitory: float = TCP_TRANSITORY_TIMEOUT_S
    udp: float = UDP_TIMEOUT_S
    udp_dns: float = UDP_DNS_TIMEOUT_S
    echo: float = ECHO_TIMEOUT_S
    published: float = PUBLISHED_TIMEOUT_S

    def __post_init__(self) -> None:
        for field_ in fields(self):
            if getattr(self, field_.name) <= 0:
                raise ValueError(
                    f"time-out {field_.name} must be above 0 s, not {getattr(self, field_.name)}"
                )


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Addresses are integers (`usernat.stack.addr.parse_ip`).

    network, prefix: the guest's subnet; netmask and broadcast, its directed broadcast address, follow from them. gateway, dns: the gateway's addresses in it; lease_first, lease_last: what DHCP gives out.
    lease_s: seconds of a lease. mtu: bytes, told to the guest by DHCP.
    boot_file: name or URL of what a guest that boots from the network is to load, told by DHCP; empty: nothing.
    host_loopback: guest traffic to the gateway's address reaches 127.0.0.1 of the host.
    anti_spoof: a guest speaks only from an address that DHCP has leased to its MAC address, or from one of `static`, which can be used without a lease,
    each by the first MAC address that does.
    udp_filtering: who may send to a guest's mapping (RFC 4787 REQ-8, REQ-8a): the addresses that the guest has sent to from it, or anyone.
    resolvers: (address, port) of upstream DNS servers, in order of preference; empty: those of the host.
    guest_dns: name servers that DHCP tells guests of (RFC 5625 §5.1-a); empty: the gateway's own at `dns`.
    """

    network: int = 0x0A000200
    prefix: int = 24
    gateway: int = 0x0A000202
    dns: int = 0x0A000203
    lease_first: int = 0x0A00020F
    lease_last: int = 0x0A0002FE
    lease_s: int = 86400
    mtu: int = 1500
    boot_file: str = ""
    host_loopback: bool = False
    anti_spoof: bool = False
    static: tuple[int, ...] = ()
    udp_filtering: str = ADDRESS_DEPENDENT
    resolvers: tuple[tuple[int, int], ...] = ()
    guest_dns: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    netmask: int = field(init=False, repr=False)
    broadcast: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.prefix <= 30:
            raise ValueError(f"the guest's network needs a prefix of 1 to 30 bits, not {self.prefix}")
        object.__setattr__(self, "netmask", prefix_mask(self.prefix))
        object.__setattr__(self, "broadcast", self.network | ~self.netmask & 0xFFFFFFFF)
        if self.network & ~prefix_mask(self.prefix):
            raise ValueError("the guest's network has bits set beyond its prefix")
        inside = {
            "gateway": self.gateway,
            "dns": self.dns,
            "lease_first": self.lease_first,
            "lease_last": self.lease_last,
        }
        for name, address in inside.items():
            if not self.network < address < self.broadcast:
                raise ValueError(f"{name} is not an address of the guest's network")
        if self.gateway == self.dns:
            raise ValueError("gateway and dns must be two addresses")
        if self.lease_first > self.lease_last:
            raise ValueError("lease_first is above lease_last")
        if any(self.lease_first <= own <= self.lease_last for own in (self.gateway, self.dns)):
            raise ValueError("gateway and dns must not be among the leased addresses")
        if not all(self.is_guest(address) for address in self.static):
            raise ValueError("static holds what is no guest's address")
        if self.udp_filtering not in {ADDRESS_DEPENDENT, ENDPOINT_INDEPENDENT}:
            raise ValueError(f"udp_filtering must be {ADDRESS_DEPENDENT} or {ENDPOINT_INDEPENDENT}")

    @property
    def addresses(self) -> tuple[tuple[int, int], ...]:
        """The gateway's own addresses with their prefix lengths, as `Interface` takes them."""
        return ((self.gateway, self.prefix), (self.dns, self.prefix))

    def on_link(self, address: int) -> bool:
        """Whether the address belongs to the guest's network."""
        return address & self.netmask == self.network

    def is_guest(self, address: int) -> bool:
        """Whether a guest may bear the address."""
        return self.on_link(address) and address not in (self.network, self.broadcast, self.gateway, self.dns)
