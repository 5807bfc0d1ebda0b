"""The receiving half on the wire: acceptability, order, windows, delayed ACKs, SACK blocks (RFC 9293 §3.8.6, §3.10.7.4; RFC 2018; RFC 2883)."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SACK_PERMITTED, SECOND, mss, stamps
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.memory import MemoryBudget
from usernat.stack.l4.tcp.receiver import Receiver
from usernat.stack.l4.tcp.state import State

DELAY = 40 * MS


def blocks(option: bytes) -> list[tuple[int, int]]:
    return [struct.unpack_from(">II", option, at) for at in range(0, len(option), 8)]


def sack_peer(**config: Any) -> Peer:
    return Peer(**config).connected(options=mss(1460) + SACK_PERMITTED)


@pytest.mark.rfc("9293", "3.10.7.4-a")
@pytest.mark.parametrize("window", [0, 10])
@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("offset", range(-6, 12))
def test_acceptability(window: int, length: int, offset: int) -> None:
    """RFC 9293 3.10.7.4-a, table 6, at every boundary."""
    rcv = Receiver(MemoryBudget(1 << 20), 1460, 65535, 65535)
    rcv.start(99)
    rcv.edge = rcv.rcv_nxt + window
    seq, last = 100 + offset, 100 + offset + length - 1
    if length == 0:
        expected = 100 <= seq < 110 if window else seq == 100
    else:
        expected = window > 0 and (100 <= seq < 110 or 100 <= last < 110)
    assert rcv.acceptable(seq, length) is expected


@pytest.mark.rfc("9293", "3.10.7.4-b")
def test_unacceptable_segments_draw_an_ack() -> None:
    """RFC 9293 3.10.7.4-b."""
    peer = in_established()
    peer.sends("A", data=b"abc")
    peer.expects("A", at=DELAY, ack=4)
    peer.sends("A", seq=1, data=b"abc")
    peer.expects("A", seq=1, ack=4)
    peer.sends("A", seq=70_000, data=b"abc")
    peer.expects("A", seq=1, ack=4)
    assert peer.conn.recv(10) == b"abc"
    assert peer.count("out_of_window") == 2


@pytest.mark.rfc("9293", "3.10.7.4-c")
def test_c04_each_byte_once_and_in_order() -> None:
    """RFC 9293 3.10.7.4-c, SHLD-31: retransmitted, overlapping and reordered segments."""
    peer = in_established()
    text = bytes(range(1, 21))

    def part(start: int, stop: int) -> None:
        peer.sends("A", seq=1 + start, data=text[start:stop])

    for start, stop in ((0, 3), (0, 3), (1, 5), (8, 10), (7, 12), (15, 20), (0, 9), (11, 16), (3, 20)):
        part(start, stop)
    assert peer.conn.recv(100) == text
    assert peer.drain()[-1].ack == 21


@pytest.mark.rfc("9293", "SHLD-31")
@given(st.permutations(range(8)), st.integers(0, 3))
def test_any_order_of_arrival(order: list[int], overlap: int) -> None:
    peer = sack_peer()
    text = bytes(range(80))
    for index in order:
        start, stop = max(0, index * 10 - overlap), min(80, index * 10 + 10 + overlap)
        peer.sends("A", seq=1 + start, data=text[start:stop])
    assert peer.conn.recv(100) == text
    assert peer.conn.rcv.reassembly is None
    assert peer.layer.memory.used == 0


@pytest.mark.rfc("9293", "3.10.7.4-c")
def test_beyond_the_right_edge_is_cut_off() -> None:
    """RFC 9293 3.10.7.4-c."""
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected()
    peer.sends("A", data=b"x" * 1400)
    assert peer.conn.readable == 1000
    peer.expects("A", ack=1001, window=0)


@pytest.mark.rfc("9293", "SHLD-18", "MUST-40")
def test_delayed_ack() -> None:
    """RFC 9293 SHLD-18, MUST-40."""
    peer = in_established()
    peer.sends("A", data=b"x" * 100)
    peer.silence(until=DELAY - 1)
    peer.expects("A", at=DELAY, ack=101)
    peer.silence(until=SECOND)


@pytest.mark.rfc("9293", "SHLD-19")
def test_every_second_full_segment_is_acknowledged() -> None:
    """RFC 9293 SHLD-19, RFC 5681 4.2-a."""
    peer = in_established()
    for index in range(10):
        peer.sends("A", data=b"x" * 1460)
        peer.conn.recv(1460)
        if index % 2:
            peer.expects("A", ack=1 + 1460 * (index + 1))
        peer.silence()


@pytest.mark.rfc("9293", "MUST-58", "MUST-59")
def test_one_ack_for_a_batch() -> None:
    """RFC 9293 MUST-58, MUST-59: and it covers all of it."""
    peer = in_established()
    for _ in range(10):
        peer.sends("A", data=b"x" * 1460, flush=False)
    peer.expects("A", ack=14601)
    peer.silence()


def test_ack_rides_on_data() -> None:
    peer = in_established()
    peer.sends("A", data=b"ping", flush=False)
    peer.conn.send(b"pong")
    peer.expects("PA", data=b"pong", ack=5)
    peer.silence(until=DELAY * 2)


def test_super_segments_count_by_bytes() -> None:
    """A device that joins segments: 64 KiB at once is many full segments, not one."""
    peer = Peer(mtu=65535, receive_buffer=1 << 20, initial_receive_window=65535).connected()
    peer.sends("A", data=b"x" * 20_000)
    peer.silence()
    peer.expects("A", at=DELAY)  # one segment of this link's size
    small = Peer(mtu=1500).connected()
    packet = small.segment("A", data=b"x" * 1460)
    small.raw(packet)
    small.raw(small.segment("A", seq=1461, data=b"x" * 1460))
    small.expects("A", ack=2921)


@pytest.mark.rfc("9293", "MAY-13")
def test_out_of_order_is_answered_at_once() -> None:
    """RFC 5681 3.2-a, -b, RFC 9293 MAY-13."""
    peer = in_established()
    peer.sends("A", seq=11, data=b"x" * 10)
    peer.expects("A", ack=1)
    peer.sends("A", seq=31, data=b"x" * 10)
    peer.expects("A", ack=1)
    peer.sends("A", seq=1, data=b"x" * 10)
    peer.expects("A", ack=21)


@pytest.mark.rfc("2018", "3-a", "4-b", "4-c", "4-d", "4-e", "4-f")
def test_sack_blocks_most_recent_first() -> None:
    """RFC 2018 4-b to 4-f, 3-a: up to four without time stamps."""
    peer = sack_peer()
    starts = [11, 31, 51, 71, 91]
    for start in starts:
        peer.sends("A", seq=start, data=b"x" * 10)
    last = peer.drain()[-1]
    base = peer.irs
    assert blocks(last.options[5]) == [(base + s, base + s + 10) for s in (91, 71, 51, 31)]
    peer.sends("A", seq=21, data=b"x" * 10)
    assert blocks(peer.expects("A").options[5])[0] == (base + 11, base + 41)


@pytest.mark.rfc("2018", "3-a", "4-e")
@pytest.mark.rfc("9293", "MUST-16")
def test_sack_three_blocks_beside_timestamps() -> None:
    """RFC 2018 3-a; data segments carry them too and stay within the MSS (RFC 9293 MUST-16)."""
    peer = Peer().connected(options=mss(1460) + SACK_PERMITTED + stamps(1))
    for start in (11, 31, 51, 71, 91):
        peer.sends("A", seq=start, data=b"x" * 10)
    assert len(blocks(peer.drain()[-1].options[5])) == 3
    peer.conn.send(bytes(5000))
    seg = peer.expects("A")
    assert len(blocks(seg.options[5])) == 3
    assert len(seg.data) + len(seg.option_bytes) == 1460


@pytest.mark.rfc("2018", "4-a")
def test_no_sack_unless_permitted() -> None:
    """RFC 2018 4-a."""
    peer = in_established()
    peer.sends("A", seq=11, data=b"x" * 10)
    assert 5 not in peer.expects("A").options


@pytest.mark.rfc("7323", "4.3-a")
def test_time_stamp_of_the_segment_that_is_acknowledged_is_echoed() -> None:
    """RFC 7323 4.3-a: TS.Recent moves on with Last.ACK.sent, and not for text ahead of a gap."""
    peer = Peer().connected(options=mss(1460) + SACK_PERMITTED + stamps(1000))
    for tsval in (1100, 1200):
        peer.tsval = tsval
        peer.sends("A", data=b"x" * 1448)
        peer.sends("A", data=b"x" * 1448)
        assert peer.drain()[-1].tsecr == tsval
    peer.tsval = 1300
    peer.sends("A", seq=9000, data=b"x")
    assert peer.expects("A").tsecr == 1200


@pytest.mark.rfc("2883", "4-a", "4-b", "4-c", "4-d", "4-e")
def test_dsack() -> None:
    """RFC 2883 4-a, 4-b, 4-c, 4-d, 4-e."""
    peer = sack_peer()
    base = peer.irs
    peer.sends("A", data=b"x" * 100)
    peer.drain()
    peer.sends("A", seq=1, data=b"x" * 50)  # all of it known
    assert blocks(peer.expects("A", ack=101).options[5]) == [(base + 1, base + 51)]
    peer.sends("A", seq=201, data=b"x" * 100)
    assert blocks(peer.expects("A", ack=101).options[5]) == [(base + 201, base + 301)], "reported once"
    peer.sends("A", seq=221, data=b"x" * 20)  # inside what is held
    assert blocks(peer.expects("A").options[5]) == [(base + 221, base + 241), (base + 201, base + 301)]
    peer.sends("A", seq=51, data=b"x" * 100)  # half known
    assert blocks(peer.expects("A", ack=151).options[5])[0] == (base + 51, base + 101)


@pytest.mark.rfc("9293", "MUST-39")
def test_receiver_silly_window() -> None:
    """RFC 9293 MUST-39, SHLD-14: a byte read at a time moves nothing; half the buffer or a segment does."""
    peer = Peer(receive_buffer=4000, initial_receive_window=4000).connected()
    for _ in range(3):
        peer.sends("A", data=b"x" * 1333)
    peer.drain()
    peer.sends("A", data=b"y")
    peer.expects("A", ack=4001, window=0)
    for _ in range(1459):
        peer.conn.recv(1)
        peer.silence()
    peer.sends("A", seq=4001, data=b"?")
    peer.expects("A", ack=4001, window=0)
    peer.conn.recv(1)
    assert peer.expects("A", ack=4001).window == 1460


@pytest.mark.rfc("9293", "MAY-8")
def test_closed_window_answers_probes_and_opens() -> None:
    """RFC 9293 MAY-8."""
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected()
    peer.sends("A", data=b"x" * 1000)
    peer.expects("A", ack=1001, window=0)
    for _ in range(5):
        peer.sends("A", seq=1001, data=b"?")
        peer.expects("A", ack=1001, window=0)
    peer.conn.recv(1000)
    peer.expects("A", ack=1001, window=1000)
    peer.sends("A", seq=1001, data=b"!")
    assert peer.conn.recv(9) == b"!"


@pytest.mark.rfc("9293", "MUST-66")
def test_zero_window_takes_ack_rst_and_urg() -> None:
    """RFC 9293 MUST-66."""
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected()
    peer.conn.send(b"ours")
    peer.drain()
    peer.sends("A", data=b"x" * 1000)
    peer.drain()
    peer.sends("UA", seq=1001, ack=5, data=b"z", urgent=9)
    assert peer.conn.snd.snd_una == peer.conn.snd.iss + 5
    assert peer.conn.urgent_remaining == 1009
    assert peer.conn.readable == 1000
    peer.sends("R", seq=1001)
    peer.assert_state(State.CLOSED)


def test_zero_window_takes_no_fin() -> None:
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected()
    peer.sends("A", data=b"x" * 1000)
    peer.drain()
    peer.sends("FA", seq=1001)
    peer.expects("A", ack=1001)
    peer.conn.recv(1000)
    peer.expects("A", window=1000)
    peer.sends("FA", seq=1001)
    assert peer.conn.at_eof


def test_window_grows_with_what_is_consumed() -> None:
    peer = Peer(receive_buffer=1 << 20, initial_receive_window=65535).connected(
        options=mss(1460) + b"\x01\x03\x03\x00"
    )
    assert peer.conn.rcv.limit == 65535
    for _ in range(200):
        peer.sends("A", data=b"x" * 1460)
        peer.conn.recv(1460)
    assert peer.conn.rcv.limit > 65535
    assert peer.conn.rcv.limit <= 1 << 20


def test_creeping_with_single_bytes_ends() -> None:
    """RFC 7323 2.4-a: rounding the window up moves its edge with each octet; a quarter beyond the limit is the end of it."""
    rcv = Receiver(MemoryBudget(1 << 20), 1460, 1 << 20, 2000)
    rcv.start(0)
    taken = 0
    while rcv.take(rcv.rcv_nxt, memoryview(b"x")):
        taken += 1
        rcv.window_field()
    assert 2000 < taken <= 2500 + 32


def test_more_pieces_are_held_once_the_window_has_grown() -> None:
    peer = sack_peer()
    peer.sends("A", seq=101, data=b"x")
    held = peer.conn.rcv.reassembly
    assert held is not None
    assert held.max_pieces == 65535 // 512
    peer.conn.rcv.limit = 1 << 20
    peer.sends("A", seq=103, data=b"x")
    assert held.max_pieces == 2048


def test_tiny_out_of_order_segments_are_bounded() -> None:
    """C60: pieces of one byte with gaps between cost memory far beyond their size."""
    peer = sack_peer()
    for index in range(1, 2000, 2):
        peer.sends("A", seq=1 + index, data=b"x", flush=False)
    held = peer.conn.rcv.reassembly
    assert held is not None
    assert len(held) <= max(64, 65535 // 512)


@pytest.mark.rfc("9293", "3.10.7.4-q")
@pytest.mark.rfc("7323", "2.4-a")
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 20), st.integers(0, 40)), max_size=25))
def test_the_edge_never_moves_back(steps: list[tuple[int, int, int]]) -> None:
    """RFC 9293 3.10.7.4-q, RFC 7323 2.4-a: over arrivals in any order and reads of any size, with scaling."""
    memory = MemoryBudget(1 << 20)
    rcv = Receiver(memory, 10, 100_000, 100)
    rcv.start(0)
    shown = rcv.edge
    for offset, size, read in steps:
        rcv.take(rcv.rcv_nxt + offset - 10, memoryview(b"x" * size))
        assert rcv.rcv_nxt <= rcv.edge
        rcv.consume(min(read, rcv.queue.size))
        edge = rcv.rcv_nxt + (rcv.window_field() << rcv.scale)
        assert edge >= shown
        shown = edge
        rcv.acknowledged()
    rcv.clear()
    assert memory.used == 0
