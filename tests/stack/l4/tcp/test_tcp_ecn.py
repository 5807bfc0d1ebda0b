"""Explicit congestion notification on the wire (RFC 3168): who agrees to it, what is marked, what is echoed, what is lowered.

In flags, E is ECE and W is CWR.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.l4.tcp.losing import RTO, RTT, SIZE, indices, on_a_path, recovery, sacks
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, SACK_PERMITTED, SECOND, Seg, mss
from usernat.stack.l3.ipv4_header import CE, ECT_0
from usernat.stack.l4.tcp.recovery import FAST
from usernat.stack.l4.tcp.timers import NEVER

OPTIONS = mss(SIZE) + SACK_PERMITTED


def capable(*, segments: int = 10, extra: int = 20, **config: Any) -> Peer:
    """ESTABLISHED by a call from a peer that asked for ECN; `segments` are out."""
    peer = Peer(congestion="newreno", **config).listens()
    peer.sends("SEW", options=OPTIONS)
    answer = peer.expects("SAE", seq=0, ack=1)
    assert answer.tos == 0, "§6.1.1: never on a SYN or its answer"
    peer.ack = 1
    peer.sends("A")
    accepted = peer.listener.accept()
    assert accepted is not None
    peer.conn = peer.layer.table[next(iter(peer.layer.table))]  # type: ignore[assignment]
    assert peer.conn is accepted
    peer.rig.interface.ready()
    on_a_path(peer)
    if segments:
        peer.conn.snd.cc.cwnd = segments * SIZE
        peer.conn.send(bytes((segments + extra) * SIZE))
        assert {seg.tos for seg in peer.drain()} == {ECT_0}
    return peer


def cwrs(segments: list[Seg]) -> list[int]:
    """Which of these say CWR."""
    return [(seg.seq - 1) // SIZE for seg in segments if "W" in seg.flags]


# -- §6.1.1: the handshake -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("3168", "6.1.1-a", "6.1.1-b", "6.1.1-e", "6.1.1-f")
@pytest.mark.parametrize("mode", ["off", "answer", "ask"])
@pytest.mark.parametrize("marks", ["", "E", "W", "EW"])
def test_called(mode: str, marks: str) -> None:
    """Both bits ask, nothing else does."""
    peer = Peer(ecn=mode).listens()
    peer.sends("S" + marks, options=OPTIONS)
    agreed = marks == "EW" and mode != "off"
    assert peer.expects("SAE" if agreed else "SA").tos == 0
    found = peer.layer.table[next(iter(peer.layer.table))]
    assert (found.ecn is not None) is agreed  # type: ignore[union-attr]


@pytest.mark.rfc("3168", "6.1.1-a", "6.1.1-b", "6.1.1-d", "6.1.1-e", "6.1.1-f")
@pytest.mark.parametrize("mode", ["off", "answer", "ask"])
@pytest.mark.parametrize("marks", ["", "E", "W", "EW"])
def test_calling(mode: str, marks: str) -> None:
    """ECE alone agrees; a peer that sends both back reflects what it does not know."""
    peer = Peer(ecn=mode)
    peer.stack_port = 49152
    peer.conn = peer.layer.connect(0x0A00020F, peer.port, local_port=49152)
    assert peer.expects("SEW" if mode == "ask" else "S").tos == 0
    peer.ack = 1
    peer.sends("SA" + marks, options=OPTIONS)
    peer.expects("A")
    assert (peer.conn.ecn is not None) is (mode == "ask" and marks == "E")
    peer.conn.send(b"x")
    assert peer.expects("PA").tos == (ECT_0 if peer.conn.ecn is not None else 0)


@pytest.mark.rfc("3168", "6.1.1-b", "6.1.1-c", "6.1.1-f")
@pytest.mark.parametrize("mode", ["off", "answer", "ask"])
@pytest.mark.parametrize("marks", ["", "E", "W", "EW"])
def test_both_call(mode: str, marks: str) -> None:
    """Simultaneous open: only where our own SYN has asked, too."""
    peer = Peer(ecn=mode)
    peer.stack_port = 49152
    peer.conn = peer.layer.connect(0x0A00020F, peer.port, local_port=49152)
    peer.expects("SEW" if mode == "ask" else "S")
    peer.sends("S" + marks, options=OPTIONS)
    agreed = mode == "ask" and marks == "EW"
    peer.expects("SAE" if agreed else "SA")
    assert (peer.conn.ecn is not None) is agreed


@pytest.mark.rfc("3168", "6.1.1-c", "6.1.1-g", "6.1.1.1-a")
def test_syn_that_gets_no_answer_goes_again_without() -> None:
    """An answer to the first that comes after all lets the peer mark, and us answer its marks; we mark nothing."""
    peer = Peer(ecn="ask")
    peer.stack_port = 49152
    peer.conn = peer.layer.connect(0x0A00020F, peer.port, local_port=49152)
    peer.expects("SEW", at=0)
    peer.expects("S", at=SECOND)
    peer.ack = 1
    peer.sends("SAE", options=OPTIONS)
    peer.expects("A")
    peer.conn.send(b"x")
    assert peer.expects("PA").tos == 0
    peer.sends("A", data=bytes(SIZE), tos=CE)
    peer.sends("A", data=bytes(SIZE), tos=CE)
    assert "E" in peer.drain()[-1].flags


@pytest.mark.rfc("3168", "6.1.1-d", "6.1.1.1-a")
@pytest.mark.parametrize("hold", [False, True])
def test_peer_that_falls_back(hold: bool) -> None:
    """Its SYN comes again and asks no more: it would not heed marks."""
    peer = Peer().listens(hold=hold)
    peer.sends("SEW", options=OPTIONS)
    if not hold:
        peer.expects("SAE")
    peer.sends("S", seq=0, options=OPTIONS, at=SECOND)
    if hold:
        call = peer.listener.accept()
        assert call is not None
        call.accept()  # type: ignore[union-attr]
    assert "E" not in peer.drain()[-1].flags
    found = peer.layer.table[next(iter(peer.layer.table))]
    assert found.ecn is None  # type: ignore[union-attr]


# -- §6.1.4 to §6.1.6: what is marked --------------------------------------------------------------------------------------


@pytest.mark.rfc("3168", "6.1.5-a", "6.1.4-a")
def test_only_new_text_can_be_marked() -> None:
    """Not a retransmission, a tail loss probe of old text, a pure ACK, a FIN alone."""
    peer = capable(extra=0)
    again = sacks(peer, 0, (1, 4), at=RTT)
    assert indices(again) == [0]
    assert again[0].tos == 0
    sacks(peer, 10)
    peer.sends("A", ack=10 * SIZE + 1, data=b"x" * SIZE)
    peer.sends("A", ack=10 * SIZE + 1, data=b"y" * SIZE)
    assert peer.expects("A").tos == 0
    peer.conn.shutdown()
    assert peer.expects("FA").tos == 0


@pytest.mark.rfc("3168", "6.1.6-a")
def test_window_probe_is_not_marked() -> None:
    """Though its octet is new. Nor does it say CWR."""
    peer = capable(segments=2, extra=0)
    sacks(peer, 2, flags="AE", window=0, at=RTT)
    peer.conn.send(b"more")
    assert peer.conn.snd.cc.lowered
    peer.wait(peer.now + SECOND)
    probe = peer.drain()[0]
    assert (len(probe.data), probe.tos, probe.flags.replace("P", "")) == (1, 0, "A")


@pytest.mark.rfc("3168", "6.1.1-e")
def test_other_bits_of_the_tos_octet_stay() -> None:
    peer = capable(segments=0)
    peer.conn.tos = 0xB8 | CE
    peer.conn.send(b"x")
    assert peer.expects("PA").tos == 0xB8 | ECT_0


# -- §6.1.3: the receiver --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("3168", "6.1.3-a", "6.1.3-b")
def test_mark_is_echoed_until_cwr() -> None:
    """On every segment, with text too; a CWR on a segment that is marked itself stops nothing."""
    peer = capable(segments=0)
    peer.sends("A", data=b"a" * SIZE, tos=ECT_0)
    peer.sends("A", data=b"b" * SIZE, tos=CE)
    assert "E" in peer.drain()[-1].flags
    peer.sends("A", data=b"c" * SIZE)
    peer.sends("A", data=b"d" * SIZE)
    assert "E" in peer.drain()[-1].flags
    peer.conn.send(b"text")
    assert "E" in peer.expects("PAE").flags
    peer.sends("AW", data=b"e" * SIZE, tos=CE, ack=5)
    peer.sends("A", data=b"f" * SIZE, ack=5)
    assert "E" in peer.drain()[-1].flags
    peer.sends("AW", data=b"g" * SIZE, ack=5)
    peer.sends("A", data=b"h" * SIZE, ack=5)
    assert "E" not in peer.drain()[-1].flags
    assert peer.count("congestion_marks") == 2


@pytest.mark.rfc("3168", "6.1.3-a")
def test_first_text_may_carry_the_handshakes_ack() -> None:
    peer = Peer().listens()
    peer.sends("SEW", options=OPTIONS)
    peer.expects("SAE")
    peer.ack = 1
    peer.sends("A", data=b"a" * SIZE, tos=CE)
    peer.wait(SECOND)
    assert "E" in peer.drain()[-1].flags


@pytest.mark.rfc("3168", "6.1.5-b")
def test_mark_on_what_is_out_of_the_window_is_ignored() -> None:
    peer = capable(segments=0)
    peer.sends("A", seq=1 << 20, data=b"x", tos=CE)
    assert "E" not in peer.drain()[-1].flags
    assert peer.count("congestion_marks") == 0


# -- §6.1.2: the sender ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("3168", "6.1.2-a", "6.1.2-b", "6.1.2-c")
def test_cwnd_falls_once_a_window() -> None:
    """As for a loss, but nothing goes again; CWR on the first new text, and on that alone."""
    peer = capable(segments=20)
    cc = peer.conn.snd.cc
    out = sacks(peer, 1, flags="AE", at=RTT)
    assert (cc.cwnd, cc.ssthresh) == (10 * SIZE, 10 * SIZE)
    for top in range(2, 21):
        out += sacks(peer, top, flags="AE")
    assert cc.ssthresh == 10 * SIZE, "one window, one reduction"
    assert cwrs(out) == [20]
    assert peer.count("retransmissions") == 0
    sacks(peer, 21, flags="AE", at=2 * RTT)
    assert cc.ssthresh <= 6 * SIZE, "the next window"


@pytest.mark.rfc("3168", "6.1.2-d")
def test_cwnd_does_not_grow_by_an_ack_that_says_ece() -> None:
    peer = capable(segments=10, extra=40)
    for top in range(1, 4):
        sacks(peer, top, at=RTT)
    out = sacks(peer, 4, flags="AE")
    assert not out
    cwnd = peer.conn.snd.cc.cwnd
    for top in range(5, 12):
        sacks(peer, top, flags="AE")
    assert peer.conn.snd.cc.cwnd == cwnd


@pytest.mark.rfc("3168", "6.1.2-c")
@pytest.mark.parametrize("timeout", [False, True])
def test_cwr_after_any_reduction(timeout: bool) -> None:
    """A loss lowers cwnd as well, and the next new text says so; not the retransmission."""
    peer = capable()
    if timeout:
        peer.conn.snd.probe.skip()
        peer.conn.timers.probe = NEVER
        peer.wait(RTO)
        out = peer.drain()
    else:
        out = sacks(peer, 0, (1, 10), at=RTT)
    assert indices(out)[0] == 0
    assert "W" not in out[0].flags
    out += sacks(peer, 10, at=peer.now + RTT)
    assert cwrs(out) == [10]


@pytest.mark.rfc("3168", "6.1.2-b", "6.1.2-c")
def test_marks_of_a_window_that_has_lost_something_count_no_more() -> None:
    """They are of the same congestion. CWR answers them, so that the peer stops."""
    peer = capable(segments=20, extra=40)
    out = sacks(peer, 0, (1, 20), at=RTT, flags="AE")
    assert peer.conn.snd.cc.ssthresh == 10 * SIZE
    assert recovery(peer).phase == FAST
    out = sacks(peer, 0, (1, 21), at=2 * RTT, flags="AE") + out
    assert peer.conn.snd.cc.ssthresh >= 5 * SIZE
    assert cwrs(out)


@pytest.mark.rfc("3168", "6.1.2-b", "6.1.2-c")
def test_mark_heard_in_recovery_is_answered_and_no_more() -> None:
    """CWR for the loss has left already; without another the peer would go on until cwnd falls again."""
    peer = capable(segments=20, extra=40)
    out = sacks(peer, 0, (1, 5), (6, 15), at=RTT)
    while not cwrs(out):
        out += sacks(peer, 0, (1, 5), (6, 15 + len(out)), at=peer.now + MS)
    assert recovery(peer).phase == FAST
    ssthresh = peer.conn.snd.cc.ssthresh
    again = sacks(peer, 5, (6, 24), at=2 * RTT, flags="AE") + sacks(
        peer, 5, (6, 26), at=2 * RTT + MS, flags="AE"
    )
    assert recovery(peer).phase == FAST
    assert len(cwrs(again)) == 1
    assert peer.conn.snd.cc.ssthresh == ssthresh


@pytest.mark.rfc("3168", "6.1.2-a")
@pytest.mark.parametrize("mark", ["", "E"])
def test_mark_in_recovery_cannot_be_undone(mark: str) -> None:
    """What was sent again was not lost, says the D-SACK; but the network was congested, says the mark."""
    peer = capable()
    peer.wait(RTT)
    assert indices(sacks(peer, 1, (2, 5))) == [1]
    sacks(peer, 1, (2, 6), flags="A" + mark)
    sacks(peer, 6, (1, 2))
    assert peer.conn.snd.undone == (not mark)
    assert (peer.conn.snd.cc.ssthresh > 5 * SIZE) == (not mark)


@pytest.mark.rfc("3168", "6.1.2-d")
def test_cwnd_does_not_grow_by_marked_acks_after_a_time_out() -> None:
    peer = capable(extra=0)
    while peer.conn.snd.recovery is None:
        peer.wait(min(peer.conn.timers.probe, peer.conn.timers.retransmit) - peer.start)
        peer.drain()
    sacks(peer, 1, flags="AE")
    assert peer.conn.snd.cc.cwnd == SIZE
    sacks(peer, 2)
    assert peer.conn.snd.cc.cwnd == 2 * SIZE


@pytest.mark.rfc("3168", "6.1.2-e")
@pytest.mark.rfc("9438", "4.6-a", "4.6-c")
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_down_to_a_segment_and_then_by_time(congestion: str) -> None:
    """Marks alone bring cwnd to one segment, no loss does; marked still, it waits for the retransmission timer."""
    peer = capable(segments=4, extra=40)
    cc = peer.conn.snd.cc
    acked = 0
    for _ in range(6):
        acked = (peer.conn.snd.snd_nxt - peer.conn.snd.iss - 1) // SIZE
        assert peer.conn.timers.hold == NEVER
        sacks(peer, acked, flags="AE", at=peer.now + RTT)
        if cc.cwnd == SIZE:
            break
    assert cc.cwnd == SIZE
    assert cc.ssthresh == 2 * SIZE
    acked = (peer.conn.snd.snd_nxt - peer.conn.snd.iss - 1) // SIZE
    assert not sacks(peer, acked, flags="AE", at=peer.now + RTT)
    start, rto = peer.now, peer.conn.snd.rtt.rto_us
    peer.silence(until=start + rto - 1)
    assert cwrs([peer.expects("AW", at=start + rto)])


@pytest.mark.rfc("3168", "6.1.2-a")
def test_the_last_ack_of_a_flight_lowers_what_was_in_flight() -> None:
    """One ACK for all of it, as from peers that take super-segments in: what it acknowledges was in flight when it was marked."""
    peer = capable(segments=20, extra=0)
    sacks(peer, 20, flags="AE", at=RTT)
    assert peer.conn.snd.cc.cwnd == 10 * SIZE


@pytest.mark.rfc("3168", "6.1.2-c")
def test_cwr_is_never_put_on_a_super_segment() -> None:
    """A device would copy it to all segments that it cuts, and the last would undo an echo of a mark on the first."""
    peer = capable(segments=40, tx_checksum=True, tx_segmentation=65535)
    out = sacks(peer, 30, flags="AE", at=RTT)
    out += sacks(peer, 40, flags="A", at=RTT + MS)
    marked = [seg for seg in out if "W" in seg.flags]
    assert len(marked) == 1
    assert len(marked[0].data) <= SIZE
    assert marked[0].gso_size == 0
    assert any(seg.gso_size for seg in out), "the others are"
