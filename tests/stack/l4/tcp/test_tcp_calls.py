"""Every call of the user in every state (RFC 9293 §3.10.1 to §3.10.6), held against the model.

OPEN is `connect`, SEND `send`, RECEIVE `recv`, CLOSE `shutdown` or `close`, ABORT `abort`, STATUS `state`. In CLOSED and LISTEN there is no
connection to call; the calls after a connection has ended are tried on the one that has.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stack.l4.tcp.in_step import MASK, WINDOW, Bench, InStep
from tests.stack.l4.tcp.test_tcp_product import BUFFER, SETUPS, start
from tests.stack.packets import GUEST
from usernat.fuzz.machines.frame_check import ACK, FIN, RST
from usernat.fuzz.machines.tcp_tcb import Segment, State

Call = Callable[[InStep], object]

CALLS: dict[str, Call] = {
    "SEND": lambda step: step.sends(b"more"),
    "SEND nothing": lambda step: step.sends(b""),
    "RECEIVE": lambda step: step.reads(100),
    "RECEIVE one": lambda step: step.reads(1),
    "CLOSE": InStep.shuts_down,
    "CLOSE for good": InStep.closes,
    "ABORT": InStep.aborts,
}
CONNECTED = [name for name, (_, _, state) in SETUPS.items() if state not in (State.CLOSED, State.LISTEN)]


def ended(bench: Bench) -> InStep:
    """A connection that the peer has reset."""
    step = start(bench, "ESTABLISHED")
    step.arrives(Segment(RST, step.tcb.rcv_nxt))
    return step


@pytest.mark.rfc("9293", "SHLD-3", "3.10.7.4-l")
@pytest.mark.parametrize("second", [None, *CALLS])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", CONNECTED)
def test_every_call_in_every_state(name: str, call: str, second: str | None) -> None:
    """And every call after every other; then the peer acknowledges everything and ends, too, and the tables are empty."""
    bench = Bench(BUFFER)
    step = start(bench, name)
    CALLS[call](step)
    if second is not None:
        CALLS[second](step)
    for _ in range(3):
        step.settle()
        tcb = step.tcb
        if tcb.state in (State.CLOSED, State.LISTEN):
            break
        fin = FIN if tcb.state is not State.SYN_SENT and tcb.rcv_wnd() else 0
        step.arrives(Segment(ACK | fin, tcb.rcv_nxt, tcb.snd_nxt, WINDOW))
    step.drops()
    assert step.conn is not None
    step.conn.close()
    report = bench.layer.report()
    assert report == dict.fromkeys(report, 0)


@pytest.mark.parametrize("call", CALLS)
def test_every_call_after_the_end(call: str) -> None:
    """They change nothing, and what had not been read of a reset connection is gone."""
    bench = Bench(BUFFER)
    step = ended(bench)
    assert step.conn is not None
    CALLS[call](step)
    assert step.conn.recv(100) == b""
    assert not step.conn.at_eof
    assert step.conn.closed


@pytest.mark.parametrize("name", SETUPS)
def test_open_in_every_state(name: str) -> None:
    """§3.10.1: "connection already exists", but in CLOSED, LISTEN (where the listener stays) and TIME-WAIT, which it takes over."""
    step = start(Bench(BUFFER), name)
    free = SETUPS[name][2] in (State.CLOSED, State.LISTEN, State.TIME_WAIT)
    try:
        step.layer.connect(GUEST, step.port, local_port=step.local_port)
    except ValueError:
        assert not free
    else:
        assert free
        assert any(seg.flags == 2 for _, seg in step.bench.sent())


@pytest.mark.parametrize("name", CONNECTED)
def test_status_in_every_state(name: str) -> None:
    """§3.10.6: the state, both ends, and what is queued either way."""
    step = start(Bench(BUFFER), name)
    conn, tcb = step.conn, step.tcb
    assert conn is not None
    assert conn.state.name == tcb.state.name
    assert (conn.remote, conn.remote_port, conn.local_port) == (GUEST, step.port, step.local_port)
    assert conn.established == (State.ESTABLISHED <= tcb.state < State.TIME_WAIT)
    assert conn.closed == (tcb.state is State.TIME_WAIT)
    assert conn.readable == len(tcb.delivered) - step.taken
    if not conn.closed:
        done = (tcb.snd_una - tcb.iss - 1 & MASK) % MASK  # -1 before our SYN is acknowledged
        assert conn.unacknowledged == max(0, len(tcb.stream) - done)
