"""Path MTU black holes on the wire: large datagrams vanish, and nobody says so (RFC 2923 §2.1, RFC 4821 §7.7, RFC 8899)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.l4.tcp.losing import on_a_path
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SECOND, mss
from usernat.stack.l3.path_mtu import AGE_US
from usernat.stack.l4.tcp.black_hole import RETRY_US, SUSPICIOUS_TIMEOUTS

SIZES = {1500: 1460, 1200: 1160, 576: 536}


def sending(count: int = 4, size: int = 1460, **config: Any) -> Peer:
    peer = on_a_path(Peer(user_timeout_us=None, **config).connected(options=mss(1460)))
    peer.conn.send(bytes(count * size))
    peer.drain()
    return peer


def next_timeout(peer: Peer) -> int:
    """Time goes to the next retransmission; returns its size."""
    peer.wait(peer.conn.timers.retransmit - peer.start)
    sent = peer.drain()
    assert sent[0].seq == peer.conn.snd.snd_una - peer.conn.snd.iss
    return len(sent[0].data)


def test_smaller_and_smaller_and_back() -> None:
    """Two time-outs in full size, then 1200, 576, and what was; and so on, for it may still be the size, once an outage is over."""
    peer = sending()
    assert [next_timeout(peer) for _ in range(8)] == [1460, 1460, 1160, 536, 1460, 1160, 536, 1460]
    assert peer.count("black_holes") == 4


def test_an_outage_on_a_path_that_takes_little() -> None:
    """What was known to get through is tried again and again, whatever the outage made of it."""
    peer = sending()
    for _ in range(SUSPICIOUS_TIMEOUTS):
        size = next_timeout(peer)
    assert size == 1160
    exchange(peer)
    peer.conn.send(bytes(4 * 1460))
    peer.drain()
    sizes = [next_timeout(peer) for _ in range(9)]
    assert sizes[:2] == [1160, 1160]
    assert sizes.count(1160) == 4
    assert sizes.count(536) == 3


@pytest.mark.parametrize(("octets", "smaller"), [(1161, 1160), (700, 536), (537, 536)])
def test_short_flights_are_tried_smaller_too(octets: int, smaller: int) -> None:
    """A path may take less than 1200."""
    peer = sending(count=1, size=octets)
    assert [next_timeout(peer) for _ in range(3)] == [octets, octets, smaller]


@pytest.mark.parametrize(("passes", "timeouts"), [(1200, 3), (576, 4)])
def test_what_helps_is_kept(passes: int, timeouts: int) -> None:
    """All that leaves from then on is that small, new and old; what was lost with it is not congestion for ever."""
    peer = sending(count=30)
    for _ in range(timeouts):
        size = next_timeout(peer)
    assert size == SIZES[passes]
    una = 1
    sizes = set()
    for _ in range(60):
        una += SIZES[passes]
        peer.sends("A", ack=min(una, peer.conn.snd.snd_nxt - peer.conn.snd.iss), at=peer.now + MS)
        sizes |= {len(seg.data) for seg in peer.drain() if seg.data}
    assert max(sizes) == SIZES[passes]
    assert peer.conn.snd.smss == SIZES[passes]


def test_full_size_is_tried_again_in_time() -> None:
    """It may have been the weather. The while doubles with each failure, up to what an estimate of a router is believed (RFC 1191 §3-d)."""
    peer = sending()
    wait = RETRY_US
    for _ in range(8):
        for _ in range(SUSPICIOUS_TIMEOUTS):
            size = next_timeout(peer)
        assert size == 1160
        suspected = peer.now
        exchange(peer)
        peer.wait(suspected + wait - SECOND)
        assert exchange(peer) == 1160
        peer.wait(suspected + wait)
        assert exchange(peer) == 1160, "the ACK of this one ends the while"
        wait = min(2 * wait, AGE_US)
        peer.conn.send(bytes(4 * 1460))
        assert {len(seg.data) for seg in peer.drain()} == {1460}


def exchange(peer: Peer) -> int:
    """A segment and its acknowledgement; returns the size of the largest."""
    peer.conn.send(bytes(1460))
    sizes = [len(seg.data) for seg in peer.drain()]
    while peer.conn.snd.snd_una < peer.conn.snd.stream_end:
        peer.sends("A", ack=peer.conn.snd.snd_nxt - peer.conn.snd.iss)
        sizes += [len(seg.data) for seg in peer.drain()]
    return max(sizes)


@pytest.mark.parametrize("octets", [1, 535, 536])
def test_small_segments_are_not_suspected(octets: int) -> None:
    """It cannot be their size."""
    peer = sending(count=1, size=octets)
    for _ in range(5):
        assert next_timeout(peer) == octets
    assert peer.count("black_holes") == 0
    assert peer.conn.black_hole is None


def test_progress_in_full_size_acquits() -> None:
    peer = sending()
    for _ in range(5):
        size = next_timeout(peer)
    assert size == 1460
    peer.sends("A", ack=1461)
    assert {len(seg.data) for seg in peer.drain()} <= {1460}
    assert peer.conn.snd.smss == 1460
