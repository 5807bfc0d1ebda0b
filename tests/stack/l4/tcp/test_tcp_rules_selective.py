"""SACK and D-SACK on either side, Karn's algorithm and what a time-out sends again, as their RFCs have them (RFC 2018, RFC 2883, RFC 9293 §3.8.1, §3.8.2)."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, MINUTE, MS, SACK_PERMITTED, Seg, mss, scale
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.reassembly import Reassembly

SIZE = 1000
RTT = 40 * MS
RTO = 200 * MS


def payload(index: int) -> bytes:
    """Of the segment with this number: each is unlike all others."""
    return struct.pack(">I", index) * (SIZE // 4)


def sender(*, segments: int = 10, extra: int = 0, congestion: str = "newreno") -> Peer:
    """With SACK and a round trip of 40 ms; `segments` full segments are out, `extra` more are queued behind cwnd."""
    peer = Peer(congestion=congestion).calls(options=mss(SIZE) + SACK_PERMITTED)
    peer.sends("A", at=RTT)
    peer.listener.accept()
    peer.conn.snd.cc.cwnd = segments * SIZE
    for index in range(segments + extra):
        peer.conn.send(payload(index))
    assert len(peer.drain()) == segments
    return peer


def blocks_of(seg: Seg) -> list[tuple[int, int]]:
    option = seg.options.get(5, b"")
    return [struct.unpack_from(">II", option, at) for at in range(0, len(option), 8)]


def sacks(peer: Peer, ack: int, *ranges: tuple[float, float]) -> list[Seg]:
    """An ACK with SACK blocks, in units of segments; returns what it let out."""
    base = peer.conn.snd.iss + 1
    edges = [int(base + SIZE * edge) & 0xFFFFFFFF for block in ranges for edge in block]
    option = bytes((1, 1, 5, 2 + 4 * len(edges))) + struct.pack(f">{len(edges)}I", *edges) if edges else b""
    peer.sends("A", ack=1 + SIZE * ack, options=option)
    return peer.drain()


def indices(segments: list[Seg]) -> list[int]:
    return [(seg.seq - 1) // SIZE for seg in segments]


# -- the sender and SACK ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("2018", "5-a")
def test_what_was_sacked_is_not_sent_again() -> None:
    peer = sender()
    peer.wait(2 * RTT)
    sent = sacks(peer, 0, (2, 3)) + sacks(peer, 0, (2, 4)) + sacks(peer, 0, (6, 10), (2, 4))
    for ack in (1, 4, 5):
        peer.wait(peer.now + RTT)
        sent += sacks(peer, ack, (6, 10))
    assert sorted(indices(sent)) == [0, 1, 4, 5]
    sacks(peer, 10)
    assert not peer.conn.unacknowledged


@pytest.mark.rfc("2018", "5.1-a")
@pytest.mark.rfc("9293", "MUST-19")
def test_one_sack_is_no_loss_and_a_loss_halves_the_window() -> None:
    """RFC 5681 goes on: segments may come out of order; and what is lost costs cwnd."""
    peer = sender(extra=10)
    cwnd = peer.conn.snd.cc.cwnd
    peer.wait(2 * RTT)
    assert 0 not in indices(sacks(peer, 0, (1, 2)))
    assert peer.conn.snd.cc.cwnd == cwnd
    assert 0 in indices(sacks(peer, 0, (1, 3)) + sacks(peer, 0, (1, 4)))
    assert peer.conn.snd.cc.ssthresh == cwnd // 2


@pytest.mark.rfc("2018", "5-b", "5-c", "5.1-b", "8-b")
@pytest.mark.rfc("9293", "3.10.8-b")
def test_a_receiver_that_has_thrown_away_what_it_had_sacked() -> None:
    """It acknowledges the first segment, not the others that it had SACKed: the time-out sends the left edge, SACKed or not, and then all of it."""
    peer = sender()
    sacks(peer, 0, (1, 10))
    peer.drain()
    sacks(peer, 1)
    held: dict[int, bytes] = {}
    for _ in range(40):
        due = peer.layer.poll_at()
        if due is None:
            break
        peer.wait(due - peer.start)
        segments = peer.drain()
        if not held and segments:
            assert segments[0].seq == 1 + SIZE, "the left edge"
            assert peer.conn.snd.recovery is not None
            assert not peer.conn.snd.recovery.board.sacked.total
        while segments:
            held |= {(seg.seq - 1) // SIZE: seg.data for seg in segments}
            edge = 1
            while edge in held:
                edge += 1
            segments = sacks(peer, edge)
    assert held == {index: payload(index) for index in range(1, 10)}


@pytest.mark.rfc("2883", "5-a")
@pytest.mark.parametrize(
    ("ack", "blocks", "is_dsack"),
    [
        (2, [(1, 2)], True),  # below the ACK field
        (4, [(2, 3)], True),  # likewise, though not below SND.UNA as it was
        (2, [(4, 5), (3, 6)], True),  # inside the second block
        (2, [(3, 4)], False),
        (2, [(3, 6), (4, 5)], False),  # the second inside the first
        (2, [(3, 5), (4, 6)], False),
        (2, [(3, 4), (1, 2)], False),  # only the first block can be one
    ],
)
def test_dsacks_by_the_ack_of_their_own_segment(
    ack: int, blocks: list[tuple[int, int]], is_dsack: bool
) -> None:
    """A D-SACK tells RACK to be more patient, and is by itself no sign of loss."""
    peer = sender()
    sacks(peer, 2)
    sacks(peer, ack, *blocks)
    assert peer.conn.snd.rack_state().reo_wnd_mult == (2 if is_dsack else 1)
    if len(blocks) == 1:
        assert (peer.conn.snd.recovery is None) is is_dsack


@pytest.mark.rfc("9293", "3.10.8-b", "MUST-19", "MUST-18")
def test_the_head_of_the_queue_goes_again_ever_more_slowly() -> None:
    peer = in_established()
    peer.conn.send(b"first")
    peer.expects("PA")
    peer.conn.send(b"second")
    times = [0]
    while len(times) < 9:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
        times += [seg.at for seg in peer.drain() if (seg.seq, seg.data[:5]) == (1, b"first")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] == RTO
    assert all(second == min(2 * first, MINUTE) for first, second in pairwise(gaps))


@pytest.mark.rfc("9293", "MUST-18")
@pytest.mark.parametrize("answered_after_ms", [1, 50, 150])
def test_karn_s_algorithm(answered_after_ms: int) -> None:
    """No sample of what was sent twice, and the time-out stays backed off; then RFC 6298's from the next that was sent once."""
    peer = in_established()
    peer.conn.send(b"x")
    peer.expects("PA")
    peer.expects("PA", at=RTO, seq=1)
    srtt = peer.conn.snd.rtt.srtt_us
    peer.sends("A", at=RTO + answered_after_ms * MS, ack=2)
    assert peer.conn.snd.rtt.srtt_us == srtt
    assert peer.conn.snd.rtt.rto_us == 2 * RTO
    peer.conn.send(b"y")
    peer.expects("PA", seq=2)
    rttvar = peer.conn.snd.rtt.rttvar_us
    peer.sends("A", at=peer.now + 80 * MS, ack=3)
    assert peer.conn.snd.rtt.srtt_us == pytest.approx(srtt * 7 / 8 + 80 * MS / 8)
    assert peer.conn.snd.rtt.rttvar_us == pytest.approx(rttvar * 3 / 4 + abs(80 * MS - srtt) / 4)


@pytest.mark.rfc("9293", "MUST-19")
def test_slow_start_then_congestion_avoidance_then_slow_start() -> None:
    """cwnd doubles in a round trip below ssthresh, grows by one segment in one above, and is one segment after a time-out."""
    peer = sender(segments=10, extra=200)
    cc = peer.conn.snd.cc
    cc.hystart, cc.ssthresh = None, 20 * SIZE
    for ack in range(1, 11):
        sacks(peer, ack)
    assert cc.cwnd == 20 * SIZE
    for ack in range(11, 31):
        sacks(peer, ack)
    assert cc.cwnd == pytest.approx(21 * SIZE, abs=SIZE // 2)
    peer.wait(peer.now + 2 * peer.conn.snd.rtt.rto_us)
    assert cc.cwnd <= SIZE
    assert cc.ssthresh < 20 * SIZE


# -- the receiver and SACK --------------------------------------------------------------------------------------------


@pytest.mark.rfc("2018", "4-b", "4-c", "4-d")
def test_every_segment_ahead_of_a_gap_is_answered_with_itself_first() -> None:
    peer = Peer().connected(options=mss(1460) + SACK_PERMITTED)
    base = peer.irs
    for start in (101, 301, 201, 501):
        peer.sends("A", seq=start, data=b"x" * 100)
        low, high = blocks_of(peer.expects("A", ack=1))[0]
        assert low <= base + start < high
    peer.conn.send(b"also on text")
    assert blocks_of(peer.expects("PA"))[0] == (base + 501, base + 601)


@pytest.mark.rfc("2018", "8-a", "4-d")
def test_only_what_is_held_is_reported() -> None:
    """What there was no memory for is as if it had not come; what was held before still is."""
    peer = Peer().connected(options=mss(1460) + SACK_PERMITTED)
    base = peer.irs
    peer.sends("A", seq=101, data=b"x" * 100)
    assert blocks_of(peer.expects("A")) == [(base + 101, base + 201)]
    peer.layer.memory.used += peer.layer.memory.limit
    peer.sends("A", seq=301, data=b"x" * 100)
    assert blocks_of(peer.expects("A")) == [(base + 101, base + 201)]
    peer.layer.memory.used -= peer.layer.memory.limit
    peer.sends("A", seq=301, data=b"x" * 100)
    assert blocks_of(peer.expects("A")) == [(base + 301, base + 401), (base + 101, base + 201)]


@pytest.mark.rfc("2018", "4-d")
def test_a_segment_of_which_only_a_part_is_held_comes_first() -> None:
    """The table of pieces is full: what was known of it is reported, as the newest."""
    held = Reassembly(2)
    text = memoryview(bytes(100))
    assert held.add(10, text[:10])
    assert held.add(30, text[:10])
    assert not held.add(10, text[:50])
    assert held.sack_blocks(4) == [(10, 20), (30, 40)]


@pytest.mark.rfc("2018", "3-a", "4-e")
@pytest.mark.parametrize(("options", "most"), [(mss(1460) + SACK_PERMITTED, 4), (LINUX_SYN, 3)])
def test_as_many_blocks_as_fit(options: bytes, most: int) -> None:
    """Four, or three beside time stamps, each of eight octets behind two."""
    peer = Peer().connected(options=options)
    for number in range(1, 8):
        peer.sends("A", seq=1 + 200 * number, data=b"x" * 100)
        seg = peer.expects("A")
        assert len(blocks_of(seg)) == min(number, most)
        assert len(seg.options[5]) == 8 * min(number, most)
        assert len(seg.option_bytes) <= 40


@pytest.mark.rfc("2018", "4-f")
def test_the_blocks_behind_the_first_were_reported_lately() -> None:
    """So that each is said at least three times, for ACKs get lost."""
    peer = Peer().connected(options=mss(1460) + SACK_PERMITTED)
    base = peer.irs
    for start in (901, 101, 701, 301, 501):
        peer.sends("A", seq=start, data=b"x" * 100)
    assert [low - base for low, _ in blocks_of(peer.drain()[-1])] == [501, 301, 701, 101]
    peer.sends("A", seq=901, data=b"x" * 150)
    blocks = [low - base for low, _ in blocks_of(peer.expects("A"))]
    assert blocks[0] == 901, "a D-SACK of what came twice"
    assert blocks[1:] == [901, 501, 301]


@pytest.mark.rfc("2883", "4-a", "4-c")
@pytest.mark.parametrize("options", [mss(1460) + SACK_PERMITTED + scale(0), LINUX_SYN])
def test_a_duplicate_is_reported_once(options: bytes) -> None:
    peer = Peer().connected(options=options)
    base = peer.irs
    peer.sends("A", data=b"x" * 300)
    peer.wait(peer.now + 40 * MS)
    peer.drain()
    peer.sends("A", seq=101, data=b"x" * 100)
    assert blocks_of(peer.expects("A", ack=301)) == [(base + 101, base + 201)]
    peer.sends("A", seq=401, data=b"x" * 100)
    assert blocks_of(peer.expects("A", ack=301)) == [(base + 401, base + 501)]
    peer.sends("A", seq=101, data=b"x" * 100)
    assert blocks_of(peer.expects("A"))[0] == (base + 101, base + 201), "another duplicate is another report"
