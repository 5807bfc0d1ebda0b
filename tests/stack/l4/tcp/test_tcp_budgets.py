"""Budgets of memory, of frames and of challenge ACKs, and what a configuration may say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import mss
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.challenge import ChallengeAllowance
from usernat.stack.l4.tcp.config import TcpConfig, window_scale
from usernat.stack.l4.tcp.memory import FLOOR, MemoryBudget

SECOND = 1_000_000


class TestBudgets:
    @given(st.integers(0, 2_000_000), st.integers(1, 1 << 20))
    def test_shares(self, used: int, buffer: int) -> None:
        memory = MemoryBudget(1_000_000)
        memory.used = used
        share = memory.share(buffer)
        assert min(buffer, FLOOR) <= share <= buffer
        if used <= 500_000:
            assert share == buffer
        if used >= 1_000_000:
            assert share == min(buffer, FLOOR)

    @pytest.mark.rfc("5961", "7-a", "7-b")
    def test_challenges(self) -> None:
        """RFC 5961 7-a, 7-b."""
        allowance = ChallengeAllowance(3, 100)
        assert [allowance.take(10) for _ in range(5)] == [True] * 3 + [False] * 2
        assert not allowance.take(109)
        assert allowance.take(110)


class TestConfig:
    @pytest.mark.parametrize(
        ("buffer", "shift"), [(1, 0), (65535, 0), (65536, 1), (1 << 20, 5), (1 << 30, 14)]
    )
    def test_window_scale(self, buffer: int, shift: int) -> None:
        assert window_scale(buffer) == shift

    @pytest.mark.rfc("7323", "2.3-c")
    @pytest.mark.rfc("9293", "MUST-23", "MUST-40")
    @pytest.mark.parametrize(
        "wrong",
        [
            {"congestion": "vegas"},
            {"receive_buffer": 0},
            {"receive_buffer": 1 << 31},
            {"delayed_ack_us": 500_000},
            {"syn_timeout_us": 179 * SECOND},
            {"memory": 0},
            {"max_half_open": 0},
        ],
    )
    def test_what_cannot_be(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"."):
            TcpConfig(**wrong)  # type: ignore[arg-type] # wrong on purpose


def test_keeps_what_is_not_acknowledged() -> None:
    """RFC 2018 8-b, by reference: no copy is made."""
    peer = in_established()
    data = bytes(2000)
    assert peer.conn.send(data) == 2000
    assert peer.conn.snd.queue.slices(peer.conn.snd.queue.start, 2000)[0] is data


def test_send_room() -> None:
    peer = in_established(send_buffer=1000)
    assert peer.conn.send_room == 1000
    assert peer.conn.send(bytes(1500)) == 1000
    assert peer.conn.send(b"x") == 0
    peer.drain()
    peer.ready()
    peer.sends("A", ack=301)
    assert peer.ready() == []
    peer.sends("A", ack=537)
    assert peer.ready() == [peer.conn], "half of the buffer is free again"
    assert peer.conn.send_room == 536
    peer.sends("A", ack=600)
    assert peer.ready() == [], "that is no news"
    peer.sends("A", ack=1001)
    assert peer.ready() == [peer.conn], "and when all is acknowledged"
    peer.conn.shutdown()
    assert peer.conn.send(b"x") == 0


def test_send_room_under_memory_pressure() -> None:
    """What a connection may queue shrinks with the budget of all, but never to nothing."""
    peer = in_established(memory=100_000, send_buffer=60_000)
    peer.layer.memory.used += 75_000
    assert peer.conn.send_room == 30_000
    peer.layer.memory.used += 25_000
    assert peer.conn.send_room == 8192
    peer.layer.memory.used -= 100_000


def test_transmit_budget() -> None:
    """What is not taken is not lost, and connections take turns."""
    peer = in_established()
    other = Peer(rig=peer.rig, port=40001)
    other.listener = peer.listener
    other.connected()
    for end in (peer, other):
        end.conn.snd.cc.cwnd = 100_000
        end.conn.send(bytes(50 * 536))
    frames = []
    interface = peer.rig.interface
    while batch := interface.transmit(peer.rig.now, budget=5):
        assert len(batch) <= 5
        frames += [bytes(frame) for frame in batch]
    assert len(frames) == 100
    ports = [int.from_bytes(frame[36:38], "big") for frame in frames]
    assert len(set(ports[:40])) == 2, "both had a turn early"


@pytest.mark.rfc("9293", "SHLD-14", "3.10.7.4-q")
def test_memory_pressure_closes_windows_but_no_edge_moves_back() -> None:
    """RFC 9293 SHLD-14, 3.10.7.4-q."""
    peer = Peer(memory=100_000, receive_buffer=65535).connected()
    edge = 0
    for _ in itertools.repeat(None, 60):
        if peer.conn.rcv.edge <= peer.conn.rcv.rcv_nxt:
            break
        peer.sends("A", data=b"x" * min(1460, peer.conn.rcv.edge - peer.conn.rcv.rcv_nxt))
        for seg in peer.drain():
            assert seg.ack + seg.window >= edge
            edge = seg.ack + seg.window
    assert peer.conn.readable <= 65535
    assert peer.layer.memory.used <= 100_000
    peer.conn.abort()
    assert peer.layer.memory.used == 0


def test_windows_offered_in_better_times_do_not_overrun_the_budget() -> None:
    """C60: at most the floor, and a segment, beyond the limit for each connection; what was left comes again."""
    first = Peer(memory=100_000, receive_buffer=65535).connected()
    peers = [first]
    for port in range(41001, 41008):
        peer = Peer(rig=first.rig, port=port)
        peer.listener = first.listener
        peers.append(peer.connected())
    for _ in range(44):
        for peer in peers:
            peer.sends("A", seq=peer.conn.rcv.rcv_nxt - peer.irs, data=b"x" * 1460)
            peer.drain()
    assert 100_000 <= first.layer.memory.used < 100_000 + 8 * (8192 + 1460)
    assert all(peer.conn.readable >= 8192 for peer in peers), "each has its floor"
    late = Peer(rig=first.rig, port=41008)
    late.listener = first.listener
    late.sends("S")
    assert late.expects("SA").window == 8192, "new calls begin with no more"
    late.ack = 1
    for _ in range(6):
        late.sends("A", data=b"z" * 1460)
    assert late.drain()[-1].ack == 8193, "and get that"
    for peer in peers[1:]:
        peer.conn.recv(1 << 20)
    first.sends("A", seq=first.conn.rcv.rcv_nxt - first.irs, data=b"y" * 1460)
    assert first.conn.recv(1 << 20)[-1:] == b"y"


def test_memory_pressure_with_large_segments() -> None:
    """RFC 9293 MUST-39 speaks of the buffer as it is: with an MSS above the floor the window must open all the same."""
    peer = Peer(mtu=65520, memory=200_000, receive_buffer=65535).connected(options=mss(65480))
    peer.sends("A", data=b"x" * 60000)
    peer.sends("A", data=b"x" * 5535)
    assert peer.drain()[-1].window == 0
    peer.layer.memory.used += 195_000  # somebody else's
    peer.conn.recv(65535)
    assert peer.expects("A").window == 8192
