"""Loss recovery on the wire without SACK: fast retransmit, NewReno, time-outs, restart (RFC 5681, RFC 6582, RFC 6298)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.l4.tcp.losing import RTO, SIZE, indices, recovery, sacks, sender
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, MINUTE, MS, SECOND, mss, stamps
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.recovery import TIMEOUT


@pytest.mark.rfc("5681", "2-a", "3.2-c", "3.2-d", "3.2-e", "3.2-f", "3.2-g", "3.2-h")
@pytest.mark.rfc("6582", "3.2-1b")
def test_limited_transmit_then_fast_retransmit() -> None:
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


@pytest.mark.rfc("6582", "3.2-3a", "3.2-3b", "3.2-3c", "3.2-3d")
@pytest.mark.rfc("5681", "3.2-i")
def test_newreno_partial_and_full_acks() -> None:
    """Each partial ACK names the next hole."""
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


@pytest.mark.rfc("6582", "3.2-3e")
def test_impatient_timer() -> None:
    """Only the first partial ACK restarts the timer."""
    peer = sender(sack=False, extra=0)
    for _ in range(3):
        sacks(peer, 0)
    sacks(peer, 2, at=100 * MS)
    restarted = peer.conn.timers.retransmit
    sacks(peer, 4, at=150 * MS)
    assert peer.conn.timers.retransmit == restarted


@pytest.mark.rfc("6582", "3.2-1a", "3.2-4a")
def test_duplicate_acks_after_a_timeout_do_not_start_recovery() -> None:
    peer = sender(sack=False, extra=0)
    peer.wait(RTO)
    assert indices(peer.drain()) == [0]
    peer.sends("A", ack=1 + 2 * SIZE)
    peer.drain()
    for _ in range(5):
        peer.sends("A", ack=1 + 2 * SIZE)
    assert recovery(peer).phase == TIMEOUT


@pytest.mark.rfc("5681", "2-a")
@pytest.mark.parametrize("change", [{"data": b"x"}, {"window": 60000}, {"flags": "FA"}])
def test_not_every_repeated_ack_is_a_duplicate(change: dict[str, Any]) -> None:
    """Text, FIN or another window make it none."""
    peer = sender(sack=False)
    peer.sends(**{"flags": "A", "ack": 1, **change})
    assert peer.count("duplicate_acks") == 0


@pytest.mark.rfc("6298", "2.5-a", "5-a", "5.4-a", "5.5-a", "5.6-a")
@pytest.mark.rfc("5681", "3.1-h", "3.1-i")
def test_rto_backs_off_and_retransmits_the_head() -> None:
    """And ssthresh falls once."""
    peer = sender(sack=False, extra=0)
    at, gap = 0, RTO
    for _ in range(12):
        at += gap
        peer.expects("A", at=at, seq=1)  # how much of it is `black_hole.py`'s business
        gap = min(2 * gap, MINUTE)
        if at + gap > 5 * MINUTE:
            break
    assert peer.conn.snd.cc.ssthresh == 5 * SIZE


@pytest.mark.rfc("6298", "5.1-a", "5.2-a", "5.3-a")
def test_ack_restarts_the_timer() -> None:
    peer = sender(sack=False, extra=0)
    peer.sends("A", at=100 * MS, ack=1 + SIZE)
    rto = peer.conn.snd.rtt.rto_us
    peer.silence(until=100 * MS + rto - 1)
    peer.expects("A", at=100 * MS + rto, seq=1 + SIZE)
    peer.sends("A", ack=1 + 10 * SIZE)
    peer.drain()
    assert peer.conn.timers.due() is None


@pytest.mark.rfc("6298", "3-a")
@pytest.mark.rfc("9293", "MUST-18")
def test_karn() -> None:
    """No sample from what was sent twice."""
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


@pytest.mark.rfc("6298", "3-a")
@pytest.mark.rfc("7323", "4.1-b")
def test_timestamps_resolve_the_ambiguity() -> None:
    """An echo tells which of the two was acknowledged."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.send(b"x")
    peer.drain()
    peer.wait(RTO)
    peer.expects("PA", seq=1)
    peer.sends("A", at=RTO + 50 * MS, ack=2)
    assert 1 * MS < peer.conn.snd.rtt.srtt_us < 50 * MS
    assert peer.conn.snd.rtt.rto_us < 2 * RTO


@pytest.mark.rfc("6298", "3-a")
@pytest.mark.parametrize("sack", [False, True])
def test_lost_ack_does_not_pass_for_a_long_round_trip(sack: bool) -> None:
    """The answer to a retransmission that came twice echoes the original, from before our time-out or probe.

    Were that measured, each lost ACK of a last segment would make the next time-out longer. With SACK it is a tail loss probe that goes out in
    the place of the time-out (RFC 8985 §7.2-b), and no time-out has happened that could back off; without, RTO stays doubled.
    """
    peer = Peer().connected(options=LINUX_SYN if sack else mss(1460) + stamps(1000))
    for number in range(1, 9, 2):
        peer.conn.send(b"x")
        peer.expects("PA", seq=number)
        peer.sends("A", at=peer.now + 1 * MS)
        rto, srtt = peer.conn.snd.rtt.rto_us, peer.conn.snd.rtt.srtt_us
        assert rto == RTO + int(srtt)
        peer.conn.send(b"y")
        original = peer.expects("PA", seq=number + 1)
        peer.expects("PA", at=peer.now + rto, seq=number + 1)
        peer.tsecr = original.tsval
        peer.sends("A", at=peer.now + 1 * MS)
        assert peer.conn.snd.rtt.srtt_us == srtt
        assert peer.conn.snd.rtt.rto_us == (rto if sack else 2 * rto), "until something is measured"


@pytest.mark.rfc("5681", "4.1-a")
@pytest.mark.rfc("6928", "2-f")
def test_restart_after_idle() -> None:
    peer = sender(sack=False, extra=0, segments=30)
    peer.sends("A", ack=1 + 30 * SIZE)
    assert peer.conn.snd.cc.cwnd == 30 * SIZE
    peer.wait(peer.now + 10 * SECOND)
    peer.conn.send(bytes(30 * SIZE))
    assert len(peer.drain()) == 10


@pytest.mark.rfc("9438", "4.2-c")
@pytest.mark.rfc("5681", "3-a")
def test_cwnd_does_not_grow_while_the_application_is_the_limit() -> None:
    peer = in_established()
    cwnd = peer.conn.snd.cc.cwnd
    for octet in range(50):
        peer.conn.send(b"x")
        peer.drain()
        peer.sends("A", ack=octet + 2)
    assert peer.conn.snd.cc.cwnd == cwnd


@pytest.mark.rfc("6928", "2-a", "2-c")
@pytest.mark.rfc("5681", "3.1-b")
def test_slow_start_on_the_wire() -> None:
    """Ten segments, then two for each ACK."""
    peer = Peer().connected(options=mss(SIZE))
    peer.conn.send(bytes(100 * SIZE))
    assert len(peer.drain()) == 10
    for index in range(1, 11):
        peer.sends("A", ack=1 + index * SIZE)
        assert len(peer.drain()) == 2
