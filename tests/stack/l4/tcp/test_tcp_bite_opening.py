"""Calls, held calls and their listeners at the edges; options of impossible lengths; what a person is shown of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, SECOND, mss, stamps
from tests.stack.l4.tcp.states import in_established, in_syn_received, in_time_wait
from tests.stack.packets import GATEWAY
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.incoming import Incoming
from usernat.stack.l4.tcp.options import read_options
from usernat.stack.l4.tcp.segment import read_segment
from usernat.stack.l4.tcp.state import State, TcpError


def held(**options: Any) -> tuple[Peer, Incoming]:
    """A call that waits for the application's word, taken from the listener."""
    peer = Peer().listens(hold=True)
    peer.sends("S", **options)
    call = peer.listener.accept()
    assert isinstance(call, Incoming)
    return peer, call


class TestListener:
    def test_closing_twice_is_closing_once(self) -> None:
        peer = Peer().listens()
        peer.listener.close()
        peer.listener.close()
        assert peer.listener.closed is True
        assert peer.layer.listen(None, 80) is not peer.listener

    def test_connections_without_room_in_the_queue_are_nobodys_news(self) -> None:
        """They are reset, and the application, which never knew them, does not hear of it."""
        peer = Peer().listens(backlog=1)
        others = [Peer(rig=peer.rig, port=port) for port in (40001, 40002)]
        for other in others:
            other.listener = peer.listener
            other.calls()
        peer.calls()
        peer.sends("A")
        assert peer.ready() == [peer.listener]
        for number, other in enumerate(others, 1):
            other.sends("A")
            assert other.expects("RA").seq == 1
            assert peer.count("backlog_full") == number
        assert peer.ready() == []
        assert peer.listener.accept() is peer.conn
        assert peer.listener.accept() is None

    @pytest.mark.rfc("6528", "3-e")
    def test_a_call_that_takes_over_time_wait_starts_above_the_last_life(self) -> None:
        """However fast that has sent."""
        peer = in_time_wait()
        (record,) = peer.layer.time_wait.values()
        record.snd_nxt += 1 << 30
        peer.sends("S", seq=100)
        again = peer.layer.table[peer.conn.key]
        assert isinstance(again, Connection)
        assert 0 < (again.snd.iss - record.snd_nxt) & 0xFFFFFFFF < 1 << 20

    def test_what_is_shown(self) -> None:
        layer = Peer().layer
        assert repr(layer.listen(None, None)) == "<Listener any:any>"
        assert repr(layer.listen(GATEWAY, 80)) == "<Listener 10.0.2.2:80>"


class TestIncoming:
    def test_what_is_shown(self) -> None:
        peer, call = held()
        assert repr(call) == "<Incoming 10.0.2.15:40000 > 10.0.2.2:80>"
        assert repr(call.accept()) == "<Connection 10.0.2.2:80 - 10.0.2.15:40000 SYN_RECEIVED>"
        peer.expects("SA")

    @pytest.mark.rfc("7323", "5.3-a")
    def test_time_stamps_count_from_when_the_call_was_accepted(self) -> None:
        peer, call = held(options=LINUX_SYN)
        peer.conn = call.accept()
        peer.ack = 1
        peer.expects("SA")
        peer.sends("A", options=stamps(999))
        assert peer.count("paws") == 1
        peer.sends("A", options=stamps(1000))
        peer.assert_state(State.ESTABLISHED)

    @pytest.mark.rfc("3168", "6.1.1-d")
    @pytest.mark.parametrize(
        ("first", "again", "agreed"), [("SEW", "SEW", True), ("SEW", "S", False), ("S", "SEW", False)]
    )
    def test_a_call_asks_for_marks_each_time_or_not_at_all(
        self, first: str, again: str, agreed: bool
    ) -> None:
        peer = Peer().listens(hold=True)
        for flags in (first, again):
            peer.raw(peer.segment(flags, seq=0))
        call = peer.listener.accept()
        assert isinstance(call, Incoming)
        call.accept()
        (answer,) = peer.drain()
        assert ("E" in answer.flags) is agreed

    def test_a_new_call_finds_who_listens_now(self) -> None:
        """The listener that held the first one is closed meanwhile, and another answers at once."""
        peer, call = held()
        peer.listener.close()
        peer.listener = peer.layer.listen(None, 80)
        peer.raw(peer.segment("S", seq=1000))
        peer.expects("SA", ack=1001)
        assert call.cancelled
        assert call in peer.ready()

    def test_a_word_too_late_says_nothing(self) -> None:
        peer, call = held()
        peer.sends("R", seq=1)
        assert call.cancelled
        for late in (call.refuse, call.drop, lambda: call.unreachable(1)):
            late()
        peer.silence(until=SECOND)
        assert call.accept().error is TcpError.RESET
        peer.silence(until=2 * SECOND)
        peer.assert_nothing_held()

    def test_a_cancelled_call_that_still_waits_is_no_news(self) -> None:
        peer = Peer().listens(hold=True)
        peer.sends("S")
        peer.ready()
        peer.sends("R", seq=1)
        assert peer.listener.waiting == 0
        assert peer.ready() == []


@pytest.mark.rfc("9293", "3.10.7.4-i")
def test_text_with_a_wrong_ack_does_not_come_in_with_the_handshake() -> None:
    peer = in_syn_received()
    peer.sends("A", seq=1, ack=9, data=b"forged")
    peer.expects("R", seq=9)
    peer.sends("FA", seq=1, ack=9)
    peer.expects("R", seq=9)
    peer.assert_state(State.SYN_RECEIVED)
    assert peer.conn.readable == 0
    assert not peer.conn.peer_finished


@pytest.mark.rfc("9293", "MUST-54")
@pytest.mark.parametrize(("code", "error"), [(2, TcpError.UNREACHABLE), (3, TcpError.REFUSED)])
def test_hard_errors_end_an_answered_call(code: int, error: TcpError) -> None:
    peer = in_syn_received()
    peer.icmp(3, code, peer.quote(0))
    assert peer.conn.error is error
    peer.assert_nothing_held()


def test_keep_alive_can_be_switched_off_again() -> None:
    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.conn.keep_alive(False)
    peer.silence(until=4 * 3600 * SECOND)


class TestOptions:
    @pytest.mark.rfc("9293", "MUST-6", "MUST-68")
    @pytest.mark.parametrize("length", [2, 3, 4, 10, 18])
    def test_an_unknown_kind_is_nothing_else_whatever_its_length(self, length: int) -> None:
        options = read_options(bytes((99, length)) + bytes(length - 2) + mss(1000))
        assert (options.mss, options.window_scale, options.sack_permitted) == (1000, None, False)
        assert (options.sack, options.timestamps, options.malformed) == ([], None, False)

    @pytest.mark.rfc("9293", "MUST-7")
    @pytest.mark.parametrize("kind", [2, 3, 4, 5, 8])
    @pytest.mark.parametrize("length", [2, 3, 4, 9, 10, 11, 18])
    def test_a_known_kind_has_its_length_or_is_passed_over(self, kind: int, length: int) -> None:
        right = {2: [4], 3: [3], 4: [2], 5: [10, 18], 8: [10]}
        options = read_options(bytes((kind, length)) + b"\1" * (length - 2) + b"\1")
        read = {
            2: options.mss == 0x0101,
            3: options.window_scale == 1,
            4: options.sack_permitted,
            5: options.sack == [(0x01010101, 0x01010101)] * ((length - 2) // 8) != [],
            8: options.timestamps == (0x01010101, 0x01010101),
        }
        fits = length in right[kind]
        assert read == {each: each == kind and fits for each in right}
        assert options.malformed is not fits

    def test_once_malformed_always_malformed(self) -> None:
        assert read_options(b"\x02\x03\x00" + b"\x63\x02").malformed

    def test_the_first_of_each_counts(self) -> None:
        twice = b"".join(
            bytes((kind, len(body) + 2)) + body
            for fill in (1, 2)
            for kind, body in ((3, bytes([fill])), (5, bytes([fill]) * 8), (8, bytes([fill]) * 8))
        )
        options = read_options(twice)
        assert options.window_scale == 1
        assert options.sack == [(0x01010101, 0x01010101)]
        assert options.timestamps == (0x01010101, 0x01010101)


class TestSegments:
    def read(self, flags: str, **fields: Any) -> Any:
        peer = Peer(iss=0)
        packet = type("Packet", (), {"payload": memoryview(peer.segment(flags, **fields))})
        return read_segment(packet)  # type: ignore[arg-type] # only the payload is looked at

    def test_what_is_shown(self) -> None:
        syn = self.read("S", seq=0)
        assert str(syn) == "TCP 40000 > 80 [SYN] seq 5000 ack 0 win 65535 0 bytes"
        text = self.read("FA", seq=1, ack=7, data=b"abc", window=9)
        assert str(text) == "TCP 40000 > 80 [FIN,ACK] seq 5001 ack 7 win 9 3 bytes"
        assert str(self.read("", seq=1)) == "TCP 40000 > 80 [none] seq 5001 ack 0 win 65535 0 bytes"

    def test_how_much_of_the_sequence_space_it_takes(self) -> None:
        assert [self.read(flags, data=b"ab").length for flags in ("", "A", "S", "F", "SF", "FA")] == [
            2,
            2,
            3,
            3,
            4,
            3,
        ]

    def test_header_lengths_that_do_not_fit(self) -> None:
        for words, fits in ((0, False), (4, False), (5, True), (8, True), (9, False), (15, False)):
            assert (self.read("A", data_offset=words, options=bytes(8), data=b"abcd") is not None) is fits

    @pytest.mark.rfc("9293", "MUST-5")
    def test_time_stamps_in_any_place(self) -> None:
        """Aligned as RFC 7323 shows them, they are read without the walk; otherwise with it; twelve octets may be something else."""
        usual = self.read("A", options=stamps(7, 8))
        assert (usual.tsval, usual.tsecr, usual.options) == (7, 8, None)
        late = self.read("A", options=stamps(7, 8)[2:] + b"\1\1")
        assert (late.tsval, late.tsecr) == (7, 8)
        other = self.read("A", options=bytes((1, 1, 5, 10)) + b"\1" * 8)
        assert (other.tsval, other.tsecr) == (-1, 0)
        assert other.options.sack == [(0x01010101, 0x01010101)]
        both = self.read("A", options=stamps(7, 8) + bytes((1, 1, 5, 10)) + b"\1" * 8)
        assert (both.tsval, both.options.sack) == (7, [(0x01010101, 0x01010101)])


@pytest.mark.rfc("9293", "MUST-16")
@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("spare", [-1, 0, 1, 947])
def test_what_the_device_cuts_fits_into_it(spare: int, stamped: bool) -> None:
    """Whole segments, as many as fit beside headers that carry time stamps; one octet less is one segment less."""
    smss = 948 if stamped else 960
    peer = Peer(tx_checksum=True, tx_segmentation=52 + 5 * smss + spare)
    peer.connected(options=mss(960) + (stamps(1000) if stamped else b""))
    peer.conn.snd.cc.cwnd = 100_000
    peer.conn.send(bytes(40_000))
    sizes = [len(seg.data) for seg in peer.drain()]
    assert sizes[0] == smss * (4 if spare < 0 else 5)
    assert len(set(sizes[:5])) == 1
