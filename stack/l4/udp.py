"""UDP (RFC 768): sockets by address and port, with bounded queues both ways.

    0                   1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   +-------------------------------+-------------------------------+
   |          Source Port          |       Destination Port        |
   +-------------------------------+-------------------------------+
   |            Length             |           Checksum            |
   +-------------------------------+-------------------------------+
   |                             data …                            |
   +---------------------------------------------------------------+

A datagram goes to the socket bound to its destination address and port; else, where that is ours or a broadcast, to the one bound to its port
alone; else to the transparent socket of a gateway, which takes what nobody else does. Only where there is none of these does the
sender hear "port unreachable", and only about an address of ours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from construct import Int16ub, Struct

from usernat.stack.addr import UNSPECIFIED
from usernat.stack.checksum import checksum, fold, pseudo_header
from usernat.stack.device import MAX_DATAGRAM, UDP_CHECKSUM_OFFSET, Buffer, Capabilities
from usernat.stack.l3.icmp_message import (
    CODE_PORT_UNREACHABLE,
    IcmpError,
)
from usernat.stack.l3.ipv4_header import DEFAULT_TTL, HEADER_LENGTH, PROTO_UDP, write_header
from usernat.stack.l3.options import to_send
from usernat.stack.l3.packet import QUEUED, SENT
from usernat.stack.l4.datagrams import DatagramCounters, DatagramLayer, DatagramSocket
from usernat.stack.l4.ports import choose_port
from usernat.stack.l4.udp_run import runs
from usernat.stack.wire import Codec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from usernat.stack.l3.ipv4 import Ipv4Layer
    from usernat.stack.l3.packet import Packet

UDP_HEADER_LENGTH = 8
MAX_DATA = MAX_DATAGRAM - HEADER_LENGTH - UDP_HEADER_LENGTH  # 65,507 bytes
MAX_SOCKETS = 4096

UDP_DECLARATION = Struct("src_port" / Int16ub, "dst_port" / Int16ub, "length" / Int16ub, "checksum" / Int16ub)


class UdpHeader(NamedTuple):
    """length: of header and data, in bytes. checksum: 0 where the sender made none."""

    src_port: int
    dst_port: int
    length: int
    checksum: int

    def __str__(self) -> str:
        return f"UDP {self.src_port} > {self.dst_port} length {self.length}"


UDP = Codec(UDP_DECLARATION, UdpHeader)
_read_values = UDP.read_values
_new = tuple.__new__  # half the time that a NamedTuple's own constructor takes
_pack = struct.Struct(
    ">HHHH"
).pack  # for every datagram sent: to make a record first would take four times as long


@dataclass(slots=True)
class UdpCounters(DatagramCounters):
    """What is wrong with datagrams besides."""

    truncated: int = 0
    bad_length: int = 0
    bad_checksum: int = 0
    port_zero: int = 0


class Datagram:
    """One datagram received. data: a view of the frame. packet: what carried it, and all that it says; also for ICMP errors about it."""

    __slots__ = ("data", "dst_port", "packet", "src_port")

    def __init__(self, packet: Packet, src_port: int, dst_port: int, data: memoryview) -> None:
        self.data = data
        self.src_port = src_port
        self.dst_port = dst_port
        self.packet = packet

    @property
    def src(self) -> int:
        """Who sent it."""
        return self.packet.src

    @property
    def dst(self) -> int:
        """To whom it was sent (RFC 1122 §4.1.3.5-a)."""
        return self.packet.dst

    @property
    def ttl(self) -> int:
        """As it came."""
        return self.packet.ttl

    @property
    def tos(self) -> int:
        """As it came."""
        return self.packet.tos

    @property
    def df(self) -> bool:
        """Whether it must not be fragmented."""
        return self.packet.df


class _Outgoing(NamedTuple):
    run: Sequence[Buffer]  # the data of one datagram, or of a run
    src: int | None
    src_port: int
    dst: int
    dst_port: int
    ttl: int | None
    tos: int
    df: bool
    mac: bytes | None
    options: bytes


class UdpSocket(DatagramSocket[Datagram, _Outgoing]):
    """A name for receiving, and its queues (RFC 768 ui-a). address None: any of ours; port None as well: whatever nobody else takes.

    `port` tells the one that was chosen, `Ipv4Layer.source_for` the address that a destination is spoken to from (RFC 1122 §4.1.3.5-c).
    """

    def __init__(self, layer: UdpLayer, address: int | None, port: int | None) -> None:
        super().__init__(layer)
        self.address = address
        self.port = port

    def send(
        self,
        data: Buffer,
        dst: int,
        dst_port: int,
        *,
        src: int | None = None,
        src_port: int | None = None,
        ttl: int | None = None,
        tos: int = 0,
        df: bool = False,
        mac: bytes | None = None,
        options: bytes = b"",
    ) -> bool:
        """Queue a datagram; False where the queue is full. `data` is kept by reference until it has gone.

        All that IP offers can be chosen (RFC 1122 §4.1.4-a, §3.3.4.2-b). src, src_port: the socket's own where not given. mac: the receiver's, where it
        must not be asked for by ARP. options: of IP, raw (§4.1.3.2-a). What cannot be sent later on is told in `errors`. ValueError where it never could.
        """
        options = to_send(options) if options else b""
        src_port = self.port if src_port is None else src_port
        src = self.address if src is None else src
        if len(data) + len(options) > MAX_DATA:
            raise ValueError(f"a datagram carries at most {MAX_DATA} bytes, not {len(data)}")
        if not src_port or not 0 < src_port < 65536 or not 0 < dst_port < 65536:
            raise ValueError(f"ports are 1 to 65535, not {src_port} to {dst_port}")
        if (ttl is not None and not 0 < ttl < 256) or not 0 <= tos < 256:
            raise ValueError(f"TTL is 1 to 255 and TOS 0 to 255, not {ttl} and {tos}")
        message = _new(_Outgoing, ((data,), src, src_port, dst, dst_port, ttl, tos, df, mac, options))
        return self._enqueue(message, len(data))

    def send_all(
        self, datagrams: Sequence[Buffer], dst: int, dst_port: int, *, src: int, src_port: int, ttl: int
    ) -> bool:
        """Queue datagrams that differ in nothing but their data, as `send` for each would; all of them, or none where not all fit (False).

        What a device can cut out of one frame leaves in one turn, as a run. ValueError as of `send`.
        """
        if len(datagrams) == 1:
            return self.send(datagrams[0], dst, dst_port, src=src, src_port=src_port, ttl=ttl)
        if max(map(len, datagrams)) > MAX_DATA:
            raise ValueError(f"a datagram carries at most {MAX_DATA} bytes")
        if not 0 < src_port < 65536 or not 0 < dst_port < 65536 or not 0 < ttl < 256:
            raise ValueError(f"ports are 1 to 65535, not {src_port} to {dst_port}; TTL 1 to 255, not {ttl}")
        if self.closed or self.outbox.room_for(len(datagrams)) < sum(map(len, datagrams)):
            return False
        for run in runs(datagrams):
            message = _new(_Outgoing, (run, src, src_port, dst, dst_port, ttl, 0, False, None, b""))
            self._enqueue(message, sum(map(len, run)), len(run))
        return True


class UdpLayer(DatagramLayer):
    """The UDP of one interface."""

    def __init__(self, ipv4: Ipv4Layer, capabilities: Capabilities, rng: Random) -> None:
        super().__init__(ipv4)
        self.counters: UdpCounters = UdpCounters()
        self._offload = capabilities.tx_checksum
        self._segmentation = capabilities.tx_udp_segmentation
        self._rng = rng
        self._sockets: dict[tuple[int | None, int], UdpSocket] = {}
        self._transparent: UdpSocket | None = None

    def bind(self, address: int | None, port: int | None) -> UdpSocket:
        """A socket for an address (None: any of ours) and a port (0: one that is free, not to be foretold).

        (None, None) is the transparent socket of a gateway: all that no other socket takes, whatever the destination.
        ValueError where the name is taken or cannot be.
        """
        if port is None:
            return self._bind_transparent(address)
        if not 0 <= port < 65536:
            raise ValueError(f"ports are 0 to 65535, not {port}")
        if len(self._sockets) >= MAX_SOCKETS:
            raise ValueError("too many UDP sockets")
        if port == 0:
            port = choose_port(self._rng, self._port_taken)
            assert port is not None, "there are more ports than sockets"
        if (address, port) in self._sockets:
            raise ValueError(f"UDP port {port} is taken")
        socket = self._sockets[address, port] = UdpSocket(self, address, port)
        return socket

    def receive(self, packet: Packet) -> None:
        """Take a UDP datagram off IP; nothing of it raises."""
        counters = self.counters
        counters.received += 1
        payload = packet.payload
        values = _read_values(payload)
        if values is None:
            counters.truncated += 1
            return
        src_port, dst_port, length, field = values
        if not UDP_HEADER_LENGTH <= length <= len(payload):
            counters.bad_length += 1  # RFC 768 fields-a
            return
        if not src_port or not dst_port:
            counters.port_zero += 1
            return
        # RFC 768 fields-c, ip-a: zero means that none was made; the pseudo-header is of the addresses that IP saw. RFC 1122 §4.1.3.4-a, -b,
        # RFC 6864 §5.2-b
        if field and not packet.checksum_ok:
            pseudo = pseudo_header(packet.src, packet.dst, PROTO_UDP, length)
            if checksum(payload[:length], initial=pseudo):
                counters.bad_checksum += 1
                return
        socket = self._find(packet.dst, dst_port, packet.forwarded)
        if socket is None:
            counters.no_listener += 1
            if not packet.forwarded:
                self._ipv4.errors.unreachable(packet, CODE_PORT_UNREACHABLE)  # RFC 1122 §4.1.3.1-a
            return
        # RFC 768 fields-a: what the length does not cover is no data
        datagram = Datagram(packet, src_port, dst_port, payload[UDP_HEADER_LENGTH:length])
        if not socket.inbox.put(datagram, length):
            counters.queue_full += 1
            return
        counters.delivered += 1
        self.ready[socket] = None

    def on_icmp_error(self, error: IcmpError, now: int) -> None:
        """Take an error about a datagram that a socket of ours may have sent (RFC 1122 §3.2.2-d)."""
        header = UDP.read(error.payload)
        socket = None
        if header is not None:
            foreign = error.src not in self._ipv4.addresses.own
            socket = self._find(error.src, header.src_port, foreign)
        self.deliver_error(socket, error, now)

    def emit(self, socket: Any, message: _Outgoing, now: int) -> None:
        """Send one datagram, or the datagrams of a run: in one frame, where the device cuts it, else each by itself."""
        run = message.run
        if len(run) > 1 and self._segmentation and self._emit_run(message, now):
            self.counters.sent += len(run)
            return
        for data in run:
            self._emit(socket, message, data, now)

    def _emit_run(self, message: _Outgoing, now: int) -> bool:
        """Hand a run to the device in one frame; False where it has not taken it, and nothing was sent."""
        run, src, src_port, dst, dst_port, ttl, tos, df, mac, options = message
        size = len(run[0])
        if src is None or options or UDP_HEADER_LENGTH + size > self._ipv4.max_send(dst):
            return False
        # The device derives each datagram's length and checksum from these, which are of the whole.
        length = UDP_HEADER_LENGTH + sum(map(len, run))
        field = fold(pseudo_header(src, dst, PROTO_UDP, length))
        result = self._ipv4.send(
            PROTO_UDP,
            src,
            dst,
            [_pack(src_port, dst_port, length, field), *run],
            ttl=ttl,
            tos=tos,
            df=df,
            gso_size=size,
            csum_offset=UDP_CHECKSUM_OFFSET,
            now=now,
            mac=mac,
        )
        return result in {SENT, QUEUED}

    def _emit(self, socket: Any, message: _Outgoing, data: Buffer, now: int) -> None:
        """Put the header on and hand to IP."""
        _run, src, src_port, dst, dst_port, ttl, tos, df, mac, options = message
        if src is None:
            src = self._ipv4.source_for(dst)  # RFC 1122 §4.1.3.5-b
            if src is None:
                src = UNSPECIFIED  # which IP lets pass to 255.255.255.255 only
        length = UDP_HEADER_LENGTH + len(data)
        pseudo = pseudo_header(src, dst, PROTO_UDP, length)
        # A device completes the checksum of a whole datagram; no fragment holds what it would have to sum.
        partial = self._offload and length + len(options) <= self._ipv4.max_send(dst)
        if partial:
            field = fold(pseudo)
        else:
            total = pseudo + src_port + dst_port + length
            field = checksum(data, initial=total) or 0xFFFF  # RFC 768 fields-b, RFC 1122 §4.1.3.4-c
        parts: list[Buffer] = [_pack(src_port, dst_port, length, field), data]
        result = self._ipv4.send(
            PROTO_UDP,
            src,
            dst,
            parts,
            ttl=ttl,
            tos=tos,
            df=df,
            csum_offset=UDP_CHECKSUM_OFFSET if partial else None,
            now=now,
            mac=mac,
            options=options,
        )
        if self.report_unsent(socket, result, PROTO_UDP, src, dst, parts, df=df):
            self.counters.not_sent += 1
        else:
            self.counters.sent += 1

    def quote(self, src: int, src_port: int, dst: int, dst_port: int, length: int) -> bytes:
        """IP and UDP header as of a datagram with `length` bytes of data that is long gone, for ICMP errors about it."""
        udp_length = UDP_HEADER_LENGTH + length
        header = write_header(0, HEADER_LENGTH + udp_length, 0, 0, DEFAULT_TTL, PROTO_UDP, src, dst)
        return header + UDP.write(UdpHeader(src_port, dst_port, udp_length, 0))

    def release(self, socket: Any) -> None:
        """Forget a socket that was closed."""
        super().release(socket)
        if socket is self._transparent:
            self._transparent = None
        else:
            del self._sockets[socket.address, socket.port]

    def _bind_transparent(self, address: int | None) -> UdpSocket:
        if address is not None:
            raise ValueError("all ports of one address cannot be bound")
        if self._transparent is not None:
            raise ValueError("there is a transparent UDP socket already")
        self._transparent = UdpSocket(self, None, None)
        return self._transparent

    def _port_taken(self, port: int) -> bool:
        """RFC 6056 §3.2-b, §3.3-b: whether any socket has this port."""
        return any((address, port) in self._sockets for address in (None, *self._ipv4.addresses.own))

    def _find(self, address: int, port: int, foreign: bool) -> UdpSocket | None:
        """The socket for a local address and port. foreign: the address is not ours, and no wildcard of ours means it."""
        socket = self._sockets.get((address, port))
        if socket is None and not foreign:
            socket = self._sockets.get((None, port))
        return socket or self._transparent
