"""The client half of DHCP (RFC 2131 §4.4): gets an address for an interface, keeps it, gives it back.

    INIT ──DISCOVER──> SELECTING ──OFFER──> REQUESTING ──ACK──> BOUND ──T1──> RENEWING ──T2──> REBINDING
      ^                                          │ NAK           ^                │ ACK            │
      └──────────────────────────────────────────┴───────────────┴────────────────┴── expiry, NAK ─┘

Sans-I/O: the owner calls `serve` when the socket is readable, and `on_time` when `poll_at` has come. The address is not probed for
before it is used (§4.4.1, SHOULD): the gateway is the only one who gives addresses out on this link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    ACK,
    BOOTREPLY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    CLIENT_PORT,
    DISCOVER,
    INFINITE,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    SERVER_PORT,
    Message,
    build_message,
    parse_message,
)
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, UNSPECIFIED, prefix_mask
from usernat.stack.l3.addresses import is_host
from usernat.stack.l3.routes import MAX_GATEWAYS

if TYPE_CHECKING:
    from random import Random

    from usernat.stack.interface import Interface

INIT = "init"
SELECTING = "selecting"
REQUESTING = "requesting"
BOUND = "bound"
RENEWING = "renewing"
REBINDING = "rebinding"

SECOND_US = 1_000_000
FIRST_RETRY_S = 4  # RFC 2131 §4.1: doubled up to 64 s, each give or take a second
LAST_RETRY_S = 64
REQUEST_TRIES = 4  # then from the beginning again
MIN_RENEW_RETRY_S = 60  # RFC 2131 §4.4.5

_WANTED = bytes(
    (
        opt.SUBNET_MASK,
        opt.ROUTER,
        opt.DOMAIN_NAME_SERVER,
        opt.DOMAIN_NAME,
        opt.INTERFACE_MTU,
        opt.BROADCAST_ADDRESS,
    )
)
_PREFIXES = {prefix_mask(length): length for length in range(1, 33)}


@dataclass(frozen=True, slots=True)
class Lease:
    """What the server granted. Addresses are ints, times seconds, `since` µs: when it was asked for."""

    address: int
    prefix: int
    server: int
    routers: tuple[int, ...]
    dns: tuple[int, ...]
    lease_s: int
    t1_s: int
    t2_s: int
    mtu: int | None
    since: int

    def at(self, seconds: int) -> int | None:
        """The moment in µs that many seconds into the lease; None where it never comes."""
        return None if seconds == INFINITE else self.since + seconds * SECOND_US


def read_lease(message: Message, since: int) -> Lease | None:
    """The lease that an OFFER or ACK holds, None where it lacks what we need, or gives what cannot be a host's address."""
    server, lease_s = message.number(opt.SERVER_IDENTIFIER), message.number(opt.LEASE_TIME)
    prefix = _PREFIXES.get(message.number(opt.SUBNET_MASK) or 0)
    if not server or not lease_s or prefix is None or not is_host(message.yiaddr, prefix):
        return None
    if lease_s == INFINITE:  # RFC 2131 §3.3: never renewed, whatever else the server says
        t1 = t2 = INFINITE
    else:  # RFC 2131 §4.4.5: the defaults of T1 and T2
        t1 = message.number(opt.RENEWAL_TIME) or lease_s // 2
        t2 = min(message.number(opt.REBINDING_TIME) or lease_s * 7 // 8, lease_s)
    return Lease(
        address=message.yiaddr,
        prefix=prefix,
        server=server,
        routers=tuple(message.addresses(opt.ROUTER)),
        dns=tuple(message.addresses(opt.DOMAIN_NAME_SERVER)),
        lease_s=lease_s,
        t1_s=min(t1, t2),
        t2_s=t2,
        mtu=message.number(opt.INTERFACE_MTU),
        since=since,
    )


class DhcpClient:
    """Keeps one interface leased. `lease` is what it has now, None without. Times in µs."""

    def __init__(self, interface: Interface, mac: bytes, rng: Random) -> None:
        self.state = INIT
        self.lease: Lease | None = None
        self._interface = interface
        self._mac = mac
        self._rng = rng
        self._socket = interface.udp.bind(None, CLIENT_PORT)
        self._socket.owner = self
        self._offer: Lease | None = None
        self._xid = 0
        self._started = 0  # of this acquisition
        self._asked = 0  # when the last REQUEST left: a lease counts from there (RFC 2131 §4.4.1)
        self._tries = 0
        self._due: int | None = None
        self._routed = False  # the default route is ours
        self._server_mac: bytes | None = None

    def start(self, now: int) -> None:
        """From INIT: asks whoever is there."""
        self._drop_lease()
        self._begin(now)
        self.state = SELECTING
        self._discover(now)

    def release(self, now: int) -> None:
        """Gives the lease back (RFC 2131 §4.4.6). The address is taken off the interface by `drop`, once the message is gone."""
        if self.lease is not None:
            self._begin(now)
            server = {opt.SERVER_IDENTIFIER: opt.address_list(self.lease.server)}
            # Nobody answers it, so it must not have to wait for ARP: it goes to where the ACK came from
            self._send(
                RELEASE, server, now, ciaddr=self.lease.address, to=self.lease.server, mac=self._server_mac
            )
        self._due = None

    def drop(self) -> None:
        """Takes the address off the interface; nothing more is sent."""
        self._drop_lease()
        self.state = INIT
        self._due = None

    def poll_at(self) -> int | None:
        """When `on_time` is due."""
        return self._due

    def on_time(self, now: int) -> None:
        """Sends again, renews, rebinds, or lets the lease go."""
        if self._due is None or now < self._due:
            return
        if self.state == SELECTING:
            self._discover(now)
        elif self.state == REQUESTING:
            if self._tries >= REQUEST_TRIES:
                self.start(now)
            else:
                self._select(now)
        elif self.lease is not None:
            self._extend(self.lease, now)

    def serve(self, now: int) -> None:
        """Takes what the server says."""
        while (datagram := self._socket.recv()) is not None:
            message = parse_message(bytes(datagram.data))
            if isinstance(message, str) or message.op != BOOTREPLY:
                continue
            if message.xid == self._xid and message.chaddr == self._mac:
                self._take(message, datagram.packet.link_source, now)

    def _take(self, message: Message, link_source: bytes, now: int) -> None:
        if message.type == OFFER and self.state == SELECTING:
            offer = read_lease(message, now)
            if offer is not None:
                self._offer, self._tries = offer, 0
                self.state = REQUESTING
                self._select(now)
        elif self.state in (REQUESTING, RENEWING, REBINDING):
            if message.type == NAK:
                self.start(now)
            elif message.type == ACK:
                self._server_mac = link_source
                self._bind(read_lease(message, self._asked))

    # -- what is sent -------------------------------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        self._xid = self._rng.getrandbits(32)
        self._started = now
        self._tries = 0

    def _discover(self, now: int) -> None:
        self._send(DISCOVER, {}, now)
        self._retry(now)

    def _select(self, now: int) -> None:
        """RFC 2131 §4.3.2, SELECTING: server identifier and requested address, ciaddr 0."""
        assert self._offer is not None
        self._asked = now
        chosen = {
            opt.SERVER_IDENTIFIER: opt.address_list(self._offer.server),
            opt.REQUESTED_ADDRESS: opt.address_list(self._offer.address),
        }
        self._send(REQUEST, chosen, now)
        self._retry(now)

    def _extend(self, lease: Lease, now: int) -> None:
        """RFC 2131 §4.4.5: from T1 by unicast, from T2 by broadcast, until the lease is over."""
        t2, end = lease.at(lease.t2_s), lease.at(lease.lease_s)
        if end is not None and now >= end:
            self.start(now)
            return
        rebinding = t2 is not None and now >= t2
        if self.state == BOUND or (rebinding and self.state == RENEWING):
            self._begin(now)
        self.state = REBINDING if rebinding else RENEWING
        self._asked = now
        self._send(REQUEST, {}, now, ciaddr=lease.address, to=None if rebinding else lease.server)
        goal = end if rebinding else t2
        assert goal is not None, "an infinite lease is never renewed"
        self._due = min(now + max((goal - now) // 2, MIN_RENEW_RETRY_S * SECOND_US), goal)

    def _retry(self, now: int) -> None:
        wait_s = min(FIRST_RETRY_S << self._tries, LAST_RETRY_S)
        self._tries += 1
        self._due = now + wait_s * SECOND_US + self._rng.randrange(-SECOND_US, SECOND_US)

    def _send(
        self,
        kind: int,
        options: dict[int, bytes],
        now: int,
        *,
        ciaddr: int = 0,
        to: int | None = None,
        mac: bytes | None = None,
    ) -> None:
        message = Message(
            op=BOOTREQUEST,
            type=kind,
            xid=self._xid,
            chaddr=self._mac,
            secs=min((now - self._started) // SECOND_US, 0xFFFF),
            flags=0
            if ciaddr
            else BROADCAST_FLAG,  # without an address we cannot take unicast (RFC 2131 §4.1)
            ciaddr=ciaddr,
        )
        rows = list(options.items())
        if kind != RELEASE:
            rows.append((opt.PARAMETER_REQUEST_LIST, _WANTED))
        data = build_message(message, rows)
        if to is not None:
            self._socket.send(data, to, SERVER_PORT, src=ciaddr, mac=mac)
        else:
            source = ciaddr or UNSPECIFIED
            self._socket.send(data, LIMITED_BROADCAST, SERVER_PORT, src=source, mac=MAC_BROADCAST)

    # -- what is had --------------------------------------------------------------------------------------------------

    def _bind(self, lease: Lease | None) -> None:
        if lease is None:
            return  # an ACK without the necessary: the next try may bring a better one
        if self.lease is None or (lease.address, lease.prefix, lease.routers) != (
            self.lease.address,
            self.lease.prefix,
            self.lease.routers,
        ):
            self._drop_lease()
            self._interface.add_address(lease.address, lease.prefix)
            addresses = self._interface.addresses
            for router in lease.routers[:MAX_GATEWAYS]:
                if router not in addresses.own and addresses.on_link(router) is not None:
                    self._interface.ipv4.routes.add_default(router)
                    self._routed = True
        self.lease = lease
        self.state = BOUND
        self._due = lease.at(lease.t1_s)

    def _drop_lease(self) -> None:
        if self.lease is None:
            return
        if self._routed:
            self._interface.ipv4.routes.remove(0, 0)
            self._routed = False
        self._interface.remove_address(self.lease.address)
        self.lease = None
