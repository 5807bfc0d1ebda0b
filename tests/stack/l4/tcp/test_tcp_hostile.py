"""Whatever a peer sends, in whatever state: no exception, no number that moves back, no byte unaccounted for, no timer that lies."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import SACK_PERMITTED, SECOND, mss, scale, stamps
from tests.stack.l4.tcp.states import STATES
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.incoming import Incoming

NEAR = st.one_of(st.integers(-5, 25), st.integers(-70_000, 140_000), st.integers(-(1 << 31), 1 << 31))
OPTIONS = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.just(mss(9) + SACK_PERMITTED + scale(14)),
    st.builds(stamps, st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF)),
    st.builds(lambda edges: bytes((1, 1, 5, 10)) + edges, st.binary(min_size=8, max_size=8)),
)
SEGMENT = st.fixed_dictionaries(
    {
        "flags": st.sets(st.sampled_from("FSRPAU"), max_size=4).map("".join),
        "seq": NEAR,
        "ack": NEAR,
        "data": st.binary(max_size=60),
        "window": st.sampled_from([0, 1, 10, 1000, 65535]),
        "urgent": st.sampled_from([0, 1, 65535]),
        "options": OPTIONS,
    }
)
STEP = st.one_of(
    SEGMENT,
    st.sampled_from(["send", "send more", "read", "shutdown", "close", "abort", "keep alive", "flush"]),
    st.integers(1, 400 * SECOND),
)


def act(conn: Connection, what: str) -> None:
    if what == "send":
        conn.send(b"x" * 10)
    elif what == "send more":
        conn.send(b"y" * 5000)
    elif what == "read":
        conn.recv(7)
    elif what == "shutdown":
        conn.shutdown()
    elif what == "close":
        conn.close()
    elif what == "abort":
        conn.abort()
    elif what == "keep alive":
        conn.keep_alive(True, idle_us=SECOND)


class Watch:
    """Numbers of one connection that only grow."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.last = self.numbers()

    def numbers(self) -> tuple[int, ...]:
        snd, rcv = self.conn.snd, self.conn.rcv
        return snd.snd_una, snd.snd_nxt, rcv.rcv_nxt, rcv.edge, rcv.urgent

    def look(self, peer: Peer) -> None:
        conn, snd, rcv = self.conn, self.conn.snd, self.conn.rcv
        now = self.numbers()
        if rcv.irs:
            assert all(new >= old for new, old in zip(now, self.last, strict=True)) or not self.last[2], (
                self.last,
                now,
            )
        self.last = now
        assert snd.snd_una <= snd.snd_nxt <= max(snd.stream_end, snd.iss + 1)
        assert rcv.rcv_nxt <= rcv.edge or rcv.finished
        assert snd.cc.cwnd >= 1
        held = len(snd.queue) + rcv.queue.size + (len(rcv.reassembly) if rcv.reassembly is not None else 0)
        others = sum(
            len(entry.snd.queue)
            + entry.rcv.queue.size
            + (len(entry.rcv.reassembly) if entry.rcv.reassembly else 0)
            for entry in peer.layer.table.values()
            if isinstance(entry, Connection) and entry is not conn
        )
        assert peer.layer.memory.used == held + others
        if conn.closed:
            assert peer.layer.table.get(conn.key) is not conn


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(STATES)), st.lists(STEP, max_size=25), st.booleans())
def test_any_segments_in_any_state(name: str, steps: list[Any], rich: bool) -> None:
    peer = STATES[name]()
    if rich and name == "ESTABLISHED":
        peer = Peer().connected(options=mss(1460) + SACK_PERMITTED + scale(3) + stamps(1000))
    watch = Watch(peer.conn)
    for step in steps:
        if isinstance(step, dict):
            fields = dict(step)
            peer.sends(fields.pop("flags"), **fields)
        elif isinstance(step, int):
            peer.wait(peer.now + step)
        else:
            act(peer.conn, step)
        peer.wait(peer.now)
        peer.sent.clear()
        watch.look(peer)
        due = peer.layer.poll_at()
        assert due is None or due > peer.rig.now
    peer.conn.abort()
    peer.wait(peer.now + 400 * SECOND)
    watch.look(peer)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=10), st.booleans())
def test_any_bytes(datagrams: list[bytes], hold: bool) -> None:
    """Not even a header: with a checksum that the device vouches for, so that all of it is read."""
    peer = Peer()
    listener = peer.layer.listen(None, None, hold=hold)
    for payload in datagrams:
        packet = peer.segment("S")[:0] + payload
        peer.rig.receive(_datagram(packet), checksum_ok=True)
    while (call := listener.accept()) is not None:
        if isinstance(call, Incoming):
            call.accept()
    peer.rig.frames()


def _datagram(payload: bytes) -> bytes:
    from tests.stack.packets import TCP, ipv4  # noqa: PLC0415 - beside its one use

    return ipv4(payload, proto=TCP)
