"""What SYNs agree on, and the sizes that follow from it (RFC 9293 §3.7.1, RFC 6691, RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, MS, SACK_PERMITTED, SECOND, mss, scale, stamps
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.state import State


@pytest.mark.rfc("9293", "MUST-14", "SHLD-5")
def test_c12_everything_is_negotiated() -> None:
    """A Linux guest's SYN: MSS, window scale, SACK and time stamps in the answer, MSS from the MTU. RFC 9293 MUST-14, SHLD-5."""
    peer = Peer().listens()
    peer.sends("S", options=LINUX_SYN)
    answer = peer.expects("SA")
    assert answer.options[2] == struct.pack(">H", 1460)
    assert answer.options[3] == b"\x05"
    assert answer.options[4] == b""
    assert answer.tsecr == 1000


@pytest.mark.rfc("9293", "MUST-67", "SHLD-6", "MAY-3")
@pytest.mark.parametrize("mtu", [68, 576, 1500, 9000, 65520])
def test_advertised_mss_follows_the_mtu(mtu: int) -> None:
    """RFC 9293 MUST-67, SHLD-6, RFC 6691."""
    peer = Peer(mtu=mtu).is_called()
    assert peer.syn.options[2] == struct.pack(">H", mtu - 40)


@pytest.mark.rfc("7323", "2.2-a", "3.2-a")
@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (b"", {2}),
        (scale(3), {2, 3}),
        (SACK_PERMITTED, {2, 4}),
        (stamps(7), {2, 8}),
        (LINUX_SYN, {2, 3, 4, 8}),
    ],
)
def test_only_what_was_offered_is_answered(offered: bytes, answered: set[int]) -> None:
    """RFC 7323 2.2-a, 3.2-a, RFC 2018 4-a."""
    peer = Peer().listens()
    peer.sends("S", options=offered)
    assert set(peer.expects("SA").options) == answered


@pytest.mark.rfc("7323", "3.2-g")
def test_active_open_offers_everything() -> None:
    peer = Peer().is_called()
    assert set(peer.syn.options) == {2, 3, 4, 8}
    assert peer.syn.tsecr == 0, "RFC 7323 3.2-g: nothing to echo yet"


@pytest.mark.rfc("9293", "MUST-14", "MUST-15", "MUST-16")
@pytest.mark.parametrize(
    ("options", "largest"),
    [
        (b"", 536),  # RFC 9293 MUST-15
        (mss(600), 600),  # MUST-14
        (mss(9000), 1460),  # MUST-16: the link is smaller
        (mss(1460) + stamps(5), 1448),  # MUST-16: less the options
        (mss(0), 536),
        (mss(1), 48),
        (mss(65535), 1460),
    ],
)
def test_effective_mss(options: bytes, largest: int) -> None:
    peer = Peer().connected(options=options)
    peer.conn.send(bytes(5 * largest))
    segments = peer.drain()
    assert {len(seg.data) for seg in segments} == {largest}


@pytest.mark.rfc("9293", "MUST-4", "MUST-6", "MUST-64", "MUST-68")
def test_options_at_any_alignment_and_order() -> None:
    """RFC 9293 MUST-4, MUST-6, MUST-64, MUST-68: unknown options are skipped by their length."""
    peer = Peer().listens()
    odd = b"\xfd\x06abcd" + b"\x01" + stamps(9)[2:] + scale(2)[1:] + SACK_PERMITTED[2:] + mss(777) + b"\x00"
    peer.sends("S", options=odd + b"\xfe\xff\xff")  # nothing behind the end of the list is read
    answer = peer.expects("SA")
    assert next(iter(peer.layer.half_open.values())).peer_mss == 777  # type: ignore[union-attr] # a connection
    assert set(answer.options) == {2, 3, 4, 8}
    assert peer.count("malformed_options") == 0


@pytest.mark.rfc("9293", "MUST-7")
@pytest.mark.parametrize("length", [0, 1, 255])
def test_c17_option_lengths_that_lie(length: int) -> None:
    """RFC 9293 MUST-7: what stands before the bad length counts, the rest is passed over."""
    peer = Peer().listens()
    peer.sends("S", options=mss(900) + bytes((8, length, 1, 2)))
    peer.expects("SA")
    assert peer.count("malformed_options") == 1
    assert next(iter(peer.layer.half_open.values())).peer_mss == 900  # type: ignore[union-attr] # a connection


def test_c17_mss_that_lies() -> None:
    """MSS of length 3, MSS cut off by the header's end, MSS 0 and 1."""
    for options, largest in (
        (b"\x02\x03\x05\x00", 536),
        (b"\x01\x01\x02\x04", 536),
        (mss(0), 536),
        (mss(1), 48),
    ):
        peer = Peer().listens()
        peer.sends("S", options=options)
        peer.expects("SA")
        peer.ack = 1
        peer.sends("A")
        conn = peer.listener.accept()
        assert isinstance(conn, Connection)
        conn.send(bytes(1000))
        assert len(peer.expects("A").data) == largest


def test_data_offset_past_the_segment() -> None:
    peer = in_established()
    for offset in (0, 4, 6, 15):
        peer.sends("A", data_offset=offset)
    assert peer.count("bad_data_offset") == 4


@pytest.mark.rfc("7323", "2.2-c", "2.3-b")
def test_syn_window_is_not_scaled() -> None:
    """RFC 7323 2.2-c, 2.3-b."""
    peer = Peer().connected(options=mss(1460) + scale(7), window=2000)
    assert peer.conn.snd.snd_wnd == 2000 >> 7 << 7
    peer.sends("A", window=3)
    assert peer.conn.snd.snd_wnd == 3 << 7


@pytest.mark.rfc("7323", "2.3-a")
@pytest.mark.rfc("9293", "REC-1")
def test_scale_above_fourteen_means_fourteen() -> None:
    """RFC 7323 2.3-a."""
    peer = Peer().connected(options=scale(200))
    assert peer.conn.snd.scale == 14
    peer.sends("A", window=65535)
    assert peer.conn.snd.snd_wnd == 65535 << 14, "REC-1"
    assert peer.count("malformed_options") == 1, "and is noted"
    assert Peer().calls(options=scale(14)).count("malformed_options") == 0


@pytest.mark.rfc("7323", "2.2-b")
def test_scale_on_another_segment_is_ignored() -> None:
    """RFC 7323 2.2-b."""
    peer = in_established()
    peer.sends("A", options=scale(9), window=100)
    assert peer.conn.snd.snd_wnd == 100


@pytest.mark.rfc("7323", "2.3-b")
def test_our_window_is_scaled() -> None:
    peer = Peer(receive_buffer=1 << 20, initial_receive_window=1 << 20).connected(options=LINUX_SYN)
    peer.sends("A", data=b"x" * 1000)
    seg = peer.expects("A", at=40 * MS)
    assert seg.window << peer.scale >= (1 << 20) - 1000
    assert seg.window << peer.scale < (1 << 20) + 32


def test_without_scale_no_window_is_above_65535() -> None:
    peer = in_established()
    peer.sends("A", data=b"x" * 1000, flush=False)
    peer.sends("A", data=b"x" * 1000, flush=False)
    peer.conn.recv(2000)
    assert peer.expects("A", ack=2001).window == 65535


@pytest.mark.rfc("7323", "3.2-b", "3.2-c", "3.2-g", "4.1-a", "5.4-a")
def test_timestamps_on_every_segment_and_echoed() -> None:
    """RFC 7323 3.2-b, 3.2-c, 4.1-a."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.tsval = 2000
    peer.conn.send(b"a")
    first = peer.expects("PA")
    assert first.tsecr == 1000, "TS.Recent"
    peer.sends("A", ack=2)
    peer.sends("A", data=b"b", at=500 * MS, ack=2)
    peer.drain()
    peer.conn.send(b"c")
    second = peer.expects("PA")
    assert (second.tsval - first.tsval) & 0xFFFFFFFF == 500
    assert second.tsecr == 2000
    peer.conn.abort()
    assert peer.expects("RA").tsecr == 2000


@pytest.mark.rfc("7323", "3.2-f")
def test_timestamps_that_were_not_negotiated_are_ignored() -> None:
    """RFC 7323 3.2-f."""
    peer = in_established()
    peer.sends("A", data=b"x", options=stamps(5))
    peer.sends("A", data=b"y", options=stamps(1))
    assert peer.conn.recv(9) == b"xy"


@pytest.mark.rfc("7323", "3.2-d", "3.2-e")
def test_missing_timestamps_are_dropped_silently() -> None:
    """RFC 7323 3.2-d, 3.2-e; a RST needs none."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.sends("A", data=b"x", options=b"")
    peer.silence(until=SECOND)
    assert peer.conn.readable == 0
    assert peer.count("missing_timestamps") == 1
    peer.sends("R", seq=1, options=b"")
    peer.assert_state(State.CLOSED)


@pytest.mark.rfc("7323", "5.3-a")
def test_paws() -> None:
    """RFC 7323 5.3-a, 5.2-a: an older time stamp is answered with an ACK and dropped."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.sends("A", data=b"x", options=stamps(999))
    peer.expects("A", ack=1)
    assert peer.conn.readable == 0
    assert peer.count("paws") == 1


def test_a_timestamp_of_zero_is_one() -> None:
    """RFC 7323: zero is a value like any other, in a SYN and after."""
    peer = Peer().connected(options=mss(1460) + stamps(0))
    assert peer.conn.timestamps is not None
    peer.sends("A", data=b"x")
    assert peer.conn.recv(9) == b"x"
    peer.conn.send(b"y")
    peer.expects("PA")
    peer.sends("A", at=30 * MS, ack=2)
    assert peer.conn.snd.snd_una == peer.conn.snd.iss + 2


@pytest.mark.rfc("7323", "5.3-b")
def test_paws_wraps() -> None:
    """RFC 7323 5.3-b: comparison modulo 2**32."""
    peer = Peer().connected(options=mss(1460) + stamps(0xFFFFFFF0))
    peer.sends("A", data=b"x", options=stamps(5))
    assert peer.conn.recv(9) == b"x"
    peer.seq = 2
    peer.sends("A", data=b"y", options=stamps(0xFFFFFFFF))
    assert peer.conn.readable == 0


@pytest.mark.rfc("7323", "5.5-a")
def test_paws_forgets_after_24_days() -> None:
    """RFC 7323 5.5-a."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.sends("A", data=b"x", options=stamps(1), at=24 * 24 * 3600 * SECOND + MS)
    assert peer.conn.recv(9) == b"x"
    assert peer.conn.timestamps is not None
    assert peer.conn.timestamps.recent == 1


@pytest.mark.rfc("7323", "4.3-a")
def test_ts_recent_moves_only_with_the_left_edge() -> None:
    """RFC 7323 4.3-a."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.sends("A", seq=100, data=b"ahead", options=stamps(3000))
    assert peer.expects("A", ack=1).tsecr == 1000
    peer.sends("A", seq=1, data=b"x" * 99, options=stamps(2500))
    assert peer.expects("A", ack=105).tsecr == 2500


@pytest.mark.rfc("9293", "MUST-62")
def test_urgent_sent() -> None:
    """RFC 9293 MUST-62: SEG.UP is the octet after the urgent data."""
    peer = in_established()
    peer.conn.nodelay = True
    peer.conn.send(b"calm")
    peer.expects("PA", urgent=0)
    peer.conn.send(b"now!", urgent=True)
    peer.expects("UPA", seq=5, urgent=4)
    peer.conn.send(b"calm")
    peer.expects("PA", urgent=0)


@pytest.mark.rfc("9293", "MUST-30", "MUST-31", "MUST-32", "MUST-33")
@pytest.mark.parametrize("pointer", [0, 1, 5, 1000, 65535])
def test_c18_urgent_is_in_band(pointer: int) -> None:
    """RFC 6093, RFC 9293 MUST-30 to MUST-33: pointer 0, in the data, beyond it, huge."""
    peer = in_established()
    peer.sends("UA", data=b"hello", urgent=pointer)
    assert peer.conn in peer.ready()
    assert peer.conn.urgent_remaining == pointer
    assert peer.conn.recv(100) == b"hello"
    assert peer.conn.urgent_remaining == max(0, pointer - 5)
    peer.sends("UA", data=b"more", urgent=1)
    assert peer.conn.recv(100) == b"more"
    assert peer.conn.urgent_remaining == max(0, pointer - 9), "the pointer never moves back"
    peer.ready()
    peer.sends("UA", urgent=65535)
    assert peer.ready() == [peer.conn], "it has moved on, though nothing can be read"
    peer.sends("UA", urgent=65535)
    assert peer.ready() == [], "that is no news"


@pytest.mark.rfc("9293", "MUST-30", "MUST-31")
def test_urgent_on_the_answer_to_our_syn() -> None:
    """RFC 9293 §3.10.7.3, fifth step: on with the sixth check of §3.10.7.4."""
    peer = Peer().is_called()
    peer.sends("SUA", urgent=700)
    peer.expects("A", ack=1)
    assert peer.conn.urgent_remaining == 700


def test_c18_urgent_during_connect() -> None:
    peer = Peer().listens()
    peer.sends("SU", urgent=700)
    peer.expects("SA", ack=1)
    peer.ack = 1
    peer.sends("UA", urgent=65535)
    conn = peer.listener.accept()
    assert conn is not None
    assert conn.readable == 0  # type: ignore[union-attr] # a connection


@pytest.mark.rfc("9293", "MUST-48", "MUST-49", "SHLD-21", "SHLD-22")
def test_tos_and_ttl() -> None:
    """RFC 9293 MUST-48, MUST-49, SHLD-21, SHLD-22."""
    peer = in_established()
    peer.conn.tos, peer.conn.ttl = 46 << 2, 7
    peer.conn.send(b"x")
    frame = bytes(peer.rig.frames()[0])
    assert frame[15] == 46 << 2
    assert frame[22] == 7
