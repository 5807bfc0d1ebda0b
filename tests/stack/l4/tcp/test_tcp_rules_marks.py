"""A whole conversation with congestion marks (RFC 9293 §3.8.2); `test_tcp_ecn.py` has RFC 3168 rule by rule. In flags, E is ECE and W is CWR."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import mss
from usernat.stack.l3.ipv4_header import CE, ECT_0

SIZE = 1000


@pytest.mark.rfc("9293", "SHLD-8")
@pytest.mark.parametrize("agreed", [True, False])
def test_marks_both_ways(agreed: bool) -> None:
    """Agreed on in the SYNs: what we send may be marked, a mark that comes is echoed, an echo lowers cwnd, and we say so. Else nothing of it."""
    peer = Peer(congestion="newreno").listens()
    peer.sends("SEW" if agreed else "S", options=mss(SIZE))
    peer.expects("SAE" if agreed else "SA")
    peer.ack = 1
    peer.sends("A")
    conn = peer.listener.accept()
    assert conn is not None
    peer.conn = conn  # type: ignore[assignment] # a connection, as nobody holds calls here
    peer.sends("A", data=b"x" * SIZE, tos=CE)
    peer.sends("A", data=b"x" * SIZE, tos=ECT_0)
    assert ("E" in peer.drain()[-1].flags) is agreed
    peer.conn.send(bytes(30 * SIZE))
    first = peer.drain()
    assert {seg.tos for seg in first} == {ECT_0 if agreed else 0}
    cwnd = peer.conn.snd.cc.cwnd
    peer.sends("AE", ack=1 + SIZE)
    assert (peer.conn.snd.cc.cwnd < cwnd) is agreed
    for _ in range(40):
        if not (more := peer.drain()):
            peer.sends("A", ack=first[-1].seq + SIZE)
            continue
        if any("W" in seg.flags for seg in more) or not agreed:
            break
    assert any("W" in seg.flags for seg in more) is agreed
