"""Flaws that other stacks had, by their number in `tests/regressions.tsv`, as far as no other file here shows them."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.wire import Faults
from tests.stack.l4.tcp.pair import Pair
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, mss, scale
from tests.stack.l4.tcp.states import in_established
from usernat.stack.l4.tcp.state import State


def test_c05_text_on_a_fin() -> None:
    """All bytes are delivered, then the end of the stream; also where they come twice, or after a gap."""
    peer = in_established()
    peer.sends("FA", data=b"goodbye")
    peer.expects("A", ack=9)
    assert not peer.conn.at_eof
    assert peer.conn.recv(100) == b"goodbye"
    assert peer.conn.at_eof
    peer.sends("FA", seq=1, data=b"goodbye")
    peer.expects("A", ack=9)
    assert peer.conn.readable == 0


def test_c05_text_on_a_fin_that_the_window_cuts() -> None:
    """What lies beyond the window is not taken, the FIN behind it neither."""
    peer = Peer(receive_buffer=1000, initial_receive_window=1000).connected()
    peer.sends("FA", data=b"x" * 1200)
    peer.expects("A", ack=1001, window=0)
    peer.assert_state(State.ESTABLISHED)
    peer.conn.recv(1000)
    peer.expects("A", ack=1001, window=1000)
    peer.sends("FA", seq=1001, data=b"x" * 200)
    assert peer.conn.recv(1000) == b"x" * 200
    assert peer.conn.at_eof


def test_c11_what_was_acknowledged_and_then_lost_ends_in_a_reset() -> None:
    """The host socket fails after bytes were taken: the guest hears RST, never FIN."""
    peer = in_established()
    peer.sends("A", data=b"x" * 1000, flush=False)
    peer.sends("A", data=b"x" * 1000)
    peer.expects("A", ack=2001)
    peer.conn.consume(2000)
    peer.conn.send(b"partial answer")
    peer.conn.abort()
    segments = peer.drain()
    assert [seg.flags for seg in segments] == ["RA"]
    peer.assert_nothing_held()


def test_c14_acknowledgements_between_the_pieces_of_a_long_answer() -> None:
    """A TLS handshake: 3,900 bytes leave while the guest acknowledges and speaks; every number is the newest there is."""
    peer = Peer().connected(options=mss(1460) + scale(7), window=30_000)
    peer.conn.nodelay = True
    peer.sends("A", data=b"ClientHello", window=400)
    hello = bytes(range(195)) * 20
    received, said = bytearray(), 11
    for piece in range(0, 3900, 780):
        peer.conn.send(hello[piece : piece + 780])
        # While ours waits for its turn.
        peer.sends("A", data=b"!", ack=1 + len(received), window=400, flush=False)
        said += 1
        seg = peer.expects("PA", seq=1 + len(received), ack=1 + said)
        received += seg.data
    assert received == hello
    peer.sends("A", ack=3901, window=400)
    peer.silence(until=300 * MS)
    assert peer.conn.recv(100) == b"ClientHello!!!!!"


@pytest.mark.parametrize("mtu", [68, 296, 1500, 9000])
def test_c15_no_frame_above_the_mtu(mtu: int) -> None:
    """Large answers on a device without offload, lossy too; `Pair` looks at every frame on the cable."""
    size = min(100_000, 200 * mtu)
    pair = Pair(b"GET", Random(1).randbytes(size), mtus=(mtu, mtu), faults=Faults(loss=0.03))
    pair.run()
    assert max(len(frame) for frame in pair.wire.frames(to_b=False)) == 14 + mtu


def test_c20_window_of_nothing_then_everything() -> None:
    """A peer that retracts its right edge to zero in the midst of recovery."""
    peer = Peer().connected(options=mss(1000))
    peer.conn.send(bytes(8000))
    peer.drain()
    for _ in range(3):
        peer.sends("A", ack=1)
    peer.expects("A", seq=1)
    peer.sends("A", ack=1001, window=0)
    due = peer.layer.poll_at()
    assert due is not None
    peer.wait(due - peer.start)
    assert len(peer.drain()[-1].data) == 1, "a probe"
    peer.sends("A", ack=1001, window=65535, at=peer.now + MS)
    for _ in range(20):
        for seg in peer.drain():
            peer.sends("A", ack=max(peer.ack, seg.seq + len(seg.data)))
            peer.ack = max(peer.ack, seg.seq + len(seg.data))
    assert peer.conn.snd.snd_una == peer.conn.snd.iss + 8001


def test_c60_nothing_is_kept_of_connections_that_came_and_went() -> None:
    peer = Peer().listens()
    for port in range(20_000, 20_300):
        end = Peer(rig=peer.rig, port=port)
        end.listener = peer.listener
        end.connected()
        end.sends("A", data=b"x" * 700)
        end.conn.send(b"y" * 700)
        end.drain()
        end.sends("R", seq=701)
    peer.assert_nothing_held()
    assert len(peer.layer.work) == 0 or not peer.drain()
