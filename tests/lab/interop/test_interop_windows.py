"""Windows of every size and scale between our stack and the kernel's: from one byte to a gigabyte, closed for a while, opened again."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.bench import Bench, content
from tests.lab.interop.tcp_info import tcp_info
from usernat.stack.l4.tcp.config import TcpConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.interop.kernel import Kernel

SIZE = 200_000
SHIFTS = range(15)


def receive_buffer(size: int) -> Callable[[socket.socket], None]:
    """For a kernel socket before it listens or connects; the kernel doubles it, and takes no less than some 2 kB."""
    return lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


@pytest.mark.rfc("7323", "2.2-c", "2.3-b")
@pytest.mark.parametrize("shift", SHIFTS)
def test_our_window_scale(kernel: Kernel, shift: int) -> None:
    """RFC 7323 §2.2, §2.3: each shift that we may announce, which the kernel applies."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, tcp=TcpConfig(receive_buffer=0xFFFF << shift)) as bench:
        pair = bench.open("client" if shift % 2 else "server", up, down)
        bench.exchange(pair, up, down)
        assert tcp_info(pair.theirs.sock).snd_scale == pair.ours.connection.rcv.scale == shift
        bench.finish(pair)


@pytest.mark.rfc("7323", "2.2-c", "2.3-b")
@pytest.mark.parametrize("shift", SHIFTS)
def test_the_kernel_s_window_scale(kernel: Kernel, shift: int) -> None:
    """RFC 7323 §2.2, §2.3: each shift that the kernel may announce (by the largest buffer it could come to), which we apply."""
    kernel.set(tcp_rmem=f"4096 131072 {0x8000 << shift if shift else 6000}")
    up, down = content(SIZE, "up"), content(SIZE, "down")

    def clamp(sock: socket.socket) -> None:
        if shift < 14:  # net.core.rmem_max, which is the whole machine's, would make it larger
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 0x8000 << shift)

    with Bench(kernel) as bench:
        pair = bench.open("server" if shift % 2 else "client", up, down, prepare=clamp)
        bench.exchange(pair, up, down)
        assert tcp_info(pair.theirs.sock).rcv_scale == pair.ours.connection.snd.scale == shift
        bench.finish(pair)


@pytest.mark.rfc("9293", "MUST-38", "MUST-39")
@pytest.mark.parametrize("ours", [1, 50, 536, 1460, 3000, 10_000])
@pytest.mark.parametrize("role", ["client", "server"])
def test_tiny_windows(kernel: Kernel, role: str, ours: int) -> None:
    """Both receivers are small, the kernel's as small as it goes; ours down to one byte."""
    up, down = content(20_000, "up"), content(20_000 if ours >= 50 else 8, "down")
    with Bench(kernel, tcp=TcpConfig(receive_buffer=ours), offload=False) as bench:
        pair = bench.open(role, up, down, prepare=receive_buffer(1))
        bench.exchange(pair, up, down)
        assert tcp_info(pair.theirs.sock).snd_wnd <= ours
        bench.finish(pair)


@pytest.mark.rfc("9293", "MUST-35", "MUST-36", "MUST-37")
def test_we_probe_the_kernel_s_closed_window(kernel: Kernel) -> None:
    """RFC 9293 §3.8.6.1: the kernel's application does not read for a while, and the news that it does again is lost."""
    up = content(500_000, "up")
    with Bench(kernel) as bench:
        pair = bench.connect(up, prepare=receive_buffer(4096))
        pair.theirs.reading = False
        bench.pause(1.0)
        assert bench.interface.counters()["tcp.window_probes"] > 0
        assert len(pair.theirs.received) < len(up)
        pair.theirs.reading = True
        bench.cut("inward", 0.1)
        bench.exchange(pair, up, b"")
        bench.finish(pair)


def test_the_kernel_probes_our_closed_window(kernel: Kernel) -> None:
    """What it probes with is a byte already acknowledged: each probe is answered, none delivered. Our window update is lost."""
    down = content(500_000, "down")
    with Bench(kernel, tcp=TcpConfig(receive_buffer=4096)) as bench:
        pair = bench.accept(b"", down)
        pair.ours.reading = False
        before = len(pair.ours.received)
        bench.pause(1.0)
        assert kernel.counters()["TcpExtTCPWinProbe"] > 0
        assert len(pair.ours.received) == before
        pair.ours.reading = True
        pair.ours.serve(bench.clock.now())
        bench.cut("outward", 0.1)
        bench.exchange(pair, b"", down)
        bench.finish(pair)
