"""One guest endpoint of UDP or echo, and its host socket: where the guest has sent, who may answer, what has gone each way.

`datagrams.py` has what all of them share, `host_end.py` what goes through the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.context import ttl_beyond
from usernat.nat.flows import FlowInfo
from usernat.nat.host_end import HostEnd, apart
from usernat.nat.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.datagrams import DatagramNat
    from usernat.nat.destinations import Destinations
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l4.udp import Datagram

QUOTED_PAYLOAD = 8  # RFC 792: at least these bytes of the transport header come back in an error


class DatagramFlow(HostEnd):
    """One guest endpoint and its host socket. `destinations` keys are address << 16 | port, as the guest sees them."""

    __slots__ = (
        "_nat",
        "destinations",
        "guest",
        "guest_port",
        "ledger",
        "started",
        "timeout_us",
    )

    def __init__(
        self, nat: DatagramNat, guest: int, guest_port: int, destinations: Destinations, now: int
    ) -> None:
        super().__init__(nat.context, nat.counters)
        self._nat = nat
        self.guest = guest
        self.guest_port = guest_port
        self.destinations = destinations
        self.started = now
        self.timeout_us = 0  # of silence; the longest that any of its destinations has
        self.ledger = Ledger(nat.context.audit)
        destinations.forgotten = self._forgot

    @property
    def protocol(self) -> int:
        """The IP protocol."""
        return self._nat.protocol

    def forward(self, packet: Packet, port: int, data: Buffer, now: int) -> None:
        """Sends the guest's datagram on."""
        context = self.context
        self._remember(packet, port)
        context.table.deadlines.set(self, now + self.timeout_us)  # RFC 4787 REQ-6
        if context.quota.active and not context.quota.datagram_up(len(data), now):
            return
        if self._send_one(packet, data, context.admission.host_address(packet.dst), port):
            self._went_up(packet.dst, port, 1, len(data))

    def forward_all(self, datagrams: Sequence[Datagram], now: int) -> None:
        """Sends on what differs in its data alone, as `forward` for each would."""
        context = self.context
        packet, port = datagrams[-1].packet, datagrams[-1].dst_port
        context.table.deadlines.set(self, now + self.timeout_us)  # RFC 4787 REQ-6
        if context.quota.active:
            datagrams = [each for each in datagrams if context.quota.datagram_up(len(each.data), now)]
        count, size = self._send_all(datagrams, context.admission.host_address(packet.dst), port)
        self._remember(packet, port)
        self._went_up(packet.dst, port, count, size)

    def _remember(self, packet: Packet, port: int) -> None:
        header_end = len(packet.datagram) - len(packet.payload) + QUOTED_PAYLOAD
        self.destinations.remember(packet.dst << 16 | port, bytes(packet.datagram[:header_end]))

    def _went_up(self, destination: int, port: int, count: int, size: int) -> None:
        nat = self._nat
        nat.counters.forwarded += count
        self.ledger.went_up(nat.account(destination, port), size)

    def _deliver(self, datagrams: Sequence[Buffer], origin: Origin, now: int) -> None:
        address, port, ttl, _called = origin
        nat = self._nat
        quota = self.context.quota
        source = self.context.admission.guest_address(address)
        if source is None or not nat.permits(self, source, port):
            nat.counters.filtered += len(datagrams)  # and refreshes nothing: RFC 7857 §7-a
            return
        if quota.active:
            within = [data for data in datagrams if quota.datagram_down(len(data), now)]
            if not within:
                return
            datagrams = apart(within, datagrams)
        if nat.deliver(self, datagrams, source, port, ttl_beyond(ttl)):
            nat.counters.delivered += len(datagrams)
            self.ledger.went_down(nat.account(source, port), sum(map(len, datagrams)))
            if nat.replies_refresh:
                self.context.table.deadlines.set(self, now + self.timeout_us)
        else:
            nat.counters.guest_full += len(datagrams)

    def _room(self) -> int:
        return self._nat.room()

    def _pause(self) -> None:
        self._nat.pause(self)

    def _quote(self, report: ReportedError) -> bytes | None:
        address = self.context.admission.guest_address(report.address)
        return None if address is None else self.destinations.header(address << 16 | report.port)

    def _forgot(self, key: int) -> None:
        address, port = key >> 16, key & 0xFFFF
        if not self._nat.decided(self, address, port):
            self.ledger.close(self._nat.account(address, port))

    def info(self, expires_us: int | None) -> FlowInfo:
        """See `flows.Flow`."""
        return FlowInfo(self.protocol, self.guest, self.guest_port, 0, 0, "open", self.started, expires_us)

    def on_expiry(self, now: int) -> None:  # noqa: ARG002 - the time is up whatever the time is
        """Silence has lasted long enough."""
        self.abandon()

    def abandon(self) -> None:
        """See `flows.Flow`."""
        self._nat.forget(self)
        self.destinations.clear()
        self.ledger.close_all()
