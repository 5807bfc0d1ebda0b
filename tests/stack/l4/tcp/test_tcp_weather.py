"""Any two applications over any cable.

Hypothesis draws what both ends do and when, what the cable does to frames, how large everything is, which options arrive, and where the numbers
start. Whatever it draws: what an application hears is the beginning of what the other said, and all of it where nobody gave up; both
ends reach CLOSED; nothing is held afterwards; and the observer on the wire has nothing to say.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.wire import MS, SECOND, Faults
from tests.stack.l4.tcp.pair import LIMIT, End, Pair, Script
from usernat.stack.l4.tcp.ecn import ANSWER, ASK, MODES, OFF
from usernat.stack.l4.tcp.state import TcpError

NEAR_THE_WRAP = [0, 1, 0xFFFFFFFF, 0xFFFFFFF0, 0xFFFFF000, 0x7FFFFFFF, 0x80000000 - 5000, 12345]
SIZES = [1, 2, 100, 535, 536, 537, 1448, 1460, 4000, 30_000]
OPTIONS = [(), (4,), (8,), (3,), (2,), (4, 8), (3, 4, 8), (2, 3, 4, 8)]  # those that a middlebox strips

steps = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(SIZES)),
    st.tuples(st.just("read"), st.sampled_from(SIZES)),
    st.tuples(st.just("wait"), st.sampled_from([1, MS, 39 * MS, 40 * MS, 200 * MS, SECOND, 20 * SECOND])),
    st.tuples(st.just("shutdown"), st.just(0)),
    st.tuples(st.just("mtu"), st.sampled_from([1400, 1006, 576])),
)
last_steps = st.sampled_from([None, None, None, ("close", 0), ("abort", 0)])


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """What one end does before it says, and hears, all the rest; or gives up."""
    script = draw(st.lists(steps, max_size=8))
    last = draw(last_steps)
    return script if last is None else [*script, last]


@st.composite
def cables(draw: st.DrawFn) -> dict[str, Any]:
    """Faults, delay and the size of frames."""
    faults = Faults(
        loss=draw(st.sampled_from([0, 0, 0.01, 0.05, 0.12])),
        duplicate=draw(st.sampled_from([0, 0, 0.1])),
        reorder=draw(st.sampled_from([0, 0, 0.05, 0.2])),
        corrupt=draw(st.sampled_from([0, 0, 0.05])),
        mark=draw(st.sampled_from([0, 0.02, 0.2, 1])),
        late_us=draw(st.sampled_from([MS, 5 * MS, 300 * MS])),
    )
    strip = draw(st.sampled_from(OPTIONS))
    mtu = draw(st.sampled_from([296, 576, 1500, 9000]))
    mtus = (mtu, draw(st.sampled_from([mtu, 1500])))
    if 2 in strip:
        # Without MSS nobody knows of the other's narrower link, and nothing on a cable says so.
        mtus = (mtu, mtu)
    return {
        "faults": faults,
        "delay_us": draw(st.sampled_from([0, 100, 5 * MS, 100 * MS])),
        "mtus": mtus,
        "offload": draw(st.sampled_from([False, False, True])),
        "strip": strip,
        "ecn": draw(st.tuples(st.sampled_from([ASK, ASK, ANSWER, OFF]), st.sampled_from(MODES))),
    }


configs = st.fixed_dictionaries(
    {
        "receive_buffer": st.sampled_from([1, 700, 5000, 65535, 1 << 20]),
        "send_buffer": st.sampled_from([500, 10_000, 1 << 20]),
        "congestion": st.sampled_from(["cubic", "newreno"]),
    }
)


@pytest.mark.rfc("9293", "3.4-a", "3.10.7.4-q", "SHLD-14", "MUST-16")
@settings(max_examples=settings().max_examples * 5)
@given(
    seed=st.integers(0, 1 << 30),
    sizes=st.tuples(st.integers(0, 30_000), st.integers(0, 30_000)),
    isns=st.tuples(st.sampled_from(NEAR_THE_WRAP), st.sampled_from(NEAR_THE_WRAP)),
    lives=st.tuples(scripts(), scripts()),
    cable=cables(),
    config=configs,
)
def test_any_two_lives(
    seed: int,
    sizes: tuple[int, int],
    isns: tuple[int, int],
    lives: tuple[Script, Script],
    cable: dict[str, Any],
    config: dict[str, Any],
) -> None:
    """Byte-exact, then the end, then nothing left."""
    if config["receive_buffer"] == 1:
        sizes = (sizes[0] % 100, sizes[1] % 100)  # an octet a round trip
    if cable["offload"]:
        lives = tuple([step for step in life if step[0] != "mtu"] for life in lives)  # type: ignore[assignment] # two of them
    rng = Random(seed)
    pair = Pair(
        rng.randbytes(sizes[0]),
        rng.randbytes(sizes[1]),
        seed=seed,
        isns=isns,
        scripts=lives,
        config=config,
        **cable,
    )
    assert pair.client.conn is not None
    pair.client.conn.keep_alive(True, idle_us=30 * SECOND)  # a RST that was lost leaves the other end alone
    over = pair.wire.run_for(LIMIT, lambda: finished(pair))
    assert over, (pair.client, pair.server)
    for end in (pair.client, pair.server):
        if end.conn is not None and not end.gave_up:
            end.heard += end.conn.recv(1 << 30)
    check_end(pair.client, pair.server)
    check_end(pair.server, pair.client)
    pair.listener.close()  # an old SYN, come late, may have opened a call that nobody will complete
    pair.wire.run_for(400 * SECOND)
    pair.check_nothing_held()


def finished(pair: Pair) -> bool:
    """Both ends are CLOSED, or one is and the other never came to be."""
    client, server = pair.client.conn, pair.server.conn
    assert client is not None
    if server is None:
        return client.closed and (client.error is not None or pair.client.gave_up)
    if not server.keepalive:
        server.keep_alive(True, idle_us=30 * SECOND)
    return client.closed and server.closed


def check_end(end: End, other: End) -> None:
    """What it has heard of the other."""
    assert other.said.startswith(end.heard)
    if end.conn is None or end.gave_up:
        return
    if end.conn.error is None:
        assert end.heard == other.said, "a clean end, and not all of it"
        assert end.conn.at_eof
    else:
        # A reset follows on somebody's giving up, or hits a LAST-ACK whose peer has left TIME-WAIT meanwhile.
        whole = end.heard == other.said and end.conn.rcv.finished
        assert other.gave_up or whole or end.conn.error in (TcpError.TIMED_OUT, TcpError.UNREACHABLE), (
            end.conn.error
        )
