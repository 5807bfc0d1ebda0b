"""Anything at once: weather, distance, sizes, windows, offers and MTUs drawn at random, and both streams still come through.

A handful of draws in every run, the same ones each time; thousands with `make fuzz`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.lab.interop.bench import Bench, content
from usernat.fuzz.delayline import Distance
from usernat.fuzz.faultylink import Faults
from usernat.stack.l4.tcp.config import TcpConfig

if TYPE_CHECKING:
    from tests.lab.interop.kernel import Kernel

FEW = 12  # draws at least; a tenth of the profile's examples, since these take real time
PATIENCE = 100.0

CHANCE = st.sampled_from([0.0, 0.0, 0.01, 0.05])
SWITCH = st.sampled_from(["0", "1"])


@dataclass(frozen=True)
class Setting:
    """One draw. kernel_buffer: SO_RCVBUF, 0 for the kernel's own choice; pauses: seconds in which neither side reads."""

    role: str
    sizes: tuple[int, int]
    faults: Faults
    distance: Distance | None
    offload: bool
    mtu: int
    our_buffer: int
    kernel_buffer: int
    congestion: str
    sysctls: tuple[tuple[str, str], ...]
    pause: float
    seed: int


SETTINGS = st.builds(
    Setting,
    role=st.sampled_from(["client", "server"]),
    sizes=st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)),
    faults=st.builds(Faults, loss=CHANCE, duplication=CHANCE, reordering=CHANCE),
    distance=st.none()
    | st.builds(
        Distance,
        delay_us=st.integers(0, 50_000),
        jitter_us=st.sampled_from([0, 0, 5_000]),
        bytes_per_second=st.sampled_from([0, 0, 1_000_000]),
        queue=st.sampled_from([30, 1000]),
    ),
    offload=st.booleans(),
    mtu=st.sampled_from([296, 576, 1280, 1500, 1500, 9000]),
    our_buffer=st.sampled_from([2_000, 10_000, 0xFFFF, 1 << 20, 1 << 26]),
    kernel_buffer=st.sampled_from([0, 0, 4_000, 40_000]),
    congestion=st.sampled_from(["cubic", "newreno"]),
    sysctls=st.fixed_dictionaries(
        {
            "tcp_timestamps": SWITCH,
            "tcp_sack": SWITCH,
            "tcp_dsack": SWITCH,
            "tcp_window_scaling": SWITCH,
            "tcp_ecn": SWITCH,
            "tcp_recovery": SWITCH,
        }
    ).map(lambda drawn: tuple(drawn.items())),
    pause=st.sampled_from([0.0, 0.0, 0.3]),
    seed=st.integers(0, 1000),
)


@pytest.mark.timeout(0)
@settings(
    max_examples=max(FEW, settings().max_examples // 10),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(SETTINGS)
def test_anything(kernel: Kernel, setting: Setting) -> None:
    note(str(setting))
    kernel.fresh()
    kernel.set(**dict(setting.sysctls))
    up, down = (content(size, seed) for size, seed in zip(setting.sizes, ("up", "down"), strict=True))

    def prepare(sock: socket.socket) -> None:
        if setting.kernel_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, setting.kernel_buffer)

    with Bench(
        kernel,
        setting.faults,
        distance=setting.distance,
        offload=setting.offload,
        mtu=setting.mtu,
        tcp=TcpConfig(receive_buffer=setting.our_buffer, congestion=setting.congestion),
        seed=setting.seed,
    ) as bench:
        pair = bench.open(setting.role, up, down, prepare=prepare)
        if setting.pause:
            pair.ours.reading = pair.theirs.reading = False
            bench.pause(setting.pause)
            pair.ours.reading = pair.theirs.reading = True
            pair.ours.serve(bench.clock.now())
        bench.exchange(pair, up, down, PATIENCE)
        bench.finish(pair)
