"""Loss recovery and a peer that lies: in numbers, SACK, D-SACK, echoes, windows; at any time, while anything is going on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l4.tcp.losing import PTO, REO_WND, RTO, RTT, SIZE, blocks, indices, recovery, sacks, sender
from tests.stack.l4.tcp.segments import MS, SECOND, stamps
from usernat.stack.l4.tcp.recovery import TIMEOUT
from usernat.stack.l4.tcp.timers import NEVER

if TYPE_CHECKING:
    from tests.stack.l4.tcp.peer import Peer

EDGE = st.one_of(st.integers(-2, 40), st.floats(-1, 40))
LIES = st.lists(
    st.one_of(
        st.tuples(
            st.just("ack"),
            EDGE,
            st.lists(st.tuples(EDGE, EDGE), max_size=3),
            st.sampled_from([0, 0, 1, 30, 1000]),
            st.sampled_from([65535, 65535, 65535, 0, 1, 5000]),
        ),
        st.tuples(st.just("wait"), st.sampled_from([1, 1000, REO_WND, RTT, PTO, RTO, 3 * SECOND])),
        st.tuples(st.just("write"), st.sampled_from([1, 100, SIZE, 5 * SIZE])),
        st.tuples(st.just("resend")),
        st.tuples(st.just("smaller")),
        st.tuples(st.just("mark")),
        st.tuples(st.just("finish")),
    ),
    max_size=30,
)


def assert_sane(peer: Peer) -> None:
    """What holds whatever is said."""
    snd, timers = peer.conn.snd, peer.conn.timers
    assert snd.snd_una <= snd.snd_nxt
    pieces = snd.flight.between(0, 1 << 62)
    assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
    if pieces:
        assert (pieces[0].start, pieces[-1].end) == (snd.snd_una, snd.snd_nxt)
    assert [timers.probe, timers.reorder].count(NEVER) >= 1
    if snd.snd_nxt > snd.snd_una:
        assert min(timers.retransmit, timers.persist, timers.hold) < NEVER, (
            "something is out, and nobody looks after it"
        )
        assert (
            min(timers.probe, timers.reorder) == NEVER
            or min(timers.probe, timers.reorder) <= timers.retransmit
        )
    assert snd.cc.cwnd >= snd.smss
    found = snd.recovery
    if found is None:
        return
    board = found.board
    for low, high in (*board.lost, *board.doubled):
        assert snd.snd_una <= low < high <= snd.snd_nxt
        assert not board.sacked.covers(low, low + 1)
    assert board.pipe(snd.snd_una, snd.snd_nxt) >= 0
    marked = {n for piece in pieces if piece.sacked for n in (piece.start, piece.end - 1)}
    assert all(n in board.sacked for n in marked)
    if snd.flight.by_time is not None:
        assert all(not piece.sacked for piece in snd.flight.by_time.values())


def tell(peer: Peer, lie: tuple[Any, ...]) -> None:
    what, *args = lie
    snd = peer.conn.snd
    if what == "ack":
        ack, ranges, behind, window = args
        peer.tsecr = (peer.tsecr & ~0xFFFF) + behind if behind == 1000 else peer.tsecr + behind
        options = blocks(peer, *ranges)
        if peer.tsval is not None:
            options += stamps(peer.tsval, peer.tsecr)
        number = min(max(0, 1 + round(SIZE * ack)), snd.snd_nxt - snd.iss)
        peer.sends("A", ack=number, options=options, window=window)
    elif what == "wait":
        peer.wait(peer.now + args[0])
    elif what == "write":
        peer.conn.send(bytes(args[0]))
    elif what == "resend":
        snd.resend()
        peer.conn.wake()
    elif what == "smaller":
        snd.smss = max(100, snd.smss // 2)
        snd.cc.set_smss(snd.smss)
    elif what == "mark":
        snd.on_congestion(peer.rig.now)
    else:
        peer.conn.shutdown()
    peer.flush()


@given(
    LIES,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["newreno", "cubic"]),
    st.sampled_from([0, 65535]),
)
def test_whatever_is_said(
    lies: list[tuple[Any, ...]], sack: bool, stamped: bool, congestion: str, offload: int
) -> None:
    """No exception, no nonsense in the books, nothing beyond the peer's window, and always a timer that brings things on."""
    peer = sender(
        sack=sack,
        stamped=stamped,
        segments=12,
        extra=12,
        congestion=congestion,
        tx_checksum=offload > 0,
        tx_segmentation=offload,
        user_timeout_us=None,
    )
    assert_sane(peer)
    for lie in lies:
        if peer.conn.closed:
            return
        tell(peer, lie)
        assert_sane(peer)
    for _ in range(400):
        snd = peer.conn.snd
        if snd.snd_una == snd.stream_end:
            break
        peer.sends("A", ack=snd.snd_nxt - snd.iss, at=peer.now + 60 * SECOND)
    assert peer.conn.snd.snd_una == peer.conn.snd.stream_end, "all of it arrives in the end"
    assert peer.conn.snd.recovery is None


def test_half_a_retransmission_acknowledged_half_sacked() -> None:
    """F-RTO is testing when RACK finds the middle of what was sent again lost once more: nothing is left to undo."""
    peer = sender(sack=True)
    peer.wait(PTO + RTO)
    assert indices(peer.drain()) == [10, 0]
    assert recovery(peer).phase == TIMEOUT
    sacks(peer, 0.1, (0.5, 1), at=peer.now + RTT)
    sacks(peer, 2, at=peer.now + RTT)
    assert recovery(peer).phase == TIMEOUT
    assert peer.conn.snd.undone == 0


def test_what_recovery_believes_lost_waits_for_the_window() -> None:
    """It closes to nothing in the middle of fast recovery, and opens again: all that is out goes again, SACKed or not."""
    peer = sender(sack=True, extra=0)
    assert indices(sacks(peer, 0, (1, 4), at=RTT)) == [0]
    sacks(peer, 0, (1, 4), at=RTT + MS, window=0)
    timers = peer.conn.timers
    assert (timers.retransmit, timers.probe, timers.reorder) == (NEVER, NEVER, NEVER)
    assert indices(sacks(peer, 0, (1, 4), at=RTT + 2 * MS)) == [0, 1, 2, 3, 4]


def test_a_cost_that_does_not_grow() -> None:
    """A run of SACKed octets that grows and grows, signs of loss that come and go: the books stay small."""
    peer = sender(sack=True, segments=60, extra=0)
    for octet in range(2, 400):
        sacks(peer, 0, (0.5, 0.5 + octet / SIZE))
    assert len(peer.conn.snd.flight) < 60 + 2 * 400
    flight = type(peer.conn.snd.flight)
    peer = sender(sack=True, segments=60, extra=0)
    peer.wait(RTT)
    with patch.object(flight, "rebuild_time", autospec=True, side_effect=flight.rebuild_time) as made:
        for octet in range(4, 400, 4):
            sacks(peer, octet / SIZE, ((octet + 1) / SIZE, (octet + 2) / SIZE))
            sacks(peer, (octet + 3) / SIZE)
    assert 1 <= made.call_count <= 2
