"""What a segment must not do besides: the steps of RFC 9293 §3.10.7 that it does not reach, in a connection and in TIME-WAIT."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import SECOND, mss, stamps
from tests.stack.l4.tcp.states import (
    in_close_wait,
    in_established,
    in_last_ack,
    in_syn_received,
    in_time_wait,
)
from tests.stack.packets import GUEST, GUEST_MAC
from usernat.stack.l4.tcp.state import State, TcpError
from usernat.stack.l4.tcp.time_wait import MAX_REPLIES, TimeWait

RECENT = 1000


def with_something_out() -> Peer:
    peer = in_established()
    peer.conn.send(b"ours")
    peer.drain()
    return peer


@pytest.mark.rfc("5961", "3.2-d", "4.2-b")
@pytest.mark.parametrize("flags", ["RA", "SA", "SRA", "SFA"])
def test_a_challenged_segment_does_nothing_else(flags: str) -> None:
    """Neither its ACK nor its text nor its FIN count."""
    peer = with_something_out()
    peer.raw(peer.segment(flags, seq=9, ack=5, data=b"forged"))
    peer.expects("A", seq=5, ack=1)
    assert peer.conn.unacknowledged == 4
    peer.sends("A", seq=1, data=b"12345678")
    assert peer.conn.readable == 8
    assert peer.conn.rcv.reassembly is None


@pytest.mark.rfc("9293", "3.10.7.4-j")
def test_a_segment_with_an_impossible_ack_brings_nothing() -> None:
    peer = with_something_out()
    for ack in (6, -70_000):
        peer.raw(peer.segment("FA", seq=1, ack=ack, data=b"forged", window=9))
        peer.expects("A", seq=5, ack=1)
    assert peer.conn.readable == 0
    assert peer.conn.snd.snd_wnd == 65535
    assert not peer.conn.peer_finished


@pytest.mark.rfc("9293", "3.10.7.4-o")
def test_the_first_fin_says_where_the_end_is() -> None:
    """One that comes early is remembered, and a later one somewhere else does not move it."""
    peer = in_established()
    peer.sends("FA", seq=11)
    peer.sends("FA", seq=21)
    peer.sends("FA", seq=5)
    peer.drain()
    peer.sends("A", seq=1, data=b"0123456789")
    peer.expects("A", ack=12)
    assert peer.conn.recv(100) == b"0123456789"
    assert peer.conn.at_eof


def test_trouble_is_over_with_the_first_progress() -> None:
    peer = in_established()
    peer.conn.send(b"x")
    peer.drain()
    while not peer.conn.in_trouble:
        due = peer.layer.poll_at()
        assert due is not None
        peer.wait(due - peer.start)
    peer.sends("A", ack=1)
    assert peer.conn.in_trouble is True
    peer.sends("A", ack=2)
    assert peer.conn.in_trouble is False


@pytest.mark.rfc("9293", "MUST-37")
def test_answers_to_probes_are_patience_enough_but_not_once_nobody_holds_the_connection() -> None:
    for closed in (False, True):
        peer = Peer(user_timeout_us=30 * SECOND).connected(window=0)
        peer.conn.send(b"x")
        if closed:
            peer.conn.close()
        for second in range(5, 120, 5):
            if not peer.conn.closed:
                peer.sends("A", at=second * SECOND, ack=1, window=0)
        assert peer.conn.closed is closed


@pytest.mark.rfc("7323", "3.2-f")
def test_time_stamps_that_were_not_agreed_on_mean_nothing() -> None:
    """Neither as a sign of age nor as a measure of the round trip."""
    peer = with_something_out()
    srtt = peer.conn.snd.rtt.srtt_us
    peer.sends("A", seq=1, ack=3, data=b"x", options=stamps(7, 9), at=100_000)
    assert (peer.conn.unacknowledged, peer.conn.readable) == (2, 1)
    assert peer.conn.snd.rtt.srtt_us != srtt, "by the time that it took"


@pytest.mark.rfc("7323", "4.1-b")
@pytest.mark.parametrize("tsval", [0, 1])
def test_the_echo_counts_whatever_the_peers_own_clock_shows(tsval: int) -> None:
    """It tells an answer to what was sent again, which nothing else could measure."""
    peer = Peer().connected(options=mss(1000) + stamps(0))
    peer.conn.send(b"x")
    peer.drain()
    due = peer.layer.poll_at()
    assert due is not None
    peer.wait(due - peer.start)
    again = peer.expects("PA", seq=1)
    srtt = peer.conn.snd.rtt.srtt_us
    peer.sends("A", ack=2, options=stamps(tsval, again.tsval), at=peer.now + 70_000)
    assert peer.conn.snd.rtt.srtt_us > srtt


@pytest.mark.rfc("9293", "SHLD-29")
def test_a_window_closed_from_the_start_is_not_probed_before_its_time() -> None:
    peer = Peer().is_called()
    peer.conn.send(b"early")
    peer.sends("SA", window=0)
    peer.expects("A", seq=1, ack=1, data=b"")
    peer.silence(until=peer.conn.snd.rtt.rto_us - 1)
    peer.expects("A", at=peer.conn.snd.rtt.rto_us, seq=1, data=b"e")


def test_a_connection_has_one_turn_a_batch() -> None:
    peer = in_established()
    for _ in range(5):
        peer.sends("A", data=b"x", flush=False)
    peer.conn.send(b"y")
    assert list(peer.layer.work) == [peer.conn]
    peer.conn.abort()
    peer.conn.wake()
    assert list(peer.layer.work) == [peer.conn]


@pytest.mark.rfc("9293", "MUST-48", "MUST-49")
def test_what_leaves_is_marked_as_the_connection_says() -> None:
    peer = in_established()
    for ttl, tos in ((64, 0), (7, 0x48)):
        peer.conn.ttl, peer.conn.tos = ttl, tos
        peer.conn.send(b"x")
        peer.rig.interface.ethernet.neighbours.learn(GUEST, GUEST_MAC, peer.rig.now)
        (datagram,) = peer.rig.sent()
        assert (datagram.ttl, datagram.tos) == (ttl, tos)
        peer.sends("A", ack=peer.conn.snd.snd_nxt - peer.conn.snd.iss)
    called = Peer()
    called.layer.connect(GUEST, 40000).tos = 0x4B
    (syn,) = called.rig.sent()
    assert syn.tos == 0x48, "the two lowest bits are not the user's"
    fresh = in_established().conn
    assert (fresh.ttl, fresh.tos) == (64, 0)


@pytest.mark.rfc("9293", "3.10.7.4-l")
def test_the_last_ack_brings_nothing_along() -> None:
    """LAST-ACK: with the ACK of our FIN the connection is gone, and so is whatever else that segment says."""
    peer = in_last_ack()
    peer.sends("UA", ack=2, data=b"forged", urgent=3)
    peer.assert_state(State.CLOSED)
    assert peer.conn.readable == 0
    assert peer.count("urgent") == 0
    peer.assert_nothing_held()


@pytest.mark.rfc("9293", "3.10.7.4-n")
def test_nothing_is_urgent_behind_a_fin() -> None:
    peer = in_close_wait()
    peer.ready()
    peer.sends("UA", ack=1, urgent=9)
    assert peer.conn.urgent_remaining == 0
    assert peer.ready() == []


@pytest.mark.parametrize(("flags", "data"), [("SFA", b""), ("SA", b"x"), ("SFA", b"x")])
def test_the_smallest_that_a_syn_ack_can_bring(flags: str, data: bytes) -> None:
    peer = Peer().is_called()
    peer.sends(flags, data=data, urgent=7)
    peer.expects("A", ack=1 + len(data) + ("F" in flags))
    assert peer.conn.recv(9) == data
    peer.assert_state(State.CLOSE_WAIT if "F" in flags else State.ESTABLISHED)
    assert peer.conn.urgent_remaining == 0, "a pointer without URG points nowhere"


@pytest.mark.rfc("7323", "5.3-a")
def test_time_stamps_of_a_call_of_ours_count_from_its_answer() -> None:
    peer = Peer().answers(options=mss(1000) + stamps(RECENT))
    peer.sends("A", data=b"old", options=stamps(RECENT - 1))
    assert (peer.count("paws"), peer.conn.readable) == (1, 0)


@pytest.mark.rfc("9293", "3.10.7.4-g")
def test_another_syn_ends_a_call_as_a_reset_does() -> None:
    peer = in_syn_received()
    peer.sends("S", seq=5)
    assert peer.conn.error is TcpError.RESET


def test_a_reset_offers_no_window() -> None:
    peer = in_established()
    peer.conn.abort()
    assert peer.expects("RA", seq=1, ack=1).window == 0
    for flags in ("S", "A"):
        nobody = Peer()
        nobody.sends(flags, ack=1)
        assert [(seg.flags[0], seg.window) for seg in nobody.drain()] == [("R", 0)]


@pytest.mark.rfc("1191", "3-a")
def test_what_one_connection_learns_of_the_path_all_know() -> None:
    """At the next segment, with the window counted anew in segments of the new size."""
    peer = Peer().connected(options=mss(1460))
    other = Peer(rig=peer.rig, port=40001)
    other.listener = peer.listener
    other.connected(options=mss(1460))
    peer.conn.send(bytes(1460))
    peer.drain()
    peer.icmp(3, 4, peer.quote(1), mtu=1000)
    peer.drain()
    for _ in range(2):
        other.conn.send(bytes(4 * 960))
        assert [len(seg.data) for seg in other.drain()] == [960] * 4
        other.sends("A", ack=other.conn.snd.snd_nxt - other.conn.snd.iss)
    assert other.conn.path_mtu == 1000


class TestTimeWait:
    """The peer's FIN was 1; RCV.NXT is 2."""

    def stamped(self, recent: int = RECENT) -> Peer:
        peer = Peer().connected(options=mss(1460) + stamps(recent))
        peer.conn.shutdown()
        peer.expects("FA")
        peer.sends("FA", ack=2)
        peer.expects("A")
        return peer

    def record(self, peer: Peer) -> TimeWait:
        (found,) = peer.layer.time_wait.values()
        return found

    @pytest.mark.rfc("7323", "3.2-c", "3.2-d", "5.3-a")
    @pytest.mark.parametrize(
        ("flags", "fields"),
        [
            ("A", {"seq": 0, "data": b"x"}),
            ("A", {"seq": 2, "data": b"x"}),
            ("R", {"seq": 9}),
            ("SA", {"seq": 9}),
            ("A", {"options": stamps(RECENT - 1)}),
        ],
    )
    def test_answers_carry_time_stamps(self, flags: str, fields: dict[str, Any]) -> None:
        peer = self.stamped()
        peer.wait(5 * SECOND)
        peer.raw(peer.segment(flags, **fields))
        answer = peer.expects("A", seq=2, ack=2)
        assert answer.tsecr == RECENT
        assert peer.conn.timestamps is not None
        assert answer.tsval == peer.conn.timestamps.value(peer.rig.now)

    @pytest.mark.rfc("7323", "3.2-d")
    def test_without_time_stamps_nothing_is_answered(self) -> None:
        peer = self.stamped()
        for flags, fields in (("A", {"seq": 0, "data": b"x"}), ("FA", {"seq": 1})):
            peer.raw(peer.segment(flags, options=b"", **fields))
        peer.silence(until=SECOND)
        assert self.record(peer).expires == peer.start + 60 * SECOND

    @pytest.mark.rfc("7323", "5.2-a")
    def test_a_reset_needs_no_time_stamp(self) -> None:
        peer = self.stamped()
        peer.raw(peer.segment("R", seq=2, options=b""))
        assert not peer.layer.time_wait
        peer.assert_state(State.CLOSED)

    def test_zero_is_a_time_stamp(self) -> None:
        peer = self.stamped(recent=0xFFFFFFFF)
        peer.raw(peer.segment("A", seq=0, data=b"x", options=stamps(0)))
        peer.expects("A", seq=2, ack=2)
        assert peer.count("missing_timestamps") == 0
        peer.raw(peer.segment("S", seq=-9, options=stamps(0)))
        assert [seg.flags for seg in peer.drain()] == ["SA"], "RFC 6191: it is newer than 2**32 - 1"

    def test_without_a_time_stamp_a_call_goes_by_its_number(self) -> None:
        for seq, flags in ((1, "A"), (2, "A"), (3, "SA")):
            peer = self.stamped()
            peer.raw(peer.segment("S", seq=seq, options=b""))
            assert [seg.flags for seg in peer.drain()] == [flags]

    def test_a_stale_time_stamp_says_nothing(self) -> None:
        peer = self.stamped()
        self.record(peer).timestamps.recent_at -= 24 * 24 * 3600 * SECOND  # type: ignore[union-attr]
        peer.raw(peer.segment("S", seq=-9, options=stamps(RECENT + 1)))
        assert [seg.flags for seg in peer.drain()] == ["A"], "its number is old"

    @pytest.mark.rfc("5961", "3.2-b", "3.2-c", "3.2-d")
    def test_only_the_exact_reset_ends_it(self) -> None:
        peer = in_time_wait()
        for seq, answered in ((1, False), (70_000, False), (3, True), (65_000, True)):
            peer.raw(peer.segment("R", seq=seq))
            peer.flush()
            assert len(peer.drain()) == answered
            assert peer.layer.time_wait
        peer.ready()
        peer.raw(peer.segment("R", seq=2))
        peer.silence()
        assert not peer.layer.time_wait
        assert peer.ready() == [peer.conn]

    @pytest.mark.rfc("9293", "MUST-66")
    def test_at_a_closed_window_the_exact_reset_counts_with_text_too(self) -> None:
        for flags, ends in (("R", True), ("SR", False)):
            peer = in_time_wait()
            record = self.record(peer)
            record.edge = record.rcv_nxt
            peer.raw(peer.segment(flags, seq=3, data=b"x"))
            assert peer.layer.time_wait
            peer.raw(peer.segment(flags, seq=2, data=b"x"))
            peer.silence()
            assert (not peer.layer.time_wait) is ends

    def test_an_endless_exchange_ends(self) -> None:
        peer = in_time_wait()
        answers = 1  # to the FIN
        for _ in range(2 * MAX_REPLIES):
            peer.raw(peer.segment("A", seq=0, data=b"x"))
            answers += len(peer.drain())
        assert answers == MAX_REPLIES

    @pytest.mark.rfc("9293", "3.10.7.4-m")
    @pytest.mark.parametrize(
        ("flags", "seq", "again"),
        [("FA", 1, True), ("F", 1, False), ("FA", 0, False), ("SFA", 1, False), ("A", 1, False)],
    )
    def test_what_makes_it_begin_anew(self, flags: str, seq: int, again: bool) -> None:
        """The peer's FIN with an ACK, where it stood."""
        peer = in_time_wait()
        before = self.record(peer).expires
        peer.wait(SECOND)
        peer.raw(peer.segment(flags, seq=seq))
        peer.flush()
        assert self.record(peer).expires == before + SECOND * again
