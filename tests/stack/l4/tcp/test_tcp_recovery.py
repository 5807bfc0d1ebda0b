"""Loss recovery on the wire: fast retransmit, NewReno, SACK, time-outs (RFC 5681, RFC 6582, RFC 6675, RFC 6298, RFC 2018)."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, MINUTE, MS, SACK_PERMITTED, SECOND, Seg, mss
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.recovery import FAST, TIMEOUT

SIZE = 1000
RTO = 200 * MS


def sender(*, sack: bool, segments: int = 10, congestion: str = "newreno", extra: int = 20) -> Peer:
    """`segments` full segments are out, and `extra` more are queued behind cwnd."""
    peer = Peer(congestion=congestion).connected(options=mss(SIZE) + (SACK_PERMITTED if sack else b""))
    peer.conn.snd.cc.cwnd = segments * SIZE
    peer.conn.send(bytes(SIZE * (segments + extra)))
    assert len(peer.drain()) == segments
    return peer


def sacks(peer: Peer, ack: int, *ranges: tuple[int, int], at: int | None = None) -> list[Seg]:
    """An ACK with SACK blocks in units of segments; returns what it let out."""
    iss = peer.iss or 0
    edges = b"".join(
        struct.pack(">II", *(iss + 1 + SIZE * edge & 0xFFFFFFFF for edge in pair)) for pair in ranges
    )
    option = bytes((1, 1, 5, 2 + len(edges))) + edges if edges else b""
    peer.sends("A", ack=1 + SIZE * ack, options=option, at=at)
    return peer.drain()


def indices(segments: list[Seg]) -> list[int]:
    return [(seg.seq - 1) // SIZE for seg in segments]


def test_limited_transmit_then_fast_retransmit() -> None:
    """RFC 5681 3.2-c, -d, -e, -f, -g, 2-a; RFC 6582 3.2-1a, -1b."""
    peer = sender(sack=False)
    cc = peer.conn.snd.cc
    assert indices(sacks(peer, 0)) == [10]
    assert indices(sacks(peer, 0)) == [11]
    assert cc.cwnd == 10 * SIZE, "limited transmit leaves cwnd alone"
    assert indices(sacks(peer, 0)) == [0], "the third duplicate"
    assert cc.ssthresh == 5 * SIZE, "half of FlightSize without limited transmit"
    assert cc.cwnd == 8 * SIZE
    sacks(peer, 0)
    assert cc.cwnd == 9 * SIZE


def test_newreno_partial_and_full_acks() -> None:
    """RFC 6582 3.2-3a, -3c, -3d: each partial ACK names the next hole."""
    peer = sender(sack=False, extra=0)
    for _ in range(2):
        assert not sacks(peer, 0)
    assert indices(sacks(peer, 0)) == [0]
    before = peer.conn.snd.cc.cwnd
    assert indices(sacks(peer, 3)) == [3]
    assert peer.conn.snd.cc.cwnd == before - 3 * SIZE + SIZE
    assert indices(sacks(peer, 6)) == [6]
    assert not sacks(peer, 10)
    assert peer.conn.snd.recovery is None
    assert peer.conn.snd.cc.cwnd == min(peer.conn.snd.cc.ssthresh, 2 * SIZE)


def test_impatient_timer() -> None:
    """RFC 6582 3.2-3e: only the first partial ACK restarts the timer."""
    peer = sender(sack=False, extra=0)
    for _ in range(3):
        sacks(peer, 0)
    sacks(peer, 2, at=100 * MS)
    restarted = peer.conn.timers.retransmit
    sacks(peer, 4, at=150 * MS)
    assert peer.conn.timers.retransmit == restarted


def test_duplicate_acks_after_a_timeout_do_not_start_recovery() -> None:
    """RFC 6582 3.2-1a, 3.2-4a."""
    peer = sender(sack=False, extra=0)
    peer.wait(RTO)
    assert indices(peer.drain()) == [0]
    peer.sends("A", ack=1 + 2 * SIZE)
    peer.drain()
    for _ in range(5):
        peer.sends("A", ack=1 + 2 * SIZE)
    assert peer.conn.snd.recovery is not None
    assert peer.conn.snd.recovery.phase == TIMEOUT


@pytest.mark.parametrize("change", [{"data": b"x"}, {"window": 60000}, {"flags": "FA"}])
def test_not_every_repeated_ack_is_a_duplicate(change: dict[str, Any]) -> None:
    """RFC 5681 2-a: text, FIN or another window make it none."""
    peer = sender(sack=False)
    flags = str(change.pop("flags", "A"))
    peer.sends(flags, ack=1, **change)
    assert peer.count("duplicate_acks") == 0


def test_sack_recovery() -> None:
    """RFC 6675 4-a to 4-d, 5-a to 5-i: only what is missing goes again."""
    peer = sender(sack=True, extra=0)
    assert not sacks(peer, 0, (1, 2))
    assert not sacks(peer, 0, (1, 2), (3, 4))
    assert indices(sacks(peer, 0, (1, 2), (3, 4), (5, 6))) == [0]
    recovery = peer.conn.snd.recovery
    assert recovery is not None
    assert recovery.phase == FAST
    assert peer.conn.snd.cc.ssthresh == peer.conn.snd.cc.cwnd == 5 * SIZE
    # pipe: 10 out, 3 SACKed, one lost and sent again, 2 and 4 not lost yet
    assert recovery.board.pipe(peer.conn.snd.snd_una, peer.conn.snd.snd_nxt) == 7 * SIZE - 0
    out = []
    out += sacks(peer, 0, (1, 2), (3, 4), (5, 10))
    assert indices(out) == [2, 4]
    assert not sacks(peer, 2, (3, 4), (5, 10))
    assert not sacks(peer, 10)
    assert peer.conn.snd.recovery is None


def test_sack_recovery_by_octets_alone() -> None:
    """RFC 6675 4-a: more than (DupThresh - 1) * SMSS above, in one ACK."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 4))) == [0]


def test_three_duplicates_of_small_segments() -> None:
    """RFC 6675 5-c: DupThresh counts ACKs, however few octets they SACK."""
    peer = Peer(congestion="newreno").connected(options=mss(SIZE) + SACK_PERMITTED)
    peer.conn.nodelay = True
    for _ in range(6):
        peer.conn.send(bytes(10))
        peer.drain()
    for count, end in enumerate((20, 30, 40), 1):
        edges = struct.pack(">II", (peer.iss or 0) + 11 & 0xFFFFFFFF, (peer.iss or 0) + end + 1 & 0xFFFFFFFF)
        peer.sends("A", ack=1, options=b"\x01\x01\x05\x0a" + edges)
        # with the third the lost one goes again, and for want of new data the tail (4-f)
        assert [seg.seq for seg in peer.drain()] == ([1, 41] if count == 3 else [])


def test_small_gap_needs_little_room() -> None:
    """RFC 6675 5-h: a gap of less than a segment is filled as soon as that much fits."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 9))) == [0, 9]
    recovery = peer.conn.snd.recovery
    assert recovery is not None
    board, snd = recovery.board, peer.conn.snd
    board.sacked.discard(snd.iss + 1 + 2 * SIZE, snd.iss + 1 + 2 * SIZE + 100)
    board.lost_below = snd.iss + 1 + 3 * SIZE
    snd.cc.cwnd = board.pipe(snd.snd_una, snd.snd_nxt) + 100
    assert recovery.retransmission(SIZE) == (snd.iss + 1 + 2 * SIZE, snd.iss + 1 + 2 * SIZE + 100)
    snd.cc.cwnd -= 1
    assert recovery.retransmission(SIZE) is None


def test_new_data_rides_in_recovery() -> None:
    """RFC 6675 4-d, 5-d."""
    peer = sender(sack=True)
    assert indices(sacks(peer, 0, (1, 2))) == [10], "limited transmit"
    # cwnd falls to 5; 9 and 10 are out, 0 goes again: two more fit
    assert indices(sacks(peer, 0, (1, 9))) == [0, 11, 12]
    assert indices(sacks(peer, 0, (1, 11))) == [13, 14]


def test_rescue_retransmission() -> None:
    """RFC 6675 4-f: the tail is lost too, and nothing above it can be SACKed."""
    peer = sender(sack=True, extra=0)
    out = indices(sacks(peer, 0, (1, 8)))
    assert out[0] == 0
    rest = out[1:] + indices(sacks(peer, 1, (1, 8)))
    rest += indices(sacks(peer, 8))
    assert 9 in rest, "the highest octet outstanding"


def test_old_sack_blocks_are_no_duplicate_acks() -> None:
    """RFC 6675 2-a, RFC 5681 3.2-d."""
    peer = sender(sack=True, extra=0)
    for _ in range(5):
        assert not sacks(peer, 0, (1, 2))
    assert peer.conn.snd.recovery is not None
    assert peer.conn.snd.recovery.dup_acks == 1


def test_dsack_is_no_sign_of_loss() -> None:
    """RFC 2883 5-a."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 5)
    for _ in range(5):
        assert not sacks(peer, 5, (1, 2))
    assert peer.conn.snd.recovery is None


def test_forged_sack_blocks() -> None:
    peer = sender(sack=True, extra=0)
    for block in ((20, 30), (-5, -1), (3, 2), (0, 2), (9, 11)):
        assert not sacks(peer, 0, block)
    assert peer.conn.snd.recovery is None


def test_timeout_goes_back_without_trusting_sack() -> None:
    """RFC 2018 5-b, 5-c, 5.1-b, RFC 6675 5.1-a, RFC 6298 5.4-a, RFC 5681 3.1-h, -j, RFC 9293 3.10.8-b."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, (1, 3))
    seg = peer.expects("A", at=RTO, seq=1)
    assert len(seg.data) == SIZE
    assert peer.conn.snd.cc.cwnd == SIZE
    assert peer.conn.snd.cc.ssthresh == 5 * SIZE
    assert indices(sacks(peer, 1)) == [1, 2], "what was SACKed is sent again; slow start"
    assert indices(sacks(peer, 2, (5, 10))) == [3, 4], "new SACK information is used"
    assert not sacks(peer, 5, (5, 10))
    assert not sacks(peer, 10)
    assert peer.conn.snd.recovery is None


def test_sack_info_after_timeout_skips() -> None:
    peer = sender(sack=True, extra=0)
    peer.wait(RTO)
    assert indices(peer.drain()) == [0]
    assert indices(sacks(peer, 1, (2, 9))) == [1, 9]


def test_rto_backs_off_and_retransmits_the_head() -> None:
    """RFC 6298 5.5-a, 5.6-a, 5-a, 2.5-a; RFC 5681 3.1-i: ssthresh falls once."""
    peer = sender(sack=False, extra=0)
    at, gap = 0, RTO
    for _ in range(12):
        at += gap
        seg = peer.expects("A", at=at, seq=1)
        assert len(seg.data) == SIZE
        gap = min(2 * gap, MINUTE)
        if at + gap > 5 * MINUTE:
            break
    assert peer.conn.snd.cc.ssthresh == 5 * SIZE


def test_ack_restarts_the_timer() -> None:
    """RFC 6298 5.1-a to 5.3-a."""
    peer = sender(sack=False, extra=0)
    peer.sends("A", at=100 * MS, ack=1 + SIZE)
    rto = peer.conn.snd.rtt.rto_us
    peer.silence(until=100 * MS + rto - 1)
    peer.expects("A", at=100 * MS + rto, seq=1 + SIZE)
    peer.sends("A", ack=1 + 10 * SIZE)
    peer.drain()
    assert peer.layer.poll_at() is None


def test_karn() -> None:
    """RFC 6298 3-a, RFC 9293 MUST-18: no sample from what was sent twice."""
    peer = in_established()
    peer.conn.send(b"x")
    peer.drain()
    peer.wait(RTO)
    peer.expects("PA", seq=1)
    backed_off = peer.conn.snd.rtt.rto_us
    srtt = peer.conn.snd.rtt.srtt_us
    peer.sends("A", at=RTO + 1, ack=2)
    assert peer.conn.snd.rtt.srtt_us == srtt
    assert peer.conn.snd.rtt.rto_us == backed_off == 2 * RTO


def test_timestamps_resolve_the_ambiguity() -> None:
    """RFC 6298 3-a, RFC 7323 4.1-b: an echo tells which of the two was acknowledged."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.send(b"x")
    peer.drain()
    peer.wait(RTO)
    peer.expects("PA", seq=1)
    peer.sends("A", at=RTO + 50 * MS, ack=2)
    assert 1 * MS < peer.conn.snd.rtt.srtt_us < 50 * MS
    assert peer.conn.snd.rtt.rto_us < 2 * RTO


def test_lost_ack_does_not_pass_for_a_long_round_trip() -> None:
    """RFC 6298 3-a: the answer to a retransmission that came twice echoes the original, from before our time-out.

    Were that measured, each lost ACK of a last segment would make the next time-out longer.
    """
    peer = Peer().connected(options=LINUX_SYN)
    for number in range(1, 9, 2):
        peer.conn.send(b"x")
        peer.expects("PA", seq=number)
        peer.sends("A", at=peer.now + 1 * MS)
        assert peer.conn.snd.rtt.rto_us == RTO
        peer.conn.send(b"y")
        original = peer.expects("PA", seq=number + 1)
        peer.wait(peer.now + RTO)
        peer.expects("PA", seq=number + 1)
        peer.tsecr = original.tsval
        peer.sends("A", at=peer.now + 1 * MS)
        assert peer.conn.snd.rtt.rto_us == 2 * RTO, "stays backed off until something is measured"


def test_restart_after_idle() -> None:
    """RFC 5681 4.1-a, RFC 6928 2-f."""
    peer = sender(sack=False, extra=0, segments=30)
    peer.sends("A", ack=1 + 30 * SIZE)
    assert peer.conn.snd.cc.cwnd == 30 * SIZE
    peer.wait(peer.now + 10 * SECOND)
    peer.conn.send(bytes(30 * SIZE))
    assert len(peer.drain()) == 10


def test_cwnd_does_not_grow_while_the_application_is_the_limit() -> None:
    """RFC 9438 4.2-c, RFC 5681 3-a."""
    peer = in_established()
    cwnd = peer.conn.snd.cc.cwnd
    for octet in range(50):
        peer.conn.send(b"x")
        peer.drain()
        peer.sends("A", ack=octet + 2)
    assert peer.conn.snd.cc.cwnd == cwnd


def test_slow_start_on_the_wire() -> None:
    """RFC 5681 3.1-e, RFC 6928 2-a, 2-c: ten segments, then two for each ACK."""
    peer = Peer().connected(options=mss(SIZE))
    peer.conn.send(bytes(100 * SIZE))
    assert len(peer.drain()) == 10
    for index in range(1, 11):
        peer.sends("A", ack=1 + index * SIZE)
        assert len(peer.drain()) == 2
