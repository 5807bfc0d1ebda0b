"""One guest endpoint of UDP or echo, and its host socket: what the guest sends, what comes for it, what ICMP says.

`datagrams.py` has what all of them share. What differs in its data alone and comes one behind the other goes on in one call, where the host's sockets can do
that (`host_segmentation.py`), and to the guest in one turn (`stack/l4/udp_run.py`). Whatever is decided, counted and limited is so for each datagram, and what
the host does not take at once it is offered one by one.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from usernat.nat.flows import FlowInfo
from usernat.nat.host_segmentation import MOST_AT_ONCE
from usernat.nat.ledger import Ledger
from usernat.stack.l4.udp_run import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.datagrams import DatagramNat
    from usernat.nat.destinations import Destinations
    from usernat.nat.host import DatagramSocket
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.host_segmentation import Origin, RunSocket
    from usernat.stack.device import Buffer
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l4.udp import Datagram

DATAGRAMS_AN_EVENT = (
    64  # read from one socket before others have their turn; what comes with the last is taken too
)
MOST_AN_EVENT = DATAGRAMS_AN_EVENT - 1 + MOST_AT_ONCE
LARGEST = 65535  # bytes of room without which nothing is read
QUOTED_PAYLOAD = 8  # RFC 792: at least these bytes of the transport header come back in an error


class DatagramFlow:
    """One guest endpoint and its host socket. `destinations` keys are address << 16 | port, as the guest sees them.

    runs: the same socket, if it takes and brings many datagrams at once.
    """

    __slots__ = (
        "_nat",
        "destinations",
        "guest",
        "guest_port",
        "ledger",
        "runs",
        "sock",
        "started",
        "timeout_us",
    )

    def __init__(
        self, nat: DatagramNat, guest: int, guest_port: int, destinations: Destinations, now: int
    ) -> None:
        self._nat = nat
        self.guest = guest
        self.guest_port = guest_port
        self.destinations = destinations
        self.started = now
        self.timeout_us = 0  # of silence; the longest that any of its destinations has
        self.ledger = Ledger(nat.context.audit)
        destinations.forgotten = self._forgot
        self.sock: DatagramSocket
        self.runs: RunSocket | None = None

    @property
    def protocol(self) -> int:
        """The IP protocol."""
        return self._nat.protocol

    def forward(self, packet: Packet, port: int, data: Buffer, now: int) -> None:
        """Sends the guest's datagram on."""
        self._remember(packet, port)
        self._nat.context.table.deadlines.set(self, now + self.timeout_us)  # RFC 4787 REQ-6
        quota = self._nat.context.quota
        if not quota.active or quota.datagram_up(len(data), now):
            self._transmit(packet, port, data)

    def forward_all(self, datagrams: Sequence[Datagram], now: int) -> None:
        """Sends on what differs in its data alone, as `forward` for each would."""
        packet, port = datagrams[-1].packet, datagrams[-1].dst_port
        self._remember(packet, port)
        self._nat.context.table.deadlines.set(self, now + self.timeout_us)  # RFC 4787 REQ-6
        quota = self._nat.context.quota
        if quota.active:
            datagrams = [each for each in datagrams if quota.datagram_up(len(each.data), now)]
        begin = 0
        for run in runs([each.data for each in datagrams]):
            end = begin + len(run)
            if not self._transmit_run(run, packet, port):
                for each in datagrams[begin:end]:
                    self._remember(each.packet, port)  # what is told of it now quotes it
                    self._transmit(each.packet, port, each.data)
                self._remember(packet, port)
            begin = end

    def _transmit_run(self, run: Sequence[Buffer], packet: Packet, port: int) -> bool:
        """Whether the host has taken the whole run, all of it to where `packet` goes."""
        if self.runs is None or len(run) < 2:
            return False
        nat = self._nat
        address = nat.context.admission.host_address(packet.dst)
        if not self.runs.send_run(run, address, port, _ttl_beyond(packet), packet.df):
            return False
        nat.counters.forwarded += len(run)
        self.ledger.went_up(nat.account(packet.dst, port), sum(map(len, run)))
        return True

    def _remember(self, packet: Packet, port: int) -> None:
        header_end = len(packet.datagram) - len(packet.payload) + QUOTED_PAYLOAD
        self.destinations.remember(packet.dst << 16 | port, bytes(packet.datagram[:header_end]))

    def _transmit(self, packet: Packet, port: int, data: Buffer) -> None:
        nat = self._nat
        address = nat.context.admission.host_address(packet.dst)
        failure, mtu = self._send(data, address, port, _ttl_beyond(packet), packet.df)
        if failure == 0:
            nat.counters.forwarded += 1
            self.ledger.went_up(nat.account(packet.dst, port), len(data))
        elif failure in (errno.EAGAIN, errno.ENOBUFS):
            nat.counters.host_full += 1
        else:
            nat.counters.host_failed += 1
            nat.context.host_failed(packet, failure, mtu)

    def _send(self, data: Buffer, address: int, port: int, ttl: int, df: bool) -> tuple[int, int]:
        """0 or an errno, and with EMSGSIZE the path MTU if the host knows it. A socket may first complain of an earlier datagram."""
        mtu = 0
        for _ in range(2):
            try:
                self.sock.send(data, address, port, ttl, df)
                return 0, 0
            except OSError as error:
                failure = error.errno or errno.EIO
            if failure == errno.EAGAIN:
                break
            reports = self.sock.errors()
            mtu = self._tell(reports) or mtu
            if failure == errno.EMSGSIZE:
                break
        else:
            # Errors of other datagrams come faster than they are read: of this one nothing is known.
            failure = errno.EAGAIN if reports else failure
        return failure, mtu

    def on_host(self, readable: bool, writable: bool, now: int) -> None:  # noqa: ARG002 - never watched for writing
        """Datagrams or errors have come."""
        nat = self._nat
        room = nat.room()
        count = 0
        gathered: list[Buffer] = []  # of one origin, and not delivered yet
        origin: Origin = (0, 0, 0)
        failed = False
        while count < DATAGRAMS_AN_EVENT and room >= LARGEST:
            try:
                received = self._receive()
            except OSError:  # an earlier datagram's failure, of which the error queue knows more
                failed = True
                break
            if received is None:
                failed = count == 0
                break
            datagrams, came_from = received
            if came_from != origin:
                if gathered:
                    self._deliver(gathered, origin, now)
                    gathered = []
                origin = came_from
            gathered += datagrams
            count += len(datagrams)
            room -= sum(map(len, datagrams))
        if gathered:
            self._deliver(gathered, origin, now)
        if failed:
            self._tell(self.sock.errors())
        elif (
            room < LARGEST and nat.room() < LARGEST
        ):  # not where what was read did not come to the guest's queue
            nat.pause(self)

    def _receive(self) -> tuple[Sequence[Buffer], Origin] | None:
        if self.runs is not None:
            return self.runs.receive_run()
        received = self.sock.receive()
        return None if received is None else ((received[0],), received[1:])

    def _deliver(self, datagrams: list[Buffer], origin: Origin, now: int) -> None:
        address, port, ttl = origin
        nat = self._nat
        quota = nat.context.quota
        source = nat.context.admission.guest_address(address)
        if source is None or not nat.permits(self, source, port):
            nat.counters.filtered += len(datagrams)  # and refreshes nothing: RFC 7857 §7-a
            return
        if quota.active:
            datagrams = [data for data in datagrams if quota.datagram_down(len(data), now)]
            if not datagrams:
                return
        # A host takes what is for it whatever the TTL, 0 too
        if nat.deliver(self, datagrams, source, port, max(ttl - 1, 1)):
            nat.counters.delivered += len(datagrams)
            self.ledger.went_down(nat.account(source, port), sum(map(len, datagrams)))
            if nat.replies_refresh:
                nat.context.table.deadlines.set(self, now + self.timeout_us)
        else:
            nat.counters.guest_full += len(datagrams)

    def _tell(self, reports: list[ReportedError]) -> int:
        """Tells the guest what ICMP has said of earlier datagrams; returns the path MTU if the host refused the latest one for its size."""
        mtu = 0
        for report in reports:
            if report.offender is None and report.mtu:  # by the host itself, which names no port then
                mtu = report.mtu
            else:
                self._pass_on(report)
        return mtu

    def _pass_on(self, report: ReportedError) -> None:
        nat = self._nat
        address = nat.context.admission.guest_address(report.address)
        header = None if address is None else self.destinations.header(address << 16 | report.port)
        if header is None or not report.icmp:
            nat.counters.errors_unmatched += 1  # RFC 5508 REQ-4
        elif nat.context.translate(report, header):  # RFC 4787 REQ-12b, RFC 5508 REQ-4a
            nat.counters.errors_translated += 1

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


def _ttl_beyond(packet: Packet) -> int:
    """RFC 1812 §5.3.1-a, -c: less by one, and by no more; the last hop is the host's loopback, which is here."""
    return max(packet.ttl - 1, 1)
