"""Two stacks over a cable that loses, doubles, delays and spoils frames: the stream arrives whole, then its end, and nothing is held.

What is checked on the way, of every frame on the cable: no segment above the MSS, nothing beyond the window that the receiver has shown, and a
byte sent again is the byte that was sent before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sim.wire import MS, SECOND, Clock, Faults, Wire
from tests.stack.l4.tcp.peer import FixedIsn
from usernat.stack.addr import parse_ip
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = parse_ip("10.0.0.1"), parse_ip("10.0.0.2")
LIMIT = 3600 * SECOND


@dataclass
class End:
    """One application: what it has to say, what it has heard, in what portions it reads and writes."""

    conn: Connection | None
    to_send: bytes
    write: int = 1 << 20
    read: int = 1 << 20
    sent: int = 0
    heard: bytearray = field(default_factory=bytearray)
    reading_from: int = 0  # µs: not before

    def serve(self, now: int) -> None:
        conn = self.conn
        if conn is None:
            return
        if self.sent < len(self.to_send):
            self.sent += conn.send(self.to_send[self.sent : self.sent + self.write])
        if self.sent == len(self.to_send):
            conn.shutdown()
        if now >= self.reading_from:
            self.heard += conn.recv(self.read)


class Pair:
    """A client and a server, each with an application."""

    def __init__(
        self,
        upload: bytes,
        download: bytes,
        *,
        seed: int = 1,
        isn: int | None = None,
        mtus: tuple[int, int] = (1500, 1500),
        offload: bool = False,
        config: dict[str, Any] | None = None,
        **wire: Any,
    ) -> None:
        clock = Clock(1_000_000)
        sides = []
        for number, (address, mtu) in enumerate(zip((A, B), mtus, strict=True)):
            side = Interface(
                mac=bytes((2, 0, 0, 0, 0, number)),
                capabilities=Capabilities(mtu, offload, 65535 if offload else 0),
                rng=Random(seed + number),
                now=clock.now,
                addresses=[(address, 24)],
                tcp=TcpConfig(**(config or {})),
            )
            if isn is not None:
                side.tcp.isn = FixedIsn(isn)
            sides.append(side)
        self.a, self.b = sides
        self.wire = Wire(self.a, self.b, clock, rng=Random(seed), **wire)
        self.listener = self.b.tcp.listen(None, 80)
        self.client = End(self.a.tcp.connect(B, 80), upload)
        self.server = End(None, download)
        self.wire.apps.append(self.serve)

    def serve(self, now: int) -> None:
        if self.server.conn is None:
            conn = self.listener.accept()
            assert conn is None or isinstance(conn, Connection)
            self.server.conn = conn
        self.client.serve(now)
        self.server.serve(now)

    @property
    def over(self) -> bool:
        ends = (self.client.conn, self.server.conn)
        return all(conn is not None and conn.state is State.CLOSED for conn in ends)

    def run(self) -> None:
        assert self.wire.run_for(LIMIT, lambda: self.over), (self.client.conn, self.server.conn)
        self.check()

    def check(self) -> None:
        assert self.server.heard == self.client.to_send
        assert self.client.heard == self.server.to_send
        for end in (self.client, self.server):
            assert end.conn is not None
            assert end.conn.error is None
            assert end.conn.at_eof
        for side in (self.a, self.b):
            report = side.tcp.report()
            assert report == dict.fromkeys(report, 0)
            assert side.tcp.poll_at() is None
        check_cable(self.wire, self.a.tcp.capabilities.tx_segmentation)


def check_cable(wire: Wire, segmentation: int) -> None:
    """Look at every TCP frame as it was sent, spoilt or not later."""
    shown: dict[bool, int | None] = {
        True: None,
        False: None,
    }  # the highest right edge that each side has shown
    offered: dict[bool, int | None] = {True: None, False: None}  # window scale
    texts: dict[bool, dict[int, int]] = {True: {}, False: {}}
    syns = 0
    for _, to_b, frame in wire.log:
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        seq, ack = int.from_bytes(frame[38:42], "big"), int.from_bytes(frame[42:46], "big")
        header, flags, window = frame[46] >> 4 << 2, frame[47], int.from_bytes(frame[48:50], "big")
        text = frame[34 + header :]
        mtu = segmentation or (wire.a if to_b else wire.b).tcp.capabilities.mtu
        assert len(frame) - 14 <= mtu
        if flags & 2:
            syns += 1
            options = frame[54 : 34 + header]
            at = options.find(b"\x01\x03\x03")
            offered[to_b] = options[at + 3] if at >= 0 else None
        elif flags & 16:
            shift = 0 if None in offered.values() else offered[to_b]
            edge = ack + (window << (shift or 0))
            known = shown[to_b]
            if known is None or ((edge - known) & 0xFFFFFFFF) < 1 << 31:
                shown[to_b] = edge & 0xFFFFFFFF
            else:
                # RFC 9293 SHLD-14: only an older segment, sent again, may show less, and none is
                assert flags & 4, "the window's right edge moved back"
        limit = shown[not to_b]
        if text and limit is not None:
            beyond = (seq + len(text) - limit) & 0xFFFFFFFF
            assert beyond == 0 or beyond >= 1 << 31 or len(text) == 1, "beyond the peer's window"
        for offset in range(0, len(text), 97):
            number = (seq + offset) & 0xFFFFFFFF
            assert texts[to_b].setdefault(number, text[offset]) == text[offset], "sent again, but different"
    assert syns


@pytest.mark.parametrize("size", [0, 1, 1448, 1449, 300_000])
def test_quiet_cable(size: int) -> None:
    pair = Pair(Random(1).randbytes(size), Random(2).randbytes(size // 2))
    pair.run()
    for side in (pair.a, pair.b):
        assert side.tcp.counters.retransmissions == 0


def test_offload_carries_more() -> None:
    pair = Pair(Random(1).randbytes(8_000_000), b"", offload=True)
    pair.run()
    assert max(len(frame) for frame in pair.wire.frames(to_b=True)) > 30_000


@pytest.mark.parametrize("congestion", ["cubic", "newreno"])
@pytest.mark.parametrize("seed", range(4))
def test_c02_lossy_cable(seed: int, congestion: str) -> None:
    """5 % at random."""
    faults = Faults(loss=0.05)
    Pair(
        Random(seed).randbytes(200_000),
        Random(~seed).randbytes(100_000),
        seed=seed,
        faults=faults,
        config={"congestion": congestion},
    ).run()


@pytest.mark.parametrize("lost", range(24))
def test_c02_any_single_frame_lost(lost: int) -> None:
    """Towards the client, one frame by number: SYN,ACK, data, FIN, ACKs."""
    count = iter(range(10_000))

    def lose(frame: bytes, to_b: bool) -> bool:
        return not to_b and frame[23] == 6 and next(count) == lost

    Pair(b"request", Random(1).randbytes(20_000), lose=lose).run()


def test_without_sack_and_timestamps() -> None:
    """A cable that strips the options off every SYN: NewReno has to do."""
    faults = Faults(loss=0.04)
    pair = Pair(Random(3).randbytes(150_000), b"", seed=3, faults=faults)
    for side in (pair.a, pair.b):
        strip_options(side)
    pair.run()


def strip_options(side: Interface) -> None:
    """Make a side hear SYNs without SACK-permitted, time stamps and window scale."""
    receive: Callable[..., None] = side.tcp.receive

    def without(packet: Any, now: int) -> None:
        payload = bytearray(packet.payload)
        if payload[13] & 2:
            payload[20 + 4 :] = b"\x01" * (len(payload) - 24)
        packet.checksum_ok = True
        packet.payload = memoryview(bytes(payload))
        receive(packet, now)

    side.tcp.receive = without  # type: ignore[method-assign] # a middlebox


def test_c25_both_directions_full() -> None:
    """Both ends write 1 MB before they read."""
    pair = Pair(bytes(1_000_000), bytes(1_000_000), config={"send_buffer": 1 << 21, "receive_buffer": 60_000})
    pair.client.reading_from = pair.server.reading_from = pair.wire.clock.now + 20 * SECOND
    pair.run()


def test_c06_half_close_and_then_the_reply() -> None:
    """1 MB after the client has finished; and the mirror case."""
    pair = Pair(b"GET", Random(1).randbytes(1_000_000))
    pair.run()
    mirror = Pair(Random(1).randbytes(1_000_000), b"220 hello")
    mirror.run()


def test_c07_fin_counts() -> None:
    """After a download both ends end: TIME-WAIT on one side, CLOSED at last on both, never stuck in LAST-ACK."""
    pair = Pair(b"", bytes(100_000))
    pair.run()
    assert pair.wire.clock.now < 100 * SECOND


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    data=st.data(),
    seed=st.integers(0, 1 << 30),
    loss=st.floats(0, 0.12),
    duplicate=st.floats(0, 0.1),
    reorder=st.floats(0, 0.2),
    corrupt=st.floats(0, 0.05),
    isn=st.sampled_from([None, 0, 0xFFFFFFFF, 0xFFFFFFF0, 0xFFFFF000, 0x7FFFFFFF, 0x80000000 - 5000]),
    delay=st.sampled_from([0, 100, 5 * MS, 100 * MS]),
)
def test_any_weather(
    data: st.DataObject,
    seed: int,
    loss: float,
    duplicate: float,
    reorder: float,
    corrupt: float,
    isn: int | None,
    delay: int,
) -> None:
    """RFC 9293 3.4-a and all the rest: byte-exact, then the end, then nothing left, whatever the cable does."""
    rng = Random(seed)
    mtu = data.draw(st.sampled_from([296, 576, 1500, 9000]))
    config = {
        "receive_buffer": data.draw(st.sampled_from([700, 5000, 65535, 1 << 20])),
        "send_buffer": data.draw(st.sampled_from([500, 10_000, 1 << 20])),
        "congestion": data.draw(st.sampled_from(["cubic", "newreno"])),
        "user_timeout_us": None,
    }
    pair = Pair(
        rng.randbytes(data.draw(st.integers(0, 30_000))),
        rng.randbytes(data.draw(st.integers(0, 30_000))),
        seed=seed,
        isn=isn,
        mtus=(mtu, data.draw(st.sampled_from([mtu, 1500]))),
        config=config,
        delay_us=delay,
        faults=Faults(loss, duplicate, reorder, corrupt),
    )
    for end in (pair.client, pair.server):
        end.write = data.draw(st.sampled_from([100, 3000, 1 << 20]))
        end.read = data.draw(st.sampled_from([333, 1 << 20]))
    over = pair.wire.run_for(LIMIT, lambda: pair.over)
    for end in (pair.client, pair.server):
        if end.conn is not None:
            end.heard += end.conn.recv(1 << 20)  # what an application that reads in portions had not come to
    if over:
        # A LAST-ACK side whose peer has left TIME-WAIT meanwhile hears RST: the streams are whole all the same.
        errors = [end.conn.error for end in (pair.client, pair.server) if end.conn is not None]
        if not any(errors):
            pair.wire.run_for(
                400 * SECOND
            )  # an old SYN, come late, may have opened a call that nobody will complete
            pair.check()
    assert pair.server.heard == pair.client.to_send
    assert pair.client.heard == pair.server.to_send
    check_cable(pair.wire, 0)
