"""Two stacks over a cable that loses, doubles, delays and spoils frames: the stream arrives whole, then its end, and nothing is held.

What is checked on the way, of every frame on the cable, is told in `fuzz/machines/tcp_observer.py`; `poll_at` is held to its word in `pair.py`.
Here are the classic cases, one by one; `test_tcp_weather.py` draws all of them together.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.wire import SECOND, Faults
from tests.stack.l4.tcp.pair import Pair


@pytest.mark.parametrize("size", [0, 1, 1448, 1449, 300_000])
def test_quiet_cable(size: int) -> None:
    pair = Pair(Random(1).randbytes(size), Random(2).randbytes(size // 2))
    pair.run()
    for side in (pair.a, pair.b):
        assert side.tcp.counters.retransmissions == 0


def test_offload_carries_more() -> None:
    pair = Pair(Random(1).randbytes(8_000_000), b"", offload=True)
    pair.run()
    assert max(len(frame) for frame in pair.wire.frames(to_b=True)) > 30_000


@pytest.mark.parametrize("congestion", ["cubic", "newreno"])
@pytest.mark.parametrize("seed", range(4))
def test_c02_lossy_cable(seed: int, congestion: str) -> None:
    """5 % at random."""
    faults = Faults(loss=0.05)
    Pair(
        Random(seed).randbytes(200_000),
        Random(~seed).randbytes(100_000),
        seed=seed,
        faults=faults,
        config={"congestion": congestion},
    ).run()


@pytest.mark.parametrize("lost", range(24))
def test_c02_any_single_frame_lost(lost: int) -> None:
    """Towards the client, one frame by number: SYN,ACK, data, FIN, ACKs."""
    count = iter(range(10_000))

    def lose(frame: bytes, to_b: bool) -> bool:
        return not to_b and frame[23] == 6 and next(count) == lost

    Pair(b"request", Random(1).randbytes(20_000), lose=lose).run()


def test_without_sack_and_timestamps() -> None:
    """A cable that strips the options off every SYN: NewReno has to do."""
    Pair(Random(3).randbytes(150_000), b"", seed=3, faults=Faults(loss=0.04), strip=(3, 4, 8)).run()


def test_c25_both_directions_full() -> None:
    """Both ends write 1 MB before they read."""
    pair = Pair(bytes(1_000_000), bytes(1_000_000), config={"send_buffer": 1 << 21, "receive_buffer": 60_000})
    pair.client.reading_from = pair.server.reading_from = pair.wire.clock.now + 20 * SECOND
    pair.run()


def test_c06_half_close_and_then_the_reply() -> None:
    """1 MB after the client has finished; and the mirror case."""
    pair = Pair(b"GET", Random(1).randbytes(1_000_000))
    pair.run()
    mirror = Pair(Random(1).randbytes(1_000_000), b"220 hello")
    mirror.run()


def test_c07_fin_counts() -> None:
    """After a download both ends end: TIME-WAIT on one side, CLOSED at last on both, never stuck in LAST-ACK."""
    pair = Pair(b"", bytes(100_000))
    pair.run()
    assert pair.wire.clock.now < 100 * SECOND
