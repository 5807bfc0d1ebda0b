"""A datagram socket of the host in the hands of its owner: what mappings, bindings and forwards do alike.

    guest ──> alike ──> _send_all ──> a run, and taken as one ──────────────────> host socket
                              └── else, one by one ──> _send_one ── offered twice ──┴── refused ──> counted, ICMP to the guest
    host socket ──> on_host, so many an event ──> _deliver, together what comes from one origin
    error queue ──> _tell ──> ICMP error that quotes the guest's datagram

What differs in its data alone and comes one behind the other goes on in one call, where the host's sockets can do that
(`host_segmentation.py`), and to the guest in one turn (`stack/l4/udp_run.py`). Whatever is decided, counted and limited is so for each datagram.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.context import ttl_beyond
from usernat.nat.host_segmentation import MOST_AT_ONCE
from usernat.stack.counters import Counters
from usernat.stack.l4.udp_run import MAX_RUN, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usernat.nat.context import Context
    from usernat.nat.host_datagram import ReportedError
    from usernat.nat.host_sockets import DatagramSocket, Origin
    from usernat.stack.device import Buffer
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l4.udp import Datagram, UdpSocket

# Read from one socket before others have their turn; what comes with the last is taken too
DATAGRAMS_AN_EVENT = 64
MOST_AN_EVENT = DATAGRAMS_AN_EVENT - 1 + MOST_AT_ONCE
LARGEST = 65535  # bytes of room without which nothing is read


@dataclass(slots=True)
class HostEndCounters(Counters):
    """Of all owners of one kind; datagrams."""

    host_full: int = 0  # dropped: the host socket took no more
    host_failed: int = 0  # dropped: the host could not send it, and the guest was told
    errors_translated: int = 0  # ICMP errors passed on to the guest
    errors_unmatched: int = 0  # dropped: about no datagram that is remembered


def alike(sock: UdpSocket) -> Iterator[list[Datagram]]:
    """What guests have sent to a socket of the stack, in its order: together those that follow each other and differ in their data alone."""
    recv = sock.recv
    following = recv()
    while following is not None and not sock.closed:  # by somebody who was told of those before
        first, together, following = following, [following], recv()
        packet, src_port, dst_port = first.packet, first.src_port, first.dst_port
        while following is not None and len(together) < MAX_RUN:
            other = following.packet
            if (
                following.dst_port != dst_port
                or following.src_port != src_port
                or other.dst != packet.dst
                or other.src != packet.src
                or other.ttl != packet.ttl
                or other.df != packet.df
            ):
                break
            together.append(following)
            following = recv()
        yield together


class HostEnd:
    """The owner of a host socket, `sock`. Subclasses know what becomes of what comes."""

    __slots__ = ("context", "counters", "sock")

    sock: DatagramSocket

    def __init__(self, context: Context, counters: HostEndCounters) -> None:
        self.context = context
        self.counters = counters

    # -- from guests ------------------------------------------------------------------------------------------------------

    def _send_all(
        self, datagrams: Sequence[Datagram], address: int, port: int, source: int = 0
    ) -> tuple[int, int]:
        """Sends on what is alike, as `_send_one` for each would: how many the host has taken, and how many bytes of data."""
        if len(datagrams) == 1:
            return self._send_each(datagrams, address, port, source)
        count = size = begin = 0
        for run in runs([each.data for each in datagrams]):
            end = begin + len(run)
            packet = datagrams[begin].packet
            ttl = ttl_beyond(packet.ttl)
            if len(run) > 1 and self.sock.send_run(run, address, port, ttl, packet.df, source):
                count += len(run)
                size += sum(map(len, run))
            else:
                taken, bytes_taken = self._send_each(datagrams[begin:end], address, port, source)
                count += taken
                size += bytes_taken
            begin = end
        return count, size

    def _send_each(
        self, datagrams: Sequence[Datagram], address: int, port: int, source: int
    ) -> tuple[int, int]:
        count = size = 0
        for each in datagrams:
            self._remember(each.packet, port)
            if self._send_one(each.packet, each.data, address, port, source):
                count += 1
                size += len(each.data)
        return count, size

    def _send_one(self, packet: Packet, data: Buffer, address: int, port: int, source: int = 0) -> bool:
        """Sends the guest's datagram on, from the host's address `source` unless that is 0. False where it is lost, which is counted, and told if it can be."""
        mtu = 0
        for _ in range(2):  # a socket may first complain of an earlier datagram
            try:
                self.sock.send(data, address, port, ttl_beyond(packet.ttl), packet.df, source)
            except OSError as error:
                failure = error.errno or errno.EIO
            else:
                return True
            if failure == errno.EAGAIN:
                break
            reports = self.sock.errors()
            mtu = self._tell(reports) or mtu
            if failure == errno.EMSGSIZE:
                break
        else:
            # Errors of other datagrams come faster than they are read: of this one nothing is known.
            failure = errno.EAGAIN if reports else failure
        if failure in (errno.EAGAIN, errno.ENOBUFS):
            self.counters.host_full += 1
        else:
            self.counters.host_failed += 1
            self.context.host_failed(packet, failure, mtu)
        return False

    # -- from the host ----------------------------------------------------------------------------------------------------

    def on_host(self, readable: bool, writable: bool, now: int) -> None:  # noqa: ARG002 - never watched for writing
        """Datagrams or errors have come."""
        room = self._room()
        count = 0
        gathered: list[Buffer] = []  # of one origin, and not delivered yet
        origin: Origin = (0, 0, 0, 0)
        failed = False
        while count < DATAGRAMS_AN_EVENT and room >= LARGEST:
            try:
                received = self.sock.receive()
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
        elif room < LARGEST and self._room() < LARGEST:  # not where what was read did not come to the queue
            self._pause()

    def _tell(self, reports: list[ReportedError]) -> int:
        """Tells the guest what ICMP has said of earlier datagrams; returns the path MTU if the host refused the latest one for its size."""
        mtu = 0
        for report in reports:
            if report.offender is None and report.mtu:  # by the host itself, which names no port then
                mtu = report.mtu
                continue
            quote = self._quote(report) if report.icmp else None
            if quote is None:
                self.counters.errors_unmatched += 1  # RFC 5508 REQ-4
            elif self.context.translate(report, quote):  # RFC 4787 REQ-12b, RFC 5508 REQ-4a
                self.counters.errors_translated += 1
        return mtu

    # -- what owners know -------------------------------------------------------------------------------------------------

    def _remember(self, packet: Packet, port: int) -> None:
        """A datagram of several goes by itself: what is told of it now quotes it."""

    def _quote(self, report: ReportedError) -> bytes | None:
        """The beginning of the guest's datagram that an error is about, as it sent it; None where none is known."""
        raise NotImplementedError

    def _deliver(self, datagrams: Sequence[Buffer], origin: Origin, now: int) -> None:
        """Takes what has come from one origin, never nothing."""
        raise NotImplementedError

    def _room(self) -> int:
        """Bytes that MOST_AN_EVENT datagrams for the guest may have: less than LARGEST leaves them in the kernel. By default they are read, to be dropped."""
        return MOST_AN_EVENT * LARGEST

    def _pause(self) -> None:
        """There was no room."""


def apart(taken: list[Buffer], came: Sequence[Buffer]) -> list[Buffer]:
    """What is taken of what has come at once. Where that is not all of it, copies: a view would keep the whole."""
    return taken if len(taken) == len(came) else [bytes(data) for data in taken]
