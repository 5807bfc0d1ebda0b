"""What the sending half remembers, and for how long: time-outs, the recovery point, pauses, patience with a closed window."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import RTO, SIZE, indices, recovery, sacks, sender
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SECOND, mss
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.newreno import NewReno
from usernat.stack.l4.tcp.state import State, TcpError


def next_deadline(peer: Peer) -> None:
    due = peer.layer.poll_at()
    assert due is not None
    peer.wait(due - peer.start)


@pytest.mark.rfc("9293", "SHLD-9", "SHLD-10")
def test_trouble_counts_from_the_last_progress() -> None:
    """Two time-outs, an ACK that moves, and two more are not three in a row."""
    peer = in_established()
    peer.conn.nodelay = True
    peer.conn.send(b"ab")
    peer.conn.send(b"cd")
    peer.drain()
    for _ in range(2):
        next_deadline(peer)
    peer.sends("A", ack=3)
    peer.drain()
    for _ in range(2):
        next_deadline(peer)
    assert not peer.conn.in_trouble
    next_deadline(peer)
    assert peer.conn.in_trouble


@pytest.mark.rfc("5681", "3.1-h", "3.1-i")
def test_a_time_out_after_progress_lowers_ssthresh_again() -> None:
    peer = sender(sack=False, extra=0)
    peer.wait(RTO)
    assert peer.conn.snd.cc.ssthresh == 5 * SIZE
    peer.sends("A", ack=1 + 4 * SIZE)
    peer.drain()
    next_deadline(peer)
    assert peer.conn.snd.timeouts == 1
    assert peer.conn.snd.cc.ssthresh < 5 * SIZE


@pytest.mark.rfc("6582", "3.2-1a")
def test_duplicates_at_the_recovery_point_may_be_echoes() -> None:
    """They must acknowledge more than `recover`: one octet further, three of them count."""
    peer = sender(sack=False, extra=0)
    peer.wait(RTO)
    peer.drain()
    peer.sends("A", ack=1 + 10 * SIZE)
    assert peer.conn.snd.recovery is None
    assert peer.conn.snd.recover == peer.conn.snd.snd_una
    peer.conn.snd.cc.cwnd = 10 * SIZE
    peer.conn.send(bytes(10 * SIZE))
    peer.drain()
    for _ in range(4):
        assert 10 not in indices(sacks(peer, 10)), "nothing goes again"
    assert 11 not in indices(sacks(peer, 11))
    answers = [indices(sacks(peer, 11)) for _ in range(3)]
    assert 11 in answers[2]
    assert all(11 not in answer for answer in answers[:2])


@pytest.mark.rfc("6582", "3.2-3e")
def test_the_first_partial_ack_restarts_the_timer() -> None:
    peer = sender(sack=False, extra=0)
    for _ in range(3):
        sacks(peer, 0)
    before = peer.conn.timers.retransmit
    sacks(peer, 2, at=100 * MS)
    restarted = peer.conn.timers.retransmit
    assert restarted == peer.rig.now + peer.conn.snd.rtt.rto_us != before
    sacks(peer, 4, at=150 * MS)
    assert peer.conn.timers.retransmit == restarted
    sacks(peer, 10, at=160 * MS)
    assert peer.conn.timers.due() is None


@pytest.mark.rfc("9293", "3.10.8-a", "MUST-35")
def test_patience_with_a_closed_window_starts_when_there_is_something_to_send() -> None:
    """Not only once a probe is out: a peer that is gone behind a closed window is found out on time."""
    peer = Peer(user_timeout_us=30 * SECOND).connected(window=0)
    peer.conn.send(b"x")
    peer.silence(until=RTO - 1)
    peer.wait(30 * SECOND - 1)
    peer.assert_state(State.ESTABLISHED)
    peer.wait(30 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT


def test_patience_is_not_spent_while_there_is_nothing_to_send() -> None:
    peer = Peer(user_timeout_us=30 * SECOND).connected(window=0)
    peer.silence(until=60 * SECOND)
    peer.conn.send(b"x")
    peer.wait(90 * SECOND - 1)
    peer.assert_state(State.ESTABLISHED)
    peer.wait(90 * SECOND)
    assert peer.conn.error is TcpError.TIMED_OUT


class Listening(NewReno):
    """Hears of pauses and idle times."""

    __slots__ = ("idles", "pauses")

    def __init__(self, smss: int) -> None:
        super().__init__(smss)
        self.pauses: list[int] = []
        self.idles = 0

    def on_pause(self, duration_us: int) -> None:
        self.pauses.append(duration_us)

    def on_idle(self) -> None:
        self.idles += 1
        super().on_idle()


@pytest.mark.rfc("9438", "4.2-c")
@pytest.mark.rfc("5681", "4.1-a")
def test_congestion_control_hears_of_pauses() -> None:
    """Of each once, with the first text after it; and more than one RTO of it is idleness."""
    peer = Peer().connected(options=mss(1000))
    cc = peer.conn.snd.cc = Listening(1000)
    peer.conn.sent_at = peer.rig.now

    def send_and_wait(pause: int) -> None:
        peer.conn.send(bytes(3000))
        peer.drain()
        peer.sends("A", ack=peer.conn.snd.snd_nxt - peer.conn.snd.iss)
        peer.wait(peer.now + pause)

    send_and_wait(50 * MS)
    assert (cc.pauses, cc.idles) == ([], 0)
    send_and_wait(peer.conn.snd.rtt.rto_us)
    assert (cc.pauses, cc.idles) == ([50 * MS], 0)
    send_and_wait(peer.conn.snd.rtt.rto_us + 1)
    assert (cc.pauses, cc.idles) == ([50 * MS, RTO], 0), "one RTO is not more than one"
    send_and_wait(0)
    assert (cc.pauses, cc.idles) == ([50 * MS, RTO, RTO + 1], 1)


def test_a_pause_counts_from_the_last_text_not_from_the_last_ack() -> None:
    peer = Peer().connected(options=mss(1000))
    cc = peer.conn.snd.cc = Listening(1000)
    peer.conn.send(bytes(1000))
    peer.drain()
    peer.sends("A", at=30 * MS, ack=1001)
    peer.wait(40 * MS)
    peer.conn.send(bytes(1000))
    peer.drain()
    assert cc.pauses == [40 * MS]


def test_letting_go_of_a_connection_gives_back_what_was_queued() -> None:
    peer = in_established()
    peer.conn.send(bytes(5000))
    peer.drain()
    assert peer.layer.memory.used == 5000
    peer.sends("A", ack=537)
    assert peer.layer.memory.used == 5000 - 536
    peer.conn.abort()
    assert peer.layer.memory.used == 0
    assert peer.conn.unacknowledged == 0


def test_recovery_is_forgotten_once_all_was_acknowledged() -> None:
    peer = sender(sack=True, extra=0)
    sacks(peer, 0, (1, 5))
    assert recovery(peer) is not None
    sacks(peer, 10)
    assert peer.conn.snd.recovery is None
    assert peer.conn.timers.due() is None


@pytest.mark.rfc("9293", "SHLD-7", "MUST-17")
@pytest.mark.parametrize(("nodelay", "finish"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_rest_rides_with_its_super_segment_where_it_would_go_alone_too(nodelay: bool, finish: bool) -> None:
    """Nagle holds it back otherwise; with a FIN behind it nothing more will come to join it."""
    peer = Peer(tx_checksum=True, tx_segmentation=65535).connected(options=mss(1000))
    peer.conn.nodelay = nodelay
    peer.conn.send(bytes(2500))
    if finish:
        peer.conn.shutdown()
    sizes = [len(seg.data) for seg in peer.drain()]
    assert sizes == ([2500] if nodelay or finish else [2000])


def test_the_wait_for_the_peers_fin_begins_when_ours_was_acknowledged() -> None:
    """And only where nobody reads any more."""
    peer = in_established(fin_wait_2_us=60 * SECOND, user_timeout_us=None)
    peer.conn.close()
    peer.expects("FA")
    peer.wait(10 * SECOND)
    peer.drain()
    peer.sends("A", ack=2)
    peer.wait(70 * SECOND - 1)
    peer.assert_state(State.FIN_WAIT_2)
    peer.wait(70 * SECOND)
    assert peer.conn.closed

    peer = in_established(fin_wait_2_us=60 * SECOND, user_timeout_us=None)
    peer.conn.shutdown()
    peer.expects("FA")
    peer.sends("A", ack=2)
    peer.silence(until=600 * SECOND)
    peer.conn.close()
    peer.wait(660 * SECOND)
    assert peer.conn.closed


@pytest.mark.rfc("9293", "MUST-38")
@pytest.mark.parametrize(("window", "leaves"), [(499, False), (500, True)])
def test_half_of_the_largest_window_ever_offered_is_worth_a_segment(window: int, leaves: bool) -> None:
    peer = Peer().connected(options=mss(1460), window=1000)
    peer.conn.send(bytes(5000))
    assert [len(seg.data) for seg in peer.drain()] == [1000]
    peer.sends("A", ack=1001, window=window)
    assert [len(seg.data) for seg in peer.drain()] == [window] * leaves
