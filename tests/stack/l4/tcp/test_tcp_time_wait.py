"""TIME-WAIT: bounded, and taken over by what is surely new (RFC 9293 §3.6.1, RFC 6191)."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, SECOND, mss, stamps
from tests.stack.l4.tcp.states import in_fin_wait_2
from tests.stack.packets import GATEWAY, GUEST


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


def test_our_own_call_may_take_over_time_wait() -> None:
    peer = in_fin_wait_2()
    peer.sends("FA", ack=2)
    peer.drain()
    record = next(iter(peer.layer.time_wait.values()))
    conn = peer.layer.connect(GUEST, peer.port, local=GATEWAY, local_port=80)
    assert 0 < (conn.snd.iss - record.snd_nxt) & 0xFFFFFFFF < 1 << 31
    assert peer.layer.report()["time_wait"] == 0
