"""One fixture function a state, for tests that go over all of them."""

from __future__ import annotations

from typing import Any

from tests.stack.l4.tcp.peer import Peer


def in_syn_sent(**config: Any) -> Peer:
    return Peer(**config).is_called()


def in_syn_received(**config: Any) -> Peer:
    return Peer(**config).calls()


def in_established(**config: Any) -> Peer:
    return Peer(**config).connected()


def in_fin_wait_1(**config: Any) -> Peer:
    peer = in_established(**config)
    peer.conn.shutdown()
    peer.expects("FA", seq=1)
    return peer


def in_fin_wait_2(**config: Any) -> Peer:
    peer = in_fin_wait_1(**config)
    peer.sends("A", ack=2)
    return peer


def in_close_wait(**config: Any) -> Peer:
    peer = in_established(**config)
    peer.sends("FA")
    peer.expects("A", ack=2)
    return peer


def in_closing(**config: Any) -> Peer:
    peer = in_fin_wait_1(**config)
    peer.sends("FA", ack=1)
    peer.expects("A", seq=2, ack=2)
    return peer


def in_last_ack(**config: Any) -> Peer:
    peer = in_close_wait(**config)
    peer.conn.shutdown()
    peer.expects("FA", seq=1, ack=2)
    return peer


def in_time_wait(**config: Any) -> Peer:
    peer = in_fin_wait_2(**config)
    peer.sends("FA", ack=2)
    peer.expects("A", seq=2, ack=2)
    return peer


STATES = {
    "SYN_SENT": in_syn_sent,
    "SYN_RECEIVED": in_syn_received,
    "ESTABLISHED": in_established,
    "FIN_WAIT_1": in_fin_wait_1,
    "FIN_WAIT_2": in_fin_wait_2,
    "CLOSE_WAIT": in_close_wait,
    "CLOSING": in_closing,
    "LAST_ACK": in_last_ack,
    "TIME_WAIT": in_time_wait,
}
SYNCHRONIZED = {name: make for name, make in STATES.items() if not name.startswith("SYN")}
