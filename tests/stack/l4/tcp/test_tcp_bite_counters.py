"""Every discard has a name, and every noteworthy event: what is counted for it, to the last counter, each time that it happens.

Each case brings something about twice, once more on the same connection or on a second one where the first does not survive, and tells all
counters that it moves by one. Those of segments that come and go are left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import LINUX_SYN, SECOND, mss, scale, stamps
from tests.stack.l4.tcp.states import (
    in_close_wait,
    in_established,
    in_fin_wait_2,
    in_syn_received,
    in_syn_sent,
    in_time_wait,
)
from tests.stack.packets import GATEWAY, GUEST
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import ACK
from usernat.stack.l4.tcp.reset import MAX_WAITING
from usernat.stack.l4.tcp.time_wait import MAX_REPLIES

if TYPE_CHECKING:
    from collections.abc import Callable

    Setup = Callable[[], Peer]
    Event = Callable[[Peer, int], None]

UNIMPORTANT = {"segments_received", "segments_sent"}


def counters(peer: Peer) -> Counter[str]:
    return Counter(
        {name: value for name, value in asdict(peer.layer.counters).items() if name not in UNIMPORTANT}
    )


def arrives(flags: str, **fields: Any) -> Event:
    """A segment, and the stack's turn. The peer's own numbers stay where they are."""

    def event(peer: Peer, _: int) -> None:
        peer.raw(peer.segment(flags, **fields))
        peer.flush()

    return event


def on_another(opening: Callable[[Peer], object], event: Event) -> Event:
    """The event on a connection that is made for it, beside those that there are."""

    def both(peer: Peer, number: int) -> None:
        other = Peer(rig=peer.rig, port=41_000 + number)
        other.listener = peer.listener
        opening(other)
        event(other, number)

    return both


def deadline(peer: Peer, _: int) -> None:
    """The next timer of a connection fires."""
    timers = [entry.timers.due() for entry in peer.layer.table.values() if isinstance(entry, Connection)]
    peer.wait(min(due for due in timers if due is not None) - peer.start)


def listening(**options: Any) -> Setup:
    return lambda: Peer(**options).listens()


def held() -> Peer:
    peer = Peer().listens(hold=True)
    peer.sends("S")
    return peer


def stamped() -> Peer:
    return Peer().connected(options=LINUX_SYN)


def stamped_time_wait() -> Peer:
    peer = stamped()
    finish(peer)
    return peer


def finish(peer: Peer) -> None:
    """From ESTABLISHED to TIME-WAIT."""
    peer.conn.shutdown()
    peer.expects("FA")
    peer.sends("FA", ack=2)
    peer.drain()


def sending() -> Peer:
    """Three segments are out."""
    peer = Peer(user_timeout_us=None).connected(options=mss(1000))
    peer.conn.send(bytes(3000))
    peer.drain()
    return peer


def after(setup: Setup, event: Event, times: int) -> Setup:
    """As after so many of these."""

    def prepared() -> Peer:
        peer = setup()
        for number in range(times):
            event(peer, number)
        peer.drain()
        return peer

    return prepared


def with_a_full_queue_of_replies() -> Peer:
    peer = Peer().listens()
    for _ in range(MAX_WAITING):
        reply(peer, 0)
    return peer


def reply(peer: Peer, _: int) -> None:
    peer.layer.reply((GUEST, 1, GATEWAY, 2), 0, 0, ACK, 0, None)


def shut_window() -> Peer:
    peer = Peer(user_timeout_us=None).connected(window=0)
    peer.conn.send(b"xyz")
    peer.drain()
    return peer


def kept_alive() -> Peer:
    peer = in_established()
    peer.conn.keep_alive(True, idle_us=SECOND)
    peer.drain()
    return peer


def about(seq: int, port: int | None = None) -> Event:
    """An ICMP error, network unreachable, about a segment of this number."""

    def event(peer: Peer, _: int) -> None:
        port_before = peer.port
        peer.port = port or peer.port
        quoted = peer.quote(seq)
        peer.port = port_before
        peer.icmp(3, 0, quoted)

    return event


def closed(peer: Peer) -> None:
    peer.connected()
    peer.conn.close()
    peer.expects("FA")


def called(peer: Peer) -> None:
    peer.stack_port = 49_152 + peer.port - 40_000
    peer.conn = peer.layer.connect(GUEST, peer.port, local_port=peer.stack_port)
    peer.expects("S")


def forgotten(peer: Peer) -> None:
    """Closed both ways by us, and the peer has not answered our FIN with its own."""
    closed(peer)
    peer.sends("A", ack=2)


FAR = 70_000  # beyond any window here

CASES: dict[str, tuple[Setup, Event, list[str]]] = {
    # CLOSED
    "CLOSED, SYN": (Peer, arrives("S"), ["resets_sent"]),
    "CLOSED, ACK": (Peer, arrives("A", ack=9), ["resets_sent"]),
    "CLOSED, RST": (Peer, arrives("R"), ["stray_reset"]),
    "CLOSED, too many": (after(Peer, arrives("S"), 200), arrives("S"), ["resets_limited"]),
    "too many replies": (with_a_full_queue_of_replies, reply, ["replies_dropped"]),
    # LISTEN
    "LISTEN, RST": (listening(), arrives("R"), ["stray_reset"]),
    "LISTEN, ACK": (listening(), arrives("A", ack=9), ["resets_sent"]),
    "LISTEN, SYN,RST": (listening(), arrives("SR"), ["stray_reset"]),
    "LISTEN, SYN,ACK": (listening(), arrives("SA", ack=9), ["resets_sent"]),
    "LISTEN, FIN": (listening(), arrives("F"), ["no_syn"]),
    "LISTEN, no backlog": (lambda: Peer().listens(backlog=0), arrives("S"), ["backlog_full"]),
    "LISTEN, no room": (
        lambda: Peer(max_connections=1).connected(),
        on_another(lambda _: None, arrives("S")),
        ["table_full"],
    ),
    "LISTEN, too many half open": (
        lambda: Peer(max_half_open=1).calls(),
        on_another(lambda _: None, arrives("S")),
        ["half_open_evicted"],
    ),
    "LISTEN, scale of fifteen": (
        listening(),
        on_another(lambda _: None, arrives("S", options=scale(15))),
        ["malformed_options"],
    ),
    "held, SYN again": (held, arrives("S", seq=0), ["duplicate_syn"]),
    "held, RST": (held, on_another(lambda peer: peer.sends("S"), arrives("R", seq=0)), ["resets_received"]),
    "held, RST of the next number": (
        held,
        on_another(lambda peer: peer.sends("S"), arrives("R", seq=1)),
        ["resets_received"],
    ),
    "held, any RST": (held, arrives("R", seq=2), ["blind_reset"]),
    "held, ACK": (held, arrives("A", ack=9), ["resets_sent"]),
    "held, nothing": (held, arrives("F"), []),
    # SYN-SENT
    "SYN-SENT, wrong ACK": (in_syn_sent, arrives("A", ack=9), ["bad_ack", "resets_sent"]),
    "SYN-SENT, old ACK": (in_syn_sent, arrives("A", ack=0), ["bad_ack", "resets_sent"]),
    "SYN-SENT, wrong RST,ACK": (in_syn_sent, arrives("RA", ack=9), ["bad_ack", "stray_reset"]),
    "SYN-SENT, RST": (in_syn_sent, arrives("R"), ["blind_reset"]),
    "SYN-SENT, no SYN": (in_syn_sent, arrives("A", ack=1), ["no_syn"]),
    "SYN-SENT, refused": (in_syn_sent, on_another(called, arrives("RA", ack=1)), ["resets_received"]),
    "SYN-SENT, nothing": (
        lambda: Peer(syn_timeout_us=600 * SECOND).is_called(),
        deadline,
        ["retransmit_timeouts", "retransmissions"],
    ),
    # SYN-RECEIVED
    "SYN-RECEIVED, SYN again": (
        in_syn_received,
        arrives("S", seq=0),
        ["duplicate_syn", "retransmissions"],
    ),
    "SYN-RECEIVED, wrong ACK": (in_syn_received, arrives("A", seq=1, ack=9), ["bad_ack", "resets_sent"]),
    "SYN-RECEIVED, old ACK": (in_syn_received, arrives("A", seq=1, ack=0), ["bad_ack", "resets_sent"]),
    "SYN-RECEIVED, another SYN": (
        in_syn_received,
        on_another(Peer.calls, arrives("S", seq=5)),
        ["blind_syn"],
    ),
    "SYN-RECEIVED, RST": (
        in_syn_received,
        on_another(Peer.calls, arrives("R", seq=1)),
        ["resets_received"],
    ),
    # ESTABLISHED
    "text beyond": (in_established, arrives("A", seq=FAR, data=b"x"), ["out_of_window"]),
    "ACK from beyond": (in_established, arrives("A", seq=FAR), ["out_of_window", "challenge_acks"]),
    "RST from beyond": (in_established, arrives("R", seq=FAR), ["blind_reset"]),
    "RST in the window": (in_established, arrives("R", seq=9), ["blind_reset", "challenge_acks"]),
    "RST": (in_established, on_another(Peer.connected, arrives("R", seq=1)), ["resets_received"]),
    "SYN in the window": (in_established, arrives("S", seq=9), ["blind_syn", "challenge_acks"]),
    "no ACK": (in_established, arrives("", data=b"x"), ["no_ack"]),
    "ACK of what was not sent": (in_established, arrives("A", ack=9), ["bad_ack", "challenge_acks"]),
    "ACK from long ago": (in_established, arrives("A", ack=-70_000), ["bad_ack", "challenge_acks"]),
    "too many challenges": (
        after(in_established, arrives("R", seq=9), 10),
        arrives("R", seq=9),
        ["blind_reset", "challenge_acks_throttled"],
    ),
    "urgent": (in_established, lambda peer, _: peer.sends("UA", data=b"x", urgent=5), ["urgent"]),
    "no time stamp": (stamped, arrives("A", options=b"", data=b"x"), ["missing_timestamps"]),
    "old time stamp": (stamped, arrives("A", options=stamps(999), data=b"x"), ["paws"]),
    "old time stamp, no text": (stamped, arrives("A", options=stamps(999)), ["paws", "challenge_acks"]),
    "repeated ACK": (sending, arrives("A", ack=1), ["duplicate_acks"]),
    "nothing comes": (sending, deadline, ["retransmit_timeouts", "retransmissions"]),
    "shut window": (after(shut_window, deadline, 1), deadline, ["window_probes", "retransmissions"]),
    "silence": (kept_alive, deadline, ["keepalive_probes"]),
    "ICMP": (sending, about(1), ["icmp_errors"]),
    "ICMP of before": (sending, about(0), ["icmp_not_in_flight"]),
    "ICMP of what was not sent": (sending, about(3001), ["icmp_not_in_flight"]),
    "ICMP about nobody": (sending, about(1, port=9), ["icmp_unknown"]),
    # and on
    "CLOSE-WAIT, text": (in_close_wait, arrives("A", data=b"x"), ["text_after_fin"]),
    "text after close": (
        in_established,
        on_another(closed, arrives("A", data=b"x")),
        ["text_after_close", "resets_sent"],
    ),
    "FIN-WAIT-2 for long": (
        in_fin_wait_2,
        on_another(forgotten, deadline),
        ["fin_wait_2_timeouts"],
    ),
    # TIME-WAIT; the peer's FIN was 1
    "TIME-WAIT, RST": (
        in_time_wait,
        on_another(lambda peer: finish(peer.connected()), arrives("R", seq=2)),
        ["resets_received"],
    ),
    "TIME-WAIT, RST in the window": (in_time_wait, arrives("R", seq=9), ["blind_reset"]),
    "TIME-WAIT, RST from beyond": (in_time_wait, arrives("R", seq=FAR), ["blind_reset"]),
    "TIME-WAIT, old SYN": (in_time_wait, arrives("S", seq=0), ["blind_syn"]),
    "TIME-WAIT, SYN,ACK": (in_time_wait, arrives("SA", seq=9), ["blind_syn"]),
    "TIME-WAIT, new SYN": (
        in_time_wait,
        on_another(lambda peer: finish(peer.connected()), arrives("S", seq=9)),
        ["time_wait_reused"],
    ),
    "TIME-WAIT, no ACK": (in_time_wait, arrives(""), ["no_ack"]),
    "TIME-WAIT, ACK": (in_time_wait, arrives("A"), []),
    "TIME-WAIT, text": (in_time_wait, arrives("A", data=b"x"), ["text_after_fin"]),
    "TIME-WAIT, ACK from ahead": (in_time_wait, arrives("A", seq=9), ["text_after_fin"]),
    "TIME-WAIT, old text": (in_time_wait, arrives("A", seq=0, data=b"x"), ["out_of_window"]),
    "TIME-WAIT, FIN again": (in_time_wait, arrives("FA", seq=1), []),
    "TIME-WAIT, too often": (
        after(in_time_wait, arrives("A", seq=0, data=b"x"), MAX_REPLIES - 1),
        arrives("A", seq=0, data=b"x"),
        ["out_of_window", "challenge_acks_throttled"],
    ),
    "TIME-WAIT, no time stamp": (
        stamped_time_wait,
        arrives("A", options=b"", data=b"x"),
        ["missing_timestamps"],
    ),
    "TIME-WAIT, old time stamp": (stamped_time_wait, arrives("A", options=stamps(999), data=b"x"), ["paws"]),
    "too many in TIME-WAIT": (
        lambda: in_time_wait(max_time_wait=1),
        on_another(Peer.connected, lambda peer, _: finish(peer)),
        ["time_wait_evicted"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_counted_once_each_time(case: str) -> None:
    setup, event, names = CASES[case]
    peer = setup()
    for number in range(2):
        before = counters(peer)
        event(peer, number)
        assert counters(peer) - before == Counter(names)
        assert not before - counters(peer), "nothing is counted down"
