"""What the properties have found, each as small as it gets."""

from __future__ import annotations

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.states import in_established, in_time_wait
from usernat.stack.l4.tcp.state import State


@pytest.mark.rfc("5961", "3.2-b")
@pytest.mark.parametrize("flags", ["SR", "SRA"])
def test_a_reset_that_is_also_a_syn_is_held_to_its_number(flags: str) -> None:
    """In SYN-RECEIVED the SYN's own number, one before RCV.NXT, is out of the window for a RST, with or without SYN."""
    peer = Peer().calls()
    peer.sends(flags, seq=0, ack=1)
    peer.silence()
    peer.assert_state(State.SYN_RECEIVED)


@pytest.mark.rfc("9293", "3.10.7.3-c")
def test_an_urgent_pointer_on_the_syn_ack_counts() -> None:
    """§3.10.7.3 goes on at the sixth step of §3.10.7.4, where URG is checked."""
    peer = Peer().is_called()
    peer.sends("SAU", data=b"!", urgent=2)
    peer.expects("A", ack=2)
    assert peer.conn.urgent_remaining == 2


@pytest.mark.rfc("5681", "3.2-a")
def test_a_fin_sent_again_ahead_of_a_gap_is_answered_again() -> None:
    """As any segment ahead of a gap, so that the peer learns of the loss."""
    peer = in_established()
    for _ in range(3):
        peer.sends("FA", seq=11)
        peer.expects("A", ack=1)


@pytest.mark.rfc("5961", "3.2-d", "3.2-f")
def test_an_inexact_reset_in_time_wait_is_challenged() -> None:
    peer = in_time_wait()
    peer.sends("RA", seq=3, ack=2)
    peer.expects("A", seq=2, ack=2)
    assert peer.layer.report()["time_wait"] == 1


@pytest.mark.rfc("9293", "3.10.7.4-b")
def test_what_is_out_of_the_window_in_time_wait_is_acknowledged_even_without_ack() -> None:
    """The sequence number is looked at before the ACK bit."""
    peer = in_time_wait()
    peer.sends("F", seq=1)
    peer.expects("A", seq=2, ack=2)


@pytest.mark.rfc("7323", "5.3-a")
def test_an_old_time_stamp_in_time_wait_is_acknowledged() -> None:
    """PAWS drops the segment and says so."""
    peer = Peer().connected(options=b"\x01\x01\x08\x0a\0\0\x10\0\0\0\0\0")
    peer.conn.shutdown()
    peer.expects("FA", seq=1)
    peer.sends("A", ack=2)
    peer.sends("FA", ack=2)
    peer.expects("A", ack=2)
    peer.tsval = 0xFFF
    peer.sends("A", seq=2, ack=2)
    peer.expects("A", seq=2, ack=2)


def test_reading_nothing_is_no_news_for_the_peer() -> None:
    """With a buffer of one byte, half of which is nothing, each `recv` that read nothing sent a window update."""
    peer = in_established(receive_buffer=1)
    assert peer.conn.recv(100) == b""
    peer.silence()
