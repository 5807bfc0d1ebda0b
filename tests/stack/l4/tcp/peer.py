"""The other end of one connection, speaking packets at times.

A `Peer` is a host beside an interface. It builds its segments by hand and reads ours by hand, so its opinion of TCP owes nothing to the code under
test. Sequence numbers are relative: 0 is the SYN, 1 the first octet, on either side. Times are µs since the peer was made.

    peer.sends(at=10 * MS, seq=1, data=b"x")      the clock moves there, timers fire on the way, the batch is answered
    peer.expects(ack=2)                           the next segment that left, field by field; it is returned
    peer.silence(until=40 * MS)                   nothing leaves until then
"""

from __future__ import annotations

import struct
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from tests.stack.l4.tcp.segments import FLAGS, MASK, Seg, read_options, stamps
from tests.stack.packets import (
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    TCP,
    icmp,
    internet_checksum,
    ipv4,
    read_ipv4,
)
from tests.stack.rig import Rig
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.isn import IsnGenerator

if TYPE_CHECKING:
    from usernat.stack.device import Frame
    from usernat.stack.l4.tcp.layer import TcpLayer
    from usernat.stack.l4.tcp.listener import Listener
    from usernat.stack.l4.tcp.state import State


class FixedIsn(IsnGenerator):
    """Every connection starts where a test wants it to."""

    def __init__(self, iss: int) -> None:
        super().__init__(Random(1))
        self.iss = iss

    def initial_sequence(self, *_: Any) -> int:
        return self.iss


class Peer:
    """iss: the stack's initial sequence number where it is to be a certain one, irs: our own."""

    def __init__(
        self,
        *,
        port: int = 40000,
        irs: int = 5000,
        iss: int | None = None,
        mtu: int = 1500,
        tx_checksum: bool = False,
        tx_segmentation: int = 0,
        rig: Rig | None = None,
        **config: Any,
    ) -> None:
        self.rig = rig or Rig(
            mtu=mtu, tx_checksum=tx_checksum, tx_segmentation=tx_segmentation, tcp=TcpConfig(**config)
        )
        self.start = self.rig.now
        self.port = port
        self.stack_port = 80
        self.irs = irs
        self.iss: int | None = iss
        if iss is not None:
            self.layer.isn = FixedIsn(iss)
        self.seq = 0  # where we are
        self.ack = 0  # what we have taken in
        self.scale = 0  # of the stack's window
        self.tsval: int | None = None
        self.tsecr = 0
        self.sent: deque[Seg] = deque()
        self.conn: Connection = None  # type: ignore[assignment] # set by the openings below
        self.listener: Listener = None  # type: ignore[assignment] # likewise

    @property
    def layer(self) -> TcpLayer:
        return self.rig.interface.tcp

    @property
    def now(self) -> int:
        """Since the start."""
        return self.rig.now - self.start

    # -- sending ------------------------------------------------------------------------------------------------

    def sends(
        self, flags: str = "A", *, at: int | None = None, flush: bool = True, tos: int = 0, **fields: Any
    ) -> None:
        """A segment arrives, by itself a batch unless flush is off."""
        if at is not None:
            self.wait(at)
        data = fields.get("data", b"")
        seq = fields.get("seq", self.seq)
        self.raw(self.segment(flags, **fields), tos=tos)
        self.seq = max(self.seq, seq + len(data) + ("S" in flags) + ("F" in flags))
        if flush:
            self.flush()

    def segment(
        self,
        flags: str = "A",
        *,
        seq: int | None = None,
        ack: int | None = None,
        data: bytes = b"",
        window: int = 65535,
        options: bytes | None = None,
        urgent: int = 0,
        src_port: int | None = None,
        dst_port: int | None = None,
        data_offset: int | None = None,
        spoil: int = 0,
    ) -> bytes:
        """The TCP bytes of a segment of ours."""
        seq = self.seq if seq is None else seq
        ack = self.ack if ack is None else ack
        if options is None:
            options = stamps(self.tsval, self.tsecr) if self.tsval is not None else b""
        options += b"\0" * (-len(options) % 4)
        bits = sum(FLAGS[letter] for letter in flags)
        number = ((self.iss or 0) + ack) & MASK if "A" in flags else 0
        header = struct.pack(
            ">HHIIBBHHH",
            self.port if src_port is None else src_port,
            self.stack_port if dst_port is None else dst_port,
            (self.irs + seq) & MASK,
            number,
            (5 + len(options) // 4 if data_offset is None else data_offset) << 4,
            bits,
            window,
            0,
            urgent,
        )
        bare = header + options + data
        pseudo = struct.pack(">IIBBH", GUEST, GATEWAY, 0, TCP, len(bare))
        checksum = (internet_checksum(pseudo + bare) + spoil) & 0xFFFF
        return bare[:16] + struct.pack(">H", checksum) + bare[18:]

    def raw(self, tcp: bytes, **ip: Any) -> None:
        """TCP bytes arrive in a datagram."""
        self.rig.receive(ipv4(tcp, proto=TCP, **ip))

    def icmp(self, type_: int, code: int, quoted: bytes, *, mtu: int = 0, source: int = GUEST) -> None:
        """An ICMP error arrives that quotes TCP bytes of the stack's."""
        quote = ipv4(quoted, proto=TCP, src=GATEWAY, dst=GUEST)
        self.rig.receive(ipv4(icmp(type_, code, struct.pack(">HH", 0, mtu), quote), proto=1, src=source))
        self.flush()

    def quote(self, seq: int) -> bytes:
        """The first octets of a segment that the stack sent with this number."""
        return struct.pack(
            ">HHIIHHHH", self.stack_port, self.port, ((self.iss or 0) + seq) & MASK, 0, 0x5010, 0, 0, 0
        )

    # -- time and what left -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """The stack has its turn to transmit; the peer's MAC address stays known, as if it had just spoken."""
        self.rig.interface.ethernet.neighbours.learn(GUEST, GUEST_MAC, self.rig.now)
        for frame in self.rig.frames():
            if bytes(frame)[12:14] == b"\x08\x00" and bytes(frame)[23] == TCP:
                self.sent.append(self._read(frame))

    def wait(self, until: int) -> None:
        """The clock moves on; every timer is served when it is due, and what it makes leave, leaves."""
        interface = self.rig.interface
        self.flush()
        target = self.start + until
        assert target >= self.rig.now, "time does not run backwards"
        while (due := interface.poll_at()) is not None and due <= target:
            self.rig.now = max(self.rig.now, due)
            interface.on_time(self.rig.now)
            after = interface.poll_at()
            assert after is None or after > self.rig.now, "poll_at is still due after on_time"
            self.flush()
        self.rig.now = target

    def silence(self, *, until: int | None = None) -> None:
        """Nothing leaves until then; by default, nothing has left."""
        self.wait(self.now if until is None else until)
        assert not self.sent, f"unexpected: {list(self.sent)}"

    def expects(self, flags: str = "A", *, at: int | None = None, **fields: Any) -> Seg:
        """The next segment that left; `at` moves the clock there and must be when it left."""
        if at is not None and not self.sent:
            self.wait(at)
        else:
            self.flush()
        assert self.sent, f"nothing left, a segment {flags} {fields} was expected"
        seg = self.sent.popleft()
        expected = "".join(letter for letter in FLAGS if letter in flags)
        assert seg.flags.replace("P", "") == expected.replace("P", "") or seg.flags == expected, seg
        if "P" in flags:
            assert "P" in seg.flags, seg
        if at is not None:
            assert seg.at == at, seg
        for name, value in fields.items():
            assert getattr(seg, name) == value, f"{name}={getattr(seg, name)!r}, not {value!r}: {seg}"
        if "A" in seg.flags or "S" in seg.flags:
            end = seg.seq + len(seg.data) + ("F" in seg.flags) + ("S" in seg.flags)
            self.ack = max(self.ack, end) if seg.seq <= self.ack else self.ack
        if 8 in seg.options:
            self.tsecr = seg.tsval
        return seg

    def drain(self) -> list[Seg]:
        """All that left."""
        self.flush()
        segments = list(self.sent)
        self.sent.clear()
        return segments

    def _read(self, frame: Frame) -> Seg:
        data = bytes(frame)
        assert data[:6] == GUEST_MAC
        assert data[6:12] == GATEWAY_MAC
        ip = read_ipv4(data[14:])
        tcp = ip.payload
        src, dst, seq, ack, offset, bits, window, checksum, urgent = struct.unpack_from(">HHIIBBHHH", tcp)
        assert (ip.src, ip.dst, dst) == (GATEWAY, GUEST, self.port)
        assert src == self.stack_port or self.conn is None
        if not frame.csum_start:
            pseudo = struct.pack(">IIBBH", GATEWAY, GUEST, 0, TCP, len(tcp))
            assert internet_checksum(pseudo + tcp) == 0, "RFC 9293 MUST-2"
        else:
            pseudo = struct.pack(">IIBBH", GATEWAY, GUEST, 0, TCP, len(tcp))
            assert checksum == internet_checksum(pseudo) ^ 0xFFFF, "the folded pseudo-header sum"
            assert (frame.csum_start, frame.csum_offset) == (34, 16)
        flags = "".join(letter for letter, bit in FLAGS.items() if bits & bit)
        if "S" in flags and self.iss is None:
            self.iss = seq
        header = (offset >> 4) * 4
        options = read_options(tcp[20:header])
        assert (2 in options) <= ("S" in flags), "RFC 9293 MUST-65"
        # a RST for what has no connection carries numbers of the peer's choosing
        base = self.iss or 0
        return Seg(
            self.now,
            flags,
            (seq - base) & MASK,
            (ack - self.irs) & MASK if "A" in flags else 0,
            window,
            tcp[header:],
            urgent,
            options,
            tcp[20:header],
            frame.gso_size,
            ip.tos,
        )

    # -- openings -----------------------------------------------------------------------------------------------------

    def listens(self, **options: Any) -> Peer:
        """The stack listens on port 80."""
        self.listener = self.layer.listen(None, 80, **options)
        return self

    def calls(self, *, options: bytes = b"", window: int = 65535) -> Peer:
        """A call from the peer that the stack has answered: SYN-RECEIVED."""
        if self.listener is None:
            self.listens()
        self.sends("S", options=options, window=window)
        answer = self.expects("SA", seq=0, ack=1)
        self.ack = 1
        self._note(answer, options)
        found = self.layer.table[GUEST, self.port, GATEWAY, 80]
        assert isinstance(found, Connection)
        self.conn = found
        return self

    def connected(self, *, options: bytes = b"", window: int = 65535) -> Peer:
        """ESTABLISHED by a call from the peer, and accepted."""
        self.calls(options=options, window=window)
        self.sends("A", window=window >> self.conn.snd.scale)
        accepted = self.listener.accept()
        assert accepted is self.conn
        self.rig.interface.ready()
        return self

    def is_called(self) -> Peer:
        """SYN-SENT: the stack calls the peer."""
        self.stack_port = 49152
        self.conn = self.layer.connect(GUEST, self.port, local_port=49152)
        self.syn = self.expects("S", seq=0)
        self.ack = 1
        return self

    def answers(self, *, options: bytes = b"", window: int = 65535) -> Peer:
        """ESTABLISHED by a call of the stack's."""
        self.is_called()
        self.sends("SA", options=options, window=window)
        self.expects("A", seq=1, ack=1)
        self._note(self.syn, options)
        self.rig.interface.ready()
        return self

    def _note(self, theirs: Seg, options: bytes) -> None:
        ours = read_options(options)
        if 3 in theirs.options and 3 in ours:
            self.scale = theirs.options[3][0]
        if 8 in theirs.options and 8 in ours:
            self.tsval, self.tsecr = struct.unpack(">II", ours[8])[0], theirs.tsval

    def ready(self) -> list[Any]:
        """What became ready since the last time."""
        return self.rig.interface.ready()

    def count(self, name: str) -> int:
        """A counter of the TCP layer."""
        return int(getattr(self.layer.counters, name))

    def assert_state(self, state: State) -> None:
        """The connection is in this state (a method, for a type checker would take an attribute to stay what it was)."""
        assert self.conn.state is state, self.conn

    def assert_nothing_held(self) -> None:
        """The layer's tables are empty, and so is its budget."""
        assert self.layer.report() == dict.fromkeys(self.layer.report(), 0)
        assert self.layer.poll_at() is None
