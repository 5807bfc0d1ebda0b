"""Two interfaces that hear the same frames, one of which knows no short ways: in (`early_demux.py`) or out (`segment_output.py`).

After each event all that TCP holds is compared, with every counter and every byte that left.
"""

from __future__ import annotations

import struct
from collections import deque
from copy import copy
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.stack.packets import GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, REMOTE, TCP, internet_checksum, ipv4
from tests.stack.rig import Rig
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import ACK, FIN, PSH, SYN

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l3.ipv4 import Ipv4Layer

MASK = 0xFFFFFFFF
PORT, STACK_PORT = 40000, 80
IRS = MASK - 3000  # wraps soon
MS, SECOND = 1_000, 1_000_000
# Ways out of a connection, and what only the short way keeps.
LINKS = {"layer", "listener", "owner", "_memory", "_layer", "link_header"}


class LongWay:
    """In place of the early demultiplexer: nothing is ever taken in early."""

    def receive(self, _frame: Buffer, _now: int, _checksum_ok: bool) -> bool:
        return False


def long_way_out(ipv4: Ipv4Layer) -> Any:
    """In place of the short way out."""

    def send(src: int, dst: int, header: bytes, text: list[Buffer], _size: int, *rest: Any) -> None:
        ttl, tos, gso_size, csum_offset, now = rest
        parts = [header, *text]
        ipv4.send(TCP, src, dst, parts, ttl=ttl, tos=tos, gso_size=gso_size, csum_offset=csum_offset, now=now)

    return send


class Bindings:
    """A source validation whose word can be changed."""

    def __init__(self) -> None:
        self.bindings = {GUEST: GUEST_MAC}

    def admit(self, _address: int, _mac: bytes) -> bool:
        return False


def picture(value: Any, around: tuple[Any, ...] = ()) -> Any:
    """All that an object holds, as plain values. around: what holds it, which is not looked into once more."""
    if value is None or isinstance(value, (int, float, str, bytes, Enum)):
        return value
    if isinstance(value, (memoryview, bytearray)):
        return bytes(value)
    if isinstance(value, dict):
        return [(picture(key, around), picture(held, around)) for key, held in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [picture(item, around) for item in value]
    kind = type(value).__name__
    if any(value is holder for holder in around):
        return kind
    names = [name for ancestor in type(value).__mro__ for name in getattr(ancestor, "__slots__", ())]
    names += getattr(value, "__dict__", {})
    inside = (*around, value)
    return kind, {
        name: picture(getattr(value, name), inside)
        for name in names
        if name not in LINKS and name[:2] != "__"
    }


class Twins:
    """One peer that speaks to two interfaces at once. short, long: how they take frames in."""

    def __init__(
        self, *, stamped: bool, sack: bool, offload: bool, remote: bool, ecn: bool = False, **config: Any
    ) -> None:
        self.rigs = [
            Rig(
                tx_checksum=offload,
                tx_segmentation=65535 if offload else 0,
                any_ip=remote,
                tcp=TcpConfig(ecn="answer" if ecn else "off", **config),
            )
            for _ in range(2)
        ]
        self.short, self.long = self.rigs
        self.long.interface._early_demux = LongWay()  # type: ignore[assignment]
        self.long.interface.ipv4.send_segment = long_way_out(self.long.interface.ipv4)
        self.bindings = Bindings()
        for rig in self.rigs:
            rig.interface.validate_sources(self.bindings)
        self.offload = offload
        self.dst = REMOTE if remote else GATEWAY
        self.stamped = stamped
        self.seq = IRS
        self.ack = 0
        self.now_ms = 1000
        self.tsecr = 0
        self.early = 0  # frames that were taken in early
        self.port = PORT
        for rig in self.rigs:
            rig.interface.tcp.listen(None, STACK_PORT)
        self._connect(sack=sack, ecn=ecn)

    def another(self) -> Twins:
        """A second connection to the same two interfaces."""
        other = copy(self)
        other.port, other.seq, other.ack, other.tsecr = self.port + 1, IRS, 0, 0
        other._connect(sack=False, ecn=False)
        return other

    def _connect(self, *, sack: bool, ecn: bool) -> None:
        options = b"\2\4\5\xb4" + b"\1\3\3\7" + (b"\1\1\4\2" if sack else b"") + self.stamps()
        self.sends(SYN | (0xC0 if ecn else 0), options=options)
        self.seq += 1
        self.sends(ACK)
        self.conns: list[Connection] = []
        for rig in self.rigs:
            (listener,) = rig.interface.tcp.listeners.values()
            accepted = listener.accept()
            assert isinstance(accepted, Connection)
            self.conns.append(accepted)
            accepted.nodelay = True

    def stamps(self, age_ms: int = 0) -> bytes:
        if not self.stamped:
            return b""
        return struct.pack(">BBBBII", 1, 1, 8, 10, (self.now_ms - age_ms) & MASK, self.tsecr)

    def sends(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int = 512,
        options: bytes | None = None,
        spoil: int = 0,
        padding: int = 0,
        mac: bytes = GUEST_MAC,
        reserved: int = 0,
        **header: Any,
    ) -> None:
        """A segment, and the answer of both."""
        options = self.stamps() if options is None else options
        options += b"\0" * (-len(options) % 4)
        seq = self.seq if seq is None else seq
        ack = (self.ack if ack is None else ack) if flags & ACK else 0
        offset_flags = (20 + len(options)) << 10 | reserved << 8 | flags
        head = struct.pack(
            ">HHIIHHHH", self.port, STACK_PORT, seq & MASK, ack & MASK, offset_flags, window, 0, 0
        )
        segment = head + options + data
        pseudo = struct.pack(">IIBBH", GUEST, self.dst, 0, TCP, len(segment))
        total = (internet_checksum(pseudo + segment) + spoil) & 0xFFFF
        segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
        datagram = ipv4(segment, dst=self.dst, proto=TCP, **header)
        self.gives(GATEWAY_MAC + mac + b"\x08\x00" + datagram + bytes(padding), vouched=self.offload)

    def gives(self, frame: bytes, *, vouched: bool) -> None:
        """A frame, and the answer of both. vouched: by the device, for the checksum of TCP."""
        demux = self.short.interface._early_demux
        before = picture(self.short.interface.tcp.table)
        if demux.receive(memoryview(frame), self.short.now, vouched):
            self.early += 1
        else:
            assert picture(self.short.interface.tcp.table) == before, "touched, and not taken"
            self.short.interface.receive(memoryview(frame), self.short.now, vouched)
        self.long.interface.receive(memoryview(frame), self.long.now, vouched)
        self.flush()

    def odd_frame(
        self,
        *,
        link: bytes = GATEWAY_MAC + GUEST_MAC + b"\x08\x00",
        length: int | None = None,
        **header: Any,
    ) -> None:
        """The segment that is waited for in a frame of which something else is odd. link: its Ethernet header. length: cut off there, or padded."""
        segment = struct.pack(
            ">HHIIHHHH", self.port, STACK_PORT, self.seq & MASK, self.ack & MASK, 0x5010, 512, 0, 0
        )
        datagram = ipv4(segment + bytes(30), **{"dst": self.dst, "proto": TCP, **header})
        frame = link + datagram
        if length is not None:
            frame = (frame + bytes(length))[:length]
        self.gives(frame, vouched=True)
        self.seq = self.conns[0].rcv.rcv_nxt

    def says_where_it_is(self) -> None:
        """An ARP reply, which both have asked for."""
        frame = GATEWAY_MAC + GUEST_MAC + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2)
        frame += GUEST_MAC + GUEST.to_bytes(4, "big") + GATEWAY_MAC + GATEWAY.to_bytes(4, "big")
        for rig in self.rigs:
            rig.interface.receive(frame, rig.now)
        self.flush()

    def odd(
        self,
        *,
        flags: int = ACK | PSH,
        data: bytes = bytes(1000),
        ahead: int = 0,
        back: int = 0,
        **others: Any,
    ) -> None:
        """The segment that is waited for, but for what is said. The peer goes on from where the stack is."""
        self.sends(flags, data, seq=self.seq + ahead, ack=self.ack - back, **others)
        self.seq = self.conns[0].rcv.rcv_nxt

    def flush(self, budget: int = 1000) -> None:
        """What leaves, and all that stays, is the same."""
        left = [[bytes(frame) for frame in rig.interface.transmit(rig.now, budget)] for rig in self.rigs]
        assert left[0] == left[1]
        for frame in left[0]:
            self.hear(frame)
        told = [[type(socket).__name__ for socket in rig.interface.ready()] for rig in self.rigs]
        assert told[0] == told[1], "not both of the applications hear of it"
        self.compare()

    def hear(self, frame: bytes) -> None:
        """The peer takes in what is next for it."""
        if frame[12:14] != b"\x08\x00" or frame[23] != TCP or frame[36:38] != self.port.to_bytes(2, "big"):
            return
        length = int.from_bytes(frame[16:18], "big")
        seq, _, offset_flags = struct.unpack_from(">IIH", frame, 38)
        header = (offset_flags >> 12) * 4
        taken = length - 20 - header + (offset_flags & SYN > 0) + (offset_flags & FIN)
        if offset_flags & SYN:
            self.ack = seq
        if seq == self.ack & MASK:
            self.ack = (self.ack + taken) & MASK
        if self.stamped and header >= 32:
            self.tsecr = int.from_bytes(frame[34 + header - 4 : 34 + header], "big")

    def compare(self) -> None:
        """Nothing tells the two apart."""
        for one, other in pairwise(self.rigs):
            assert one.interface.counters() == other.interface.counters()
            mine, theirs = one.interface.tcp, other.interface.tcp
            assert picture(mine.table) == picture(theirs.table)
            assert len(mine.work) == len(theirs.work)
            assert [picture(socket) for socket in mine.ready] == [picture(socket) for socket in theirs.ready]
            assert (mine.memory.used, mine.now) == (theirs.memory.used, theirs.now)
            assert one.interface.poll_at() == other.interface.poll_at()

    def each(self, call: Any) -> None:
        """The application does the same at both."""
        results = [call(conn) for conn in self.conns]
        assert results[0] == results[1]

    def wait(self, duration: int) -> None:
        for rig in self.rigs:
            rig.pass_time(duration)
        self.now_ms += duration // MS
        self.flush()
