"""A connection's turn to transmit: how many frames it takes, whether it says that there is more, and what is due no longer."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.losing import SIZE, sacks, sender
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import SECOND, mss
from tests.stack.l4.tcp.states import in_established, in_syn_received, in_syn_sent
from tests.stack.packets import GUEST
from usernat.stack.l4.tcp.hystart import N_RTT_SAMPLE, HyStart


def turn(peer: Peer, budget: int) -> int:
    """The layer's turn; what it says it emitted is what left."""
    outgoing = peer.rig.interface.ethernet.outgoing
    outgoing.clear()
    emitted = peer.layer.transmit(peer.rig.now, budget)
    assert len(outgoing) == emitted <= budget
    return emitted


def until_due(peer: Peer) -> None:
    """A timer fires, and the batch is not over yet."""
    due = peer.layer.poll_at()
    assert due is not None
    peer.rig.now = due
    peer.rig.interface.on_time(due)


def test_a_turn_says_how_many_frames_left_and_whether_there_are_more() -> None:
    peer = Peer().connected(options=mss(1000))
    peer.conn.send(bytes(5000))
    assert [(turn(peer, 2), peer.layer.pending) for _ in range(4)] == [
        (2, True),
        (2, True),
        (1, False),
        (0, False),
    ]
    peer.sends("A", ack=5001)
    peer.conn.send(bytes(2000))
    assert (turn(peer, 2), peer.layer.pending) == (2, False), "exactly all"


@pytest.mark.parametrize("budget", [1, 3])
def test_answers_without_a_connection_keep_to_the_budget(budget: int) -> None:
    peer = Peer()
    for number in range(4):
        peer.raw(peer.segment("S", seq=number))
    assert turn(peer, budget) == budget
    assert turn(peer, 9) == 4 - budget


def test_turns_without_text() -> None:
    peer = Peer()
    peer.conn = peer.layer.connect(GUEST, 40000, local_port=49152)
    assert turn(peer, 9) == 1, "the SYN"
    peer.conn.wake()
    assert turn(peer, 9) == 0, "nothing"
    for other in (in_syn_received(), in_established()):
        other.conn.wake()
        assert turn(other, 9) == 0
        other.sends("A", seq=70_000, data=b"x", flush=False)
        assert turn(other, 9) == 1, "an ACK"
    other.conn.keep_alive(True, idle_us=SECOND)
    assert turn(other, 9) == 0
    until_due(other)
    assert turn(other, 9) == 1, "a keep-alive probe"
    until_due(other)
    other.sends("A", seq=70_000, data=b"x", flush=False)
    other.conn.keepalive_due = True
    assert turn(other, 9) == 1, "both in one"


def test_every_segment_is_counted_once() -> None:
    peer = in_syn_sent()
    peer.sends("SA", options=mss(1000))
    peer.conn.send(bytes(3500))
    peer.sends("A", ack=3001)
    peer.conn.shutdown()
    left = 1 + len(peer.drain())
    assert peer.count("segments_sent") == left == 6, "the SYN, an ACK, three of text, the rest with the FIN"


@pytest.mark.rfc("9293", "MUST-36")
def test_a_probe_that_is_due_gives_way_to_a_window_that_opens() -> None:
    peer = Peer().connected(window=0)
    peer.conn.send(b"text")
    peer.drain()
    until_due(peer)
    assert peer.conn.probe_due
    peer.sends("A", ack=1, window=100)
    peer.expects("PA", seq=1, data=b"text")
    peer.silence()


def test_a_probe_that_is_due_needs_something_to_probe_with() -> None:
    """What was out is acknowledged in the same batch, and the window stays shut."""
    peer = in_established()
    peer.conn.send(b"text")
    peer.drain()
    peer.sends("A", ack=1, window=0)
    until_due(peer)
    assert peer.conn.probe_due
    peer.sends("A", ack=5, window=0)
    peer.silence()
    peer.conn.send(b"more")
    peer.silence()
    assert peer.layer.poll_at() is not None


@pytest.mark.rfc("9293", "MUST-26")
def test_a_keep_alive_probe_that_is_due_gives_way_to_text_and_to_the_user() -> None:
    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.drain()
    until_due(peer)
    peer.conn.send(b"x")
    peer.expects("PA", data=b"x")
    peer.silence()

    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.drain()
    until_due(peer)
    peer.conn.keep_alive(False)
    peer.silence(until=3600 * SECOND)
    assert peer.count("keepalive_probes") == 0


@pytest.mark.rfc("9293", "SHLD-10")
def test_sack_blocks_alone_are_no_progress() -> None:
    """They say what has arrived; the time-outs in a row go on counting."""
    peer = sender(sack=True, extra=0)
    while peer.conn.snd.timeouts < 2:
        until_due(peer)
        peer.drain()
    sacks(peer, 0, (5, 6))
    assert peer.conn.snd.timeouts == 2
    sacks(peer, 1)
    assert peer.conn.snd.timeouts == 0


@pytest.mark.rfc("9438", "4.2-b")
def test_cubic_grows_with_time_on_the_wire() -> None:
    """In congestion avoidance, towards where the curve will be one round trip later."""
    peer = sender(sack=False, congestion="cubic", extra=400)
    cc = peer.conn.snd.cc
    cc.on_loss(100 * SIZE, 0)
    cc.cwnd = cc.ssthresh = 10 * SIZE
    sizes = []
    for acked in range(1, 60):
        sacks(peer, acked, at=peer.now + 40_000)
        sizes.append(cc.cwnd)
    assert sizes == sorted(sizes)
    assert sizes[-1] > 11 * SIZE


class TestHyStart:
    @pytest.mark.rfc("9406", "4.2-a")
    def test_a_round_ends_beyond_its_last_octet(self) -> None:
        hystart = HyStart()
        hystart.on_round_trip(100, una=0, nxt=10)
        hystart.on_round_trip(100, una=10, nxt=20)
        assert hystart.samples == 2
        hystart.on_round_trip(100, una=11, nxt=20)
        assert (hystart.samples, hystart.last_min) == (1, 100)

    @pytest.mark.rfc("9406", "4.2-c", "4.3-a")
    @pytest.mark.parametrize(("base", "late"), [(40_007, 5_000), (8_000, 4_000), (800_000, 16_000)])
    def test_an_eighth_within_bounds_is_a_queue(self, base: int, late: int) -> None:
        """Between 4 and 16 ms: that much later, to the microsecond, and not before eight samples."""
        for delay, found in ((late - 1, False), (late, True)):
            hystart = HyStart()
            for _ in range(N_RTT_SAMPLE):
                hystart.on_round_trip(base, una=0, nxt=10)
            for number in range(1, N_RTT_SAMPLE + 1):
                hystart.on_round_trip(base + delay, una=11, nxt=20)
                assert (hystart.css_baseline is not None) is (found and number == N_RTT_SAMPLE)
