"""Which options stand on which segments, what time stamps do, and what of IP's header TCP cares for (RFC 9293 §3.1, §3.2, §3.9.2; RFC 7323)."""

from __future__ import annotations

import struct
from random import Random

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, MS, SACK_PERMITTED, SECOND, Seg, mss, scale, stamps
from tests.stack.l4.tcp.states import in_established, in_syn_sent
from tests.stack.packets import GATEWAY, GUEST, TCP, internet_checksum, ipv4, read_ipv4
from usernat.stack.l4.tcp.config import MAX_RECEIVE_BUFFER, TcpConfig
from usernat.stack.l4.tcp.state import State

TIMESTAMPED = mss(1460) + SACK_PERMITTED + stamps(1000)


def sack_option(*edges: int) -> bytes:
    return bytes((1, 1, 5, 2 + 4 * len(edges))) + struct.pack(f">{len(edges)}I", *edges)


def a_whole_life(options: bytes) -> list[Seg]:
    """Every kind of segment that a connection sends: SYN,ACK, text, a retransmission, ACKs, a probe, keep-alive, FIN, and the ACK of TIME-WAIT."""
    peer = Peer().listens()
    seen: list[Seg] = []

    def collect() -> None:
        seen.extend(peer.drain())

    peer.sends("S", options=options)
    answer = peer.expects("SA")
    seen.append(answer)
    peer.ack = 1
    peer._note(answer, options)
    peer.sends("A")
    peer.conn = peer.listener.accept()  # type: ignore[assignment] # a connection
    peer.conn.send(b"text")
    peer.wait(peer.now + SECOND)
    collect()
    peer.sends("A", ack=5, data=b"in order")
    peer.sends("A", seq=100, data=b"ahead")
    peer.sends("R", seq=50)
    collect()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.wait(peer.now + 2 * SECOND)
    collect()
    peer.sends("A", ack=5, window=0)
    peer.conn.send(b"probe")
    peer.wait(peer.now + 2 * SECOND)
    collect()
    peer.sends("A", ack=6)
    peer.sends("A", ack=10)
    peer.conn.shutdown()
    collect()
    peer.sends("A", seq=9, ack=11, data=b"x" * 96)
    peer.sends("FA", seq=105, ack=11)
    collect()
    peer.assert_state(State.TIME_WAIT)
    peer.sends("FA", seq=105, ack=11)
    collect()
    assert len(seen) > 10
    return seen


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "MUST-2")
def test_every_segment_has_its_checksum() -> None:
    """Computed here from the bytes that left: SYN, SYN,ACK, text of odd and even length, FIN, RST, and without a connection at all."""
    peer = in_established()
    peer.conn.nodelay = True
    frames = []
    for length in (1, 2, 535, 536):
        peer.conn.send(Random(length).randbytes(length))
        frames += peer.rig.frames()
    peer.conn.shutdown()
    frames += peer.rig.frames()
    peer.conn.abort()
    peer.layer.connect(GUEST, 7)
    peer.raw(peer.segment("S", dst_port=9))
    frames += peer.rig.frames()
    assert len(frames) == 8
    for frame in frames:
        tcp = read_ipv4(bytes(frame)[14:]).payload
        pseudo = struct.pack(">IIBBH", GATEWAY, GUEST, 0, TCP, len(tcp))
        assert internet_checksum(pseudo + tcp) == 0
        assert tcp[16:18] != b"\0\0"


@pytest.mark.rfc("9293", "MUST-50")
@pytest.mark.parametrize(
    "options", [b"\x01" * 4, b"\x44\x04\x05\x00", b"\x88\x04\x12\x34", b"\x5e\x04\0\0", b"\x00" * 8]
)
def test_ip_options_change_nothing(options: bytes) -> None:
    """A time stamp, a stream identifier, one that nobody knows: the segment is taken as without."""
    peer = in_established()
    peer.rig.receive(ipv4(peer.segment("A", data=b"x"), proto=TCP, options=options))
    assert peer.conn.recv(9) == b"x"
    peer.expects("A", at=40 * MS, ack=2)


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "MUST-5", "MUST-6")
def test_options_are_read_on_any_segment() -> None:
    """Behind one that nobody knows, on segments with and without text, also where the time stamps are not where they are expected."""
    peer = Peer().connected(options=TIMESTAMPED)
    odd = b"\xfd\x05abc" + stamps(1001)[2:] + b"\x01"
    peer.sends("A", data=b"x", options=odd)
    assert peer.conn.recv(9) == b"x"
    assert peer.conn.timestamps is not None
    assert peer.conn.timestamps.recent == 1001
    peer.conn.send(bytes(3000))
    peer.drain()
    base = peer.conn.snd.iss
    peer.sends("A", ack=1, options=b"\xfd\x02" + sack_option(base + 1449, base + 2897)[2:] + stamps(1002))
    assert peer.conn.snd.recovery is not None
    assert peer.conn.snd.recovery.board.sacked.total == 1448


@pytest.mark.rfc("9293", "MUST-65")
@pytest.mark.rfc("2018", "2-a")
@pytest.mark.parametrize("options", [LINUX_SYN, mss(1460)])
def test_what_belongs_on_a_syn_is_on_no_other_segment(options: bytes) -> None:
    """MSS, window scale and SACK-permitted."""
    first, *others = a_whole_life(options)
    assert set(first.options) >= {2}
    assert all(not set(seg.options) & {2, 3, 4} for seg in others)


@pytest.mark.rfc("2018", "2-a")
@pytest.mark.rfc("7323", "2.2-b")
def test_what_belongs_on_a_syn_means_nothing_elsewhere() -> None:
    peer = in_established()
    peer.sends("A", options=mss(9) + SACK_PERMITTED + scale(3), window=500)
    peer.sends("A", seq=11, data=b"x" * 10)
    assert 5 not in peer.expects("A").options
    peer.conn.send(bytes(500))
    assert len(peer.expects("A").data) == 500
    assert peer.conn.snd.snd_wnd == 65535, "of the last segment, as it stands"


@pytest.mark.rfc("9293", "MUST-69")
def test_option_areas_are_whole_words() -> None:
    """`read_options` of the tests looks at what is behind the end of the list; here at the end of the header."""
    for seg in a_whole_life(LINUX_SYN):
        assert len(seg.option_bytes) % 4 == 0
        at = 0
        while at < len(seg.option_bytes) and seg.option_bytes[at]:
            at += 1 if seg.option_bytes[at] == 1 else seg.option_bytes[at + 1]
        assert not any(seg.option_bytes[at:])


# -- time stamps ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7323", "3.2-b")
def test_time_stamps_are_on_every_segment() -> None:
    assert all(8 in seg.options for seg in a_whole_life(LINUX_SYN))
    assert all(8 not in seg.options for seg in a_whole_life(mss(1460)))


@pytest.mark.rfc("7323", "3.2-c")
def test_time_stamps_are_on_resets() -> None:
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.abort()
    assert peer.expects("RA").tsecr == 1000


@pytest.mark.rfc("7323", "3.2-g")
def test_an_echo_counts_with_ack_only() -> None:
    """Our SYN echoes nothing, for nothing has come; what a SYN without ACK echoes is not looked at."""
    peer = in_syn_sent()
    assert peer.syn.tsecr == 0
    peer.wait(500 * MS)
    peer.sends("S", options=mss(1460) + stamps(1, peer.syn.tsval - 3))
    assert peer.conn.snd.rtt.srtt_us == 0
    assert peer.expects("SA").tsecr == 1
    peer.tsval = 2
    peer.sends("A", at=600 * MS, ack=1)
    assert peer.conn.snd.rtt.srtt_us > 0


@pytest.mark.rfc("7323", "4.1-b")
def test_an_echo_is_no_sample_unless_something_is_acknowledged() -> None:
    peer = Peer().connected(options=LINUX_SYN)
    before = peer.conn.snd.rtt.srtt_us
    peer.sends("A", at=900 * MS, data=b"x")
    assert peer.conn.snd.rtt.srtt_us == before
    peer.conn.send(b"y")
    peer.expects("PA")
    peer.sends("A", at=1000 * MS)
    assert peer.conn.snd.rtt.srtt_us != before


@pytest.mark.rfc("7323", "4.2-a")
def test_many_samples_a_round_trip_weigh_less_each() -> None:
    """Appendix G: eleven ACKs of one window move SRTT no further than one would in RFC 6298, an eighth of the way."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.snd.rtt.srtt_us = 10_000.0
    peer.conn.snd.rtt.rttvar_us = 0.0
    peer.conn.snd.cc.cwnd = 22 * 1448
    peer.conn.send(bytes(22 * 1448))
    peer.drain()
    peer.wait(90 * MS)
    for pair in range(1, 12):
        peer.sends("A", ack=1 + 2 * 1448 * pair)
    assert 15_000 < peer.conn.snd.rtt.srtt_us < 36_000


@pytest.mark.rfc("7323", "5.2-a")
def test_a_reset_is_not_asked_for_its_time_stamp() -> None:
    """An old one does not save the connection, and that of one which is not believed is not remembered."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.sends("R", seq=77, options=stamps(5000))
    assert peer.expects("A").tsecr == 1000
    peer.sends("R", seq=1, options=stamps(3))
    peer.assert_state(State.CLOSED)
    assert peer.count("paws") == 0


@pytest.mark.rfc("7323", "5.3-a", "5.3-b")
@pytest.mark.parametrize("seq", [1, 70_000, -500])
def test_paws_comes_before_the_window(seq: int) -> None:
    """Wherever it lies, an old duplicate counts as one, and is answered."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.sends("A", seq=seq, data=b"x", options=stamps(999))
    assert peer.expects("A", seq=1, ack=1).tsecr == 1000
    assert (peer.count("paws"), peer.count("out_of_window")) == (1, 0)
    assert peer.conn.readable == 0


@pytest.mark.rfc("7323", "5.3-c")
def test_out_of_the_window_with_a_good_time_stamp() -> None:
    """Answered and dropped like any other, and its time stamp is not remembered."""
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected(options=TIMESTAMPED)
    for seq in (5000, -500):
        peer.sends("A", seq=seq, data=b"x" * 10, options=stamps(1500))
        assert peer.expects("A", seq=1, ack=1).tsecr == 1000
    assert peer.count("out_of_window") == 2
    assert peer.conn.readable == 0


@pytest.mark.rfc("7323", "5.4-a")
def test_the_clock_of_time_stamps() -> None:
    """A tick is 1 ms to 1 s, so that ten hours do not come near the wrap."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.send(b"x")
    first = peer.expects("PA").tsval
    peer.sends("A", ack=2)
    peer.wait(36_000 * SECOND)
    peer.conn.send(b"x")
    ticks = (peer.expects("PA").tsval - first) & 0xFFFFFFFF
    assert 36_000 <= ticks <= 36_000 * 1000


# -- window scale -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7323", "2.3-c")
def test_no_window_reaches_two_to_the_thirty() -> None:
    """With the largest buffer that can be set, and the largest that a peer can offer."""
    peer = Peer(receive_buffer=MAX_RECEIVE_BUFFER, initial_receive_window=MAX_RECEIVE_BUFFER, memory=1 << 32)
    peer.connected(options=mss(1460) + scale(14), window=65535)
    peer.sends("A", data=b"x", window=65535)
    seg = peer.expects("A", at=40 * MS)
    assert peer.scale == 14
    assert 1 << 29 < seg.window << peer.scale < 1 << 30
    assert peer.conn.snd.snd_wnd < 1 << 30
    with pytest.raises(ValueError, match="receive_buffer"):
        TcpConfig(receive_buffer=1 << 30)


@pytest.mark.rfc("7323", "2.3-b")
@pytest.mark.parametrize("shift", [0, 1, 7, 14])
def test_windows_at_every_scale(shift: int) -> None:
    peer = Peer().connected(options=mss(1460) + scale(shift))
    for field in (0, 1, 1000, 65535):
        peer.sends("A", window=field)
        assert peer.conn.snd.snd_wnd == field << shift
