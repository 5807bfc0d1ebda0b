"""The server's decisions (RFC 2131 §4.3): one message in, at most one reply out, the lease table in between.

    DISCOVER    OFFER of a held address, or silence when the pool is exhausted
    REQUEST     told apart by its fields (§4.3.6-a, table 4):
                  server id, option 50            SELECTING     ACK what was offered, else NAK
                  option 50 only                  INIT-REBOOT   ACK the client's own address, else NAK
                  neither, ciaddr                 RENEWING or REBINDING: extend and ACK, else NAK
    DECLINE     the address is taken out of service for a while
    RELEASE     the address is free, its record kept
    INFORM      ACK with parameters

As the only server of a network we are authoritative: a client that we do not know but that claims an address is told NAK at once, so that it
starts over. Beside other servers (`authoritative=False`) we know nothing of their clients, and stay silent (§3.2-c).

Addresses are not probed before an offer (a departure from a SHOULD of §2.2): every address of the pool was given out by this table or is
not in use; nor at REQUEST time (§3.1-b). What a client cannot use of our options, and we of its vendor's (RFC 2132 §9.13-a), is ignored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp import replies
from usernat.nat.dhcp.leases import BOUND, Lease, LeaseTable
from usernat.nat.dhcp.message import (
    BOOTREQUEST,
    DECLINE,
    DISCOVER,
    INFINITE,
    INFORM,
    RELEASE,
    REQUEST,
    Message,
)
from usernat.stack.addr import format_ip
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from usernat.nat.dhcp.config import DhcpConfig

log = logging.getLogger(__name__)


@dataclass(slots=True)
class DhcpCounters(Counters):
    """Of the server: malformed messages by reason, then what was decided."""

    short: int = 0
    oversized: int = 0
    no_cookie: int = 0
    bad_hardware: int = 0
    bad_option: int = 0
    no_type: int = 0
    spoofed_mac: int = 0
    not_a_request: int = 0
    relayed: int = 0
    unexpected_type: int = 0
    incomplete: int = 0
    not_owner: int = 0
    other_server: int = 0
    strangers: int = 0
    pool_exhausted: int = 0
    offers: int = 0
    acks: int = 0
    naks: int = 0
    informs: int = 0
    declines: int = 0
    releases: int = 0
    expired: int = 0
    send_failed: int = 0


@dataclass(slots=True)
class Reply:
    """A reply to send: to `unicast_to` (an address), or broadcast where that is None; `chaddr` says that the client cannot answer ARP yet."""

    data: bytes
    unicast_to: int | None
    chaddr: bytes | None = None


class DhcpRules:
    """The decisions over one lease table; knows no sockets. Times in µs."""

    def __init__(self, config: DhcpConfig, counters: DhcpCounters) -> None:
        self._config = config
        self._counters = counters
        self.leases = LeaseTable(config.pool, hold_us=config.hold_us, quarantine_us=config.quarantine_us)
        self._handlers = {
            DISCOVER: self._discover,
            REQUEST: self._request,
            DECLINE: self._decline,
            RELEASE: self._release,
            INFORM: self._inform,
        }

    def handle(self, message: Message, now: int) -> Reply | None:
        """The reply to `message`, None for silence (counted, where it is not what the protocol asks for)."""
        if message.op != BOOTREQUEST:
            self._counters.not_a_request += 1
            return None
        if message.giaddr:
            # RFC 2131 §4.1-c: an answer would have to go to the relay; a network of ours has none, and who claims to be one could
            # speak, and release, for everybody. So there is no answer (§4.2-b)
            self._counters.relayed += 1
            return None
        handler = self._handlers.get(message.type)
        if handler is None:
            self._counters.unexpected_type += 1
            return None
        self.expire(now)
        return handler(message, now)

    def expire(self, now: int) -> None:
        """Frees offers, leases and quarantined addresses whose time has come."""
        self._counters.expired += self.leases.expire(now)

    def _client(self, message: Message) -> bytes:
        """The key of a client in the lease table: what it is by RFC 2131 §4.2, and where it is bound to it, its MAC address."""
        return message.client + message.chaddr if self._config.bound_to_mac else message.client

    # -- DISCOVER ---------------------------------------------------------------------------------------------------

    def _discover(self, message: Message, now: int) -> Reply | None:
        lease = self.leases.offer(
            self._client(message), message.chaddr, message.number(opt.REQUESTED_ADDRESS), now
        )
        if lease is None:
            self._counters.pool_exhausted += 1
            return None
        lease.lease_s = self._lease_time(message, lease, now)
        self._counters.offers += 1
        data = replies.offer(self._config, message, lease.address, lease.lease_s)
        return self._to_client(message, data, lease.address)

    def _lease_time(self, message: Message, lease: Lease, now: int) -> int:
        """Seconds: what is asked within bounds, else what is left of a running lease, else the default (RFC 2131 §4.3.1-b)."""
        config = self._config
        asked = message.number(opt.LEASE_TIME)
        if asked is not None:
            return max(config.min_lease_s, min(asked, config.max_lease_s))
        if lease.state == BOUND:
            left = INFINITE if lease.expires_us is None else (lease.expires_us - now) // 1_000_000
            return max(config.min_lease_s, left)
        return config.lease_s

    # -- REQUEST ----------------------------------------------------------------------------------------------------

    def _request(self, message: Message, now: int) -> Reply | None:
        server = message.number(opt.SERVER_IDENTIFIER)
        requested = message.number(opt.REQUESTED_ADDRESS)
        if server is not None:
            return self._selecting(message, server, requested, now)
        if requested is not None:
            return self._init_reboot(message, requested, now)
        if message.ciaddr:
            return self._extending(message, now)
        self._counters.incomplete += 1
        return None

    def _selecting(self, message: Message, server: int, requested: int | None, now: int) -> Reply | None:
        lease = self.leases.find(self._client(message))
        if server != self._config.server:
            # RFC 2131 §3.1-e: our offer was declined
            self._counters.other_server += 1
            if lease is not None and lease.state != BOUND:
                self.leases.release(lease)
            return None
        # RFC 2131 §4.3.2-a, §3.1-c
        if lease is None or lease.address != requested or message.ciaddr:
            return self._nak(message, "not the address that was offered")
        # RFC 2131 §3.1-a: the time is that of the offer, unless the client asks anew
        asked = message.number(opt.LEASE_TIME)
        lease_s = lease.lease_s if lease.active and asked is None else self._lease_time(message, lease, now)
        return self._ack(message, lease, lease_s, now)

    def _init_reboot(self, message: Message, requested: int, now: int) -> Reply | None:
        # RFC 2131 §3.2-a, §3.2-b
        lease = self.leases.find(self._client(message))
        if lease is None:
            return self._stranger(message)
        if lease.address != requested:
            return self._nak(message, "not this client's address")
        return self._ack(message, lease, self._lease_time(message, lease, now), now)

    def _extending(self, message: Message, now: int) -> Reply | None:
        # RFC 2131 §4.3.2-b, §4.3.2-c. Renewing without option 51 asks for a whole lease again, not for what is left of this one
        lease = self.leases.find(self._client(message))
        if lease is None:
            return self._stranger(message)
        if lease.address != message.ciaddr:
            return self._nak(message, "not this client's address")
        if message.number(opt.LEASE_TIME) is None:
            return self._ack(message, lease, self._config.lease_s, now)
        return self._ack(message, lease, self._lease_time(message, lease, now), now)

    def _ack(self, message: Message, lease: Lease, lease_s: int, now: int) -> Reply:
        lease.lease_s = lease_s
        self.leases.bind(lease, message.chaddr, None if lease_s == INFINITE else lease_s, now)
        self._counters.acks += 1
        return self._to_client(
            message, replies.ack(self._config, message, lease.address, lease_s), lease.address
        )

    def _stranger(self, message: Message) -> Reply | None:
        """A client that we have no record of, with an address that it says is its own."""
        if self._config.authoritative:
            return self._nak(message, "not a client of this server")
        self._counters.strangers += 1  # RFC 2131 §3.2-c
        return None

    def _nak(self, message: Message, why: str) -> Reply:
        self._counters.naks += 1
        return Reply(replies.nak(self._config, message, why), None)  # RFC 2131 §3.2-d: always broadcast

    # -- DECLINE, RELEASE, INFORM -----------------------------------------------------------------------------------

    def _decline(self, message: Message, now: int) -> None:
        # RFC 2131 §4.3.3-a. The administrator is told once, and by the counter: a guest must not be able to fill a log
        lease = self._own(message, message.number(opt.REQUESTED_ADDRESS))
        if lease is not None:
            if not self._counters.declines:
                address, why = format_ip(lease.address), message.text(opt.MESSAGE)
                log.warning(
                    "a DHCP client has found %s in use by another: %r; from now on they are only counted",
                    address,
                    why,
                )
            self._counters.declines += 1
            self.leases.decline(lease, now)

    def _release(self, message: Message, _now: int) -> None:
        # RFC 2131 §4.3.4-a
        lease = self._own(message, message.ciaddr)
        if lease is not None:
            self._counters.releases += 1
            self.leases.release(lease)

    def _own(self, message: Message, address: int | None) -> Lease | None:
        """The active lease of the client on `address`, None (counted) where it is not its own, or another server's."""
        if message.number(opt.SERVER_IDENTIFIER) not in (None, self._config.server):
            self._counters.other_server += 1
            return None
        lease = self.leases.find(self._client(message))
        if lease is None or not lease.active or lease.address != address:
            self._counters.not_owner += 1
            return None
        return lease

    def _inform(self, message: Message, _now: int) -> Reply | None:
        # RFC 2131 §3.4-a, §3.4-b: unicast to ciaddr, whatever the leases say
        if not self._config.is_host(message.ciaddr):
            self._counters.incomplete += 1
            return None
        self._counters.informs += 1
        return Reply(replies.ack_inform(self._config, message), message.ciaddr)

    def _to_client(self, message: Message, data: bytes, yiaddr: int) -> Reply:
        """Where an OFFER or ACK goes."""
        if message.ciaddr and self._config.is_host(message.ciaddr):
            return Reply(data, message.ciaddr)  # RFC 2131 §4.1-d
        if message.broadcast_flag:
            return Reply(data, None)  # RFC 2131 §4.1-e
        return Reply(data, yiaddr, message.chaddr)  # RFC 2131 §4.1-f: without ARP
