"""Retransmissions that were not needed, by three witnesses, and cwnd as it was (RFC 3522, RFC 3708, RFC 5682, RFC 9438 §4.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack.l4.tcp.losing import PTO, REO_WND, RTO, RTT, SIZE, indices, recovery, sacks, sender
from tests.stack.l4.tcp.segments import MS
from usernat.stack.l4.tcp.cubic import Cubic
from usernat.stack.l4.tcp.recovery import FAST, SIGNS, TIMEOUT

if TYPE_CHECKING:
    from tests.stack.l4.tcp.peer import Peer

INFINITE = 1 << 30


def in_timeout(*, sack: bool, extra: int = 20, stamped: bool = False, segments: int = 10) -> Peer:
    """The retransmission timer has expired and 0 has left again; with SACK a tail loss probe went before it (10, or 9 where there is no more)."""
    peer = sender(sack=sack, segments=segments, extra=extra, stamped=stamped)
    peer.wait(PTO + RTO if sack else RTO)
    assert indices(peer.drain()) == ([segments if extra else segments - 1, 0] if sack else [0])
    assert recovery(peer).phase == TIMEOUT
    return peer


def assert_undone(peer: Peer, cwnd: int) -> None:
    assert peer.conn.snd.undone == 1
    assert peer.conn.snd.cc.cwnd >= cwnd
    assert peer.conn.snd.cc.ssthresh >= INFINITE
    found = peer.conn.snd.recovery
    assert found is None or (found.phase == SIGNS and not found.board.lost)


def assert_not_undone(peer: Peer) -> None:
    assert peer.conn.snd.undone == 0
    assert peer.conn.snd.cc.ssthresh < INFINITE


# -- time stamps: Eifel ------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9438", "4.9-a")
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("original", [False, True])
def test_echo_of_the_original_undoes_fast_recovery(sack: bool, original: bool) -> None:
    """The ACK that moves SND.UNA echoes what left before the retransmission; or what left with it."""
    peer = sender(sack=sack, stamped=True)
    first = peer.tsecr
    peer.wait(RTT)
    for top in (2, 3, 4):
        sacks(peer, 0, *([(1, top)] if sack else []))
    assert recovery(peer).phase == FAST
    peer.tsecr = first if original else first + RTT // MS
    sacks(peer, 4, at=RTT + 20 * MS)
    if original:
        assert_undone(peer, 10 * SIZE)
    else:
        assert_not_undone(peer)


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("original", [False, True])
def test_echo_of_the_original_undoes_a_timeout(sack: bool, original: bool) -> None:
    """And it is not taken for F-RTO's verdict: the first ACK decides."""
    peer = in_timeout(sack=sack, stamped=True, extra=0)
    if not original:
        peer.tsecr += peer.now // MS
    out = sacks(peer, 1, at=peer.now + 20 * MS)
    if original:
        assert_undone(peer, 10 * SIZE)
        assert not out, "nothing else goes again"
    else:
        assert_not_undone(peer)
        assert out


def test_an_ack_that_moves_nothing_is_no_witness() -> None:
    """RFC 3522 §3: time stamps of duplicates are echoed from before by their nature."""
    peer = sender(sack=True, stamped=True)
    peer.wait(RTT)
    for top in (2, 3, 4, 5, 6):
        sacks(peer, 0, (1, top))
    assert recovery(peer).phase == FAST
    assert_not_undone(peer)


# -- D-SACK ------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9438", "4.9-a")
def test_dsack_of_all_that_was_sent_again_undoes_fast_recovery() -> None:
    """Three segments came late; each was sent again; each arrived twice. Two D-SACKs are not enough."""
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, (3, 10), at=RTT)
    sacks(peer, 0, (1, 2), (3, 10))
    assert recovery(peer).phase == FAST
    out = set(indices(sacks(peer, 2, (3, 10), at=RTT + MS))) | {0, 1, 2}
    assert out == {0, 1, 2}
    resent = peer.count("retransmissions")
    assert resent == 3
    sacks(peer, 2, (0, 1), (3, 10), at=2 * RTT)
    sacks(peer, 2, (1, 2), (3, 10))
    assert peer.conn.snd.undone == 0
    sacks(peer, 2, (2, 3), (2, 10))
    assert_undone(peer, 10 * SIZE)
    assert peer.conn.snd.rack_state().reordering_seen


def test_dsack_of_something_else_undoes_nothing() -> None:
    peer = sender(sack=True, extra=0)
    sacks(peer, 2, at=RTT)
    sacks(peer, 2, (3, 10))
    assert recovery(peer).phase == FAST
    sacks(peer, 2, (0, 1), (3, 10))
    sacks(peer, 2, (1, 2), (3, 10))
    assert_not_undone(peer)


def test_dsack_undoes_a_timeout() -> None:
    """The ACKs were lost, not the text."""
    peer = in_timeout(sack=True, extra=0)
    sacks(peer, 10, (0, 1), at=peer.now + RTT)
    assert_undone(peer, 10 * SIZE)


@pytest.mark.rfc("5681", "4.3-a")
def test_a_second_loss_is_not_undone() -> None:
    """The retransmission itself was lost: that is congestion, whatever else arrives twice."""
    peer = sender(sack=True, extra=20)
    assert indices(sacks(peer, 0, (1, 10), at=RTT))[:2] == [0, 10]
    assert indices(sacks(peer, 0, (1, 12), at=2 * RTT))[0] == 0
    sacks(peer, 12, (0, 1), at=3 * RTT)
    assert_not_undone(peer)


def test_undone_once_a_window() -> None:
    """Who loses and undoes a whole flight with each ACK does not keep us busy."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 4), at=RTT)) == [0]
    sacks(peer, 0, (0, 1), (0, 4))
    assert peer.conn.snd.undone == 1
    sacks(peer, 0, (1, 4), (5, 9), at=2 * RTT)
    peer.wait(2 * RTT + 2 * REO_WND)
    assert 4 in indices(peer.drain())
    assert recovery(peer).phase == FAST
    sacks(peer, 0, (4, 5), (4, 9))
    assert peer.conn.snd.undone == 1
    assert recovery(peer).phase == FAST
    sacks(peer, 10, at=3 * RTT)
    peer.conn.send(bytes(10 * SIZE))
    peer.drain()
    sacks(peer, 10, (11, 14), at=5 * RTT)
    peer.wait(5 * RTT + 2 * REO_WND)
    assert 10 in indices(peer.drain())
    sacks(peer, 10, (10, 11), (10, 14))
    assert peer.conn.snd.undone == 2, "another window"


# -- F-RTO -------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5682", "2.1-b", "2.1-c")
def test_frto_without_sack() -> None:
    """A spike of delay: the ACKs of the originals come after all. New text leaves instead of old, and shows it."""
    peer = in_timeout(sack=False)
    assert indices(sacks(peer, 1, at=RTO + MS)) == [10, 11], "two new segments, and nothing again"
    sacks(peer, 2, at=RTO + 2 * MS)
    assert_undone(peer, 10 * SIZE)
    assert peer.count("retransmissions") == 1


@pytest.mark.rfc("5682", "3.1-a")
def test_frto_with_sack() -> None:
    """What was never sent again is SACKed, though it left before the time-out."""
    peer = in_timeout(sack=True)
    assert indices(sacks(peer, 1, at=peer.now + MS)) == [11, 12]
    assert not indices(sacks(peer, 1, (2, 3), at=peer.now + MS))[1:]
    assert peer.conn.snd.undone == 1
    assert peer.conn.snd.cc.ssthresh >= INFINITE


@pytest.mark.rfc("5682", "2.1-d")
def test_frto_and_a_real_loss_without_sack() -> None:
    """A duplicate ACK after the new text: it was lost indeed, and slow start goes on."""
    peer = in_timeout(sack=False)
    assert indices(sacks(peer, 1, at=RTO + RTT)) == [10, 11]
    out = sacks(peer, 1, at=RTO + 2 * RTT)
    assert_not_undone(peer)
    assert recovery(peer).phase == TIMEOUT
    assert peer.conn.snd.cc.cwnd <= 3 * SIZE
    assert not out or indices(out)[0] == 1
    assert indices(sacks(peer, 2, at=RTO + 3 * RTT))[0] in {1, 2}


@pytest.mark.rfc("5682", "3.1-b")
@pytest.mark.parametrize("ranges", [[(11, 12)], [(11, 12), (2, 3)]])
def test_frto_and_a_real_loss_with_sack(ranges: list[tuple[float, float]]) -> None:
    """It is the new text that is SACKed, over a hole, whatever else is."""
    peer = in_timeout(sack=True)
    assert indices(sacks(peer, 1, at=peer.now + RTT)) == [11, 12]
    sacks(peer, 1, *ranges, at=peer.now + RTT)
    assert_not_undone(peer)
    assert recovery(peer).phase == TIMEOUT


@pytest.mark.rfc("5682", "3.1-a")
@pytest.mark.parametrize("sack", [False, True])
def test_frto_asks_for_what_was_not_sent_again(sack: bool) -> None:
    """Two ACKs, each for half of the retransmission, prove nothing."""
    peer = in_timeout(sack=sack)
    assert len(sacks(peer, 0.5, at=peer.now + RTT)) == 2
    sacks(peer, 1, at=peer.now + RTT)
    assert_not_undone(peer)
    assert recovery(peer).phase == TIMEOUT


@pytest.mark.rfc("5682", "2.1-a")
@pytest.mark.parametrize("sack", [False, True])
def test_first_answer_is_a_duplicate_or_acknowledges_all(sack: bool) -> None:
    """Neither tells anything: back to slow start."""
    peer = in_timeout(sack=sack)
    sacks(peer, 0, *([(1, 2)] if sack else []), at=peer.now + MS)
    assert indices(sacks(peer, 1, *([(1, 2)] if sack else []), at=peer.now + MS))[:1] in ([1], [2])
    assert_not_undone(peer)
    peer = in_timeout(sack=sack)
    sacks(peer, 11 if sack else 10, at=peer.now + MS)
    assert_not_undone(peer)
    assert peer.conn.snd.recovery is None


@pytest.mark.rfc("5682", "2.1-b")
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("tail", [0, 100])
def test_frto_without_new_text(sack: bool, tail: int) -> None:
    """There is none, or Nagle holds back the little there is: what is lost goes again at once, not after another time-out."""
    peer = in_timeout(sack=sack, extra=0)
    peer.conn.send(bytes(tail))
    assert indices(sacks(peer, 1, at=peer.now + RTT))[:2] == [1, 2]
    assert_not_undone(peer)


def test_no_frto_the_second_time() -> None:
    """What goes unanswered twice is lost, not late."""
    peer = in_timeout(sack=False)
    peer.wait(RTO + 2 * RTO)
    assert indices(peer.drain()) == [0]
    assert indices(sacks(peer, 1, at=peer.now + RTT)) == [1, 2]


# -- what comes back ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9438", "4.9-a")
def test_cubic_comes_back_whole() -> None:
    """§4.9.1: cwnd, ssthresh, W_max, K, the epoch, W_est, cwnd_prior."""
    cc = Cubic(SIZE)
    cc.cwnd = cc.ssthresh = 100_000
    cc.on_loss(100_000, 0)
    for now in range(0, 5_000_000, 10_000):
        cc.on_ack(SIZE, now, 40_000.0)
    fields = ("cwnd", "ssthresh", "w_max", "k", "epoch_us", "w_est", "cwnd_prior")
    before = [getattr(cc, name) for name in fields]
    assert cc.epoch_us is not None
    saved = cc.save()
    cc.on_loss(50_000, 5_000_000)
    cc.on_ack(SIZE, 5_100_000, 40_000.0)
    assert [getattr(cc, name) for name in fields] != before
    cc.restore(saved)
    assert [getattr(cc, name) for name in fields] == before
    cc.on_timeout(50_000, 5_200_000, again=False)
    cc.restore(saved)
    assert [getattr(cc, name) for name in fields] == before


def test_what_has_grown_since_stays() -> None:
    cc = Cubic(SIZE)
    saved = cc.save()
    cc.cwnd = 50_000
    cc.restore(saved)
    assert cc.cwnd == 50_000
