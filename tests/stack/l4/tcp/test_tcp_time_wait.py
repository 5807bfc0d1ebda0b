"""TIME-WAIT: bounded, and taken over by what is surely new (RFC 9293 §3.6.1, RFC 6191)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, SECOND, mss, stamps
from tests.stack.l4.tcp.states import in_fin_wait_2, in_time_wait
from tests.stack.packets import GATEWAY, GUEST
from usernat.stack.l4.tcp.incoming import Incoming


def test_c60_time_wait_is_bounded() -> None:
    peer = Peer(max_time_wait=10).listens()
    for port in range(10_000, 10_050):
        end = Peer(rig=peer.rig, port=port)
        end.listener = peer.listener
        end.connected()
        end.conn.close()
        end.expects("FA")
        end.sends("FA", ack=2)
        end.drain()
    assert peer.layer.report()["time_wait"] == peer.layer.report()["table"] == 10
    assert peer.count("time_wait_evicted") == 40


@pytest.mark.rfc("9293", "MAY-2")
@pytest.mark.parametrize(("seq", "reopened"), [(3, True), (100_000, True), (1, False), (-5000, False)])
def test_c09_new_syn_in_time_wait_by_number(seq: int, reopened: bool) -> None:
    """RFC 9293 MAY-2: above the old numbers it reopens, else a challenge ACK."""
    peer = in_fin_wait_2()
    peer.sends("FA", ack=2)
    peer.expects("A")
    old_nxt = peer.ack
    peer.sends("S", seq=seq, at=SECOND)
    if reopened:
        (seg,) = peer.drain()
        assert seg.flags == "SA"
        assert 0 < seg.seq - old_nxt < 1 << 31, "our numbers go up too"
        assert peer.count("time_wait_reused") == 1
    else:
        peer.expects("A", seq=2, ack=2)


@pytest.mark.rfc("9293", "SHLD-4")
@pytest.mark.parametrize(("tsval", "reopened"), [(1001, True), (5_000_000, True), (999, False)])
def test_new_syn_in_time_wait_by_timestamp(tsval: int, reopened: bool) -> None:
    """RFC 6191, RFC 9293 SHLD-4: whatever its number."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.shutdown()
    peer.expects("FA")
    peer.sends("FA", ack=2)
    peer.expects("A")
    peer.sends("S", seq=-100_000, options=mss(1460) + stamps(tsval))
    assert [seg.flags for seg in peer.drain()] == (["SA"] if reopened else ["A"])


@pytest.mark.parametrize(("seq", "reopened"), [(3, True), (1, False)])
def test_new_syn_with_the_last_timestamp_goes_by_its_number(seq: int, reopened: bool) -> None:
    """RFC 6191 2: two calls within one tick of the peer's clock."""
    peer = Peer().connected(options=LINUX_SYN)
    peer.conn.shutdown()
    peer.expects("FA")
    peer.sends("FA", ack=2)
    peer.expects("A")
    peer.sends("S", seq=seq, options=mss(1460) + stamps(1000))
    assert [seg.flags for seg in peer.drain()] == (["SA"] if reopened else ["A"])


@pytest.mark.rfc("6528", "3-e")
def test_held_call_that_takes_over_time_wait_starts_above_the_last_life() -> None:
    """RFC 9293 MAY-2, however fast that life has sent."""
    peer = Peer().listens(hold=True)
    peer.sends("S")
    first = peer.listener.accept()
    assert isinstance(first, Incoming)
    peer.conn = first.accept()
    peer.expects("SA")
    peer.sends("A", ack=1)
    peer.conn.close()
    peer.expects("FA")
    peer.sends("FA", ack=2)
    peer.expects("A")
    record = next(iter(peer.layer.time_wait.values()))
    record.snd_nxt += 1 << 30
    peer.sends("S", seq=100)
    again = peer.listener.accept()
    assert isinstance(again, Incoming)
    assert 0 < (again.accept().snd.iss - record.snd_nxt) & 0xFFFFFFFF < 1 << 20


@pytest.mark.rfc("9293", "3.10.7.4-m")
def test_only_their_fin_makes_time_wait_begin_anew() -> None:
    """RFC 9293 3.10.7.4-m: other old segments are answered, and no more."""
    peer = in_time_wait()
    (record,) = peer.layer.time_wait.values()
    expires = record.expires
    peer.sends("A", seq=1, data=b"x" * 7, at=SECOND)
    peer.expects("A", seq=2, ack=2)
    assert record.expires == expires
    peer.sends("FA", seq=1)
    assert record.expires == expires + SECOND


def test_one_that_begins_anew_does_not_hold_up_the_others() -> None:
    first = in_time_wait()
    second = Peer(rig=first.rig, port=40001)
    second.listener = first.listener
    second.connected()
    second.conn.close()
    second.expects("FA")
    second.sends("FA", ack=2)
    second.drain()
    first.wait(10 * SECOND)
    first.sends("FA", seq=1)
    first.expects("A")
    first.wait(60 * SECOND)
    assert list(first.layer.time_wait) == [first.conn.key]
    first.wait(70 * SECOND)
    first.assert_nothing_held()


def test_our_own_call_may_take_over_time_wait() -> None:
    peer = in_fin_wait_2()
    peer.sends("FA", ack=2)
    peer.drain()
    record = next(iter(peer.layer.time_wait.values()))
    conn = peer.layer.connect(GUEST, peer.port, local=GATEWAY, local_port=80)
    assert 0 < (conn.snd.iss - record.snd_nxt) & 0xFFFFFFFF < 1 << 31
    assert peer.layer.report()["time_wait"] == 0
