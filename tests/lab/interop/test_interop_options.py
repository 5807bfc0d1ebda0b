"""What the kernel offers or leaves out, agreed with it or done without: time stamps, SACK, D-SACK, window scaling, ECN."""

from __future__ import annotations

import socket
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.bench import Bench, content
from tests.lab.interop.tcp_info import ECN, SACK, TIMESTAMPS, WINDOW_SCALE, tcp_info
from usernat.fuzz.delayline import Distance
from usernat.fuzz.faultylink import Faults
from usernat.links.wrapper import LinkWrapper
from usernat.stack.checksum import checksum
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.ecn import MODES

if TYPE_CHECKING:
    from tests.lab.interop.kernel import Kernel
    from usernat.links.link import Link, Received
    from usernat.stack.device import Frame

SIZE = 150_000
TCP_FASTOPEN_CONNECT = 30  # linux/tcp.h
COOKIE_REQUEST = b"\x22\x02\x01\x01"  # RFC 7413 §4.1.1: kind 34, no cookie, two NOPs
RTO_SECONDS = 0.5  # in which the retransmission timer of either side runs out
NEAR = Distance(delay_us=2_000)  # so that a stream takes its time
ROUGH = Faults(loss=0.02, reordering=0.02)


@pytest.mark.rfc("7323", "2.2-a", "3.2-a", "3.2-f")
@pytest.mark.rfc("2018", "4-a")
@pytest.mark.parametrize("sysctls", range(8))
@pytest.mark.parametrize("role", ["client", "server"])
def test_offers(kernel: Kernel, role: str, sysctls: int) -> None:
    """RFC 7323, RFC 2018: what the kernel does not offer is not used by either side, what it offers is; each of the eight sets."""
    timestamps, sack, scaling = (bool(sysctls >> bit & 1) for bit in range(3))
    kernel.set(
        tcp_timestamps=str(int(timestamps)), tcp_sack=str(int(sack)), tcp_window_scaling=str(int(scaling))
    )
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, ROUGH, offload=False, seed=sysctls) as bench:
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        agreed = tcp_info(pair.theirs.sock).options
        ours = pair.ours.connection
        bench.finish(pair)
    assert agreed & (TIMESTAMPS | SACK | WINDOW_SCALE) == (
        TIMESTAMPS * timestamps | SACK * sack | WINDOW_SCALE * scaling
    )
    assert (ours.timestamps is not None, ours.offer_sack, ours.offer_scale) == (timestamps, sack, scaling)


@pytest.mark.rfc("2883", "4-a", "4-b")
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "bare"])
def test_our_d_sacks_are_understood(kernel: Kernel, offload: bool) -> None:
    """RFC 2883: the kernel, of whose data nothing is lost but all our ACKs of a while, learns from us what it sent again in vain."""
    down = content(3_000_000, "down")
    with Bench(kernel, distance=NEAR, offload=offload) as bench:
        pair = bench.connect(b"", down)
        bench.run(lambda: len(pair.ours.received) > len(down) // 10)
        bench.cut("outward", RTO_SECONDS)
        bench.exchange(pair, b"", down)
        spurious = tcp_info(pair.theirs.sock).dsack_dups
        bench.finish(pair)
    counters = kernel.counters()
    assert spurious > 0, counters
    assert counters["TcpExtTCPDSACKRecv"] > 0
    assert counters["TcpExtTCPDSACKIgnoredDubious"] == 0


@pytest.mark.parametrize("dsack", ["0", "1"])
def test_the_kernel_s_d_sacks(kernel: Kernel, dsack: str) -> None:
    """Our spurious retransmissions do no harm, whether the kernel tells of them or not."""
    kernel.set(tcp_dsack=dsack)
    up = content(3_000_000, "up")
    with Bench(kernel, distance=NEAR) as bench:
        pair = bench.accept(up)
        bench.run(lambda: len(pair.theirs.received) > len(up) // 10)
        bench.cut("inward", RTO_SECONDS)
        bench.exchange(pair, up, b"")
        bench.finish(pair)
    assert (kernel.counters()["TcpExtTCPDSACKOldSent"] > 0) == (dsack == "1")


@pytest.mark.parametrize("timestamps", ["0", "1"])
def test_syn_cookies(kernel: Kernel, timestamps: str) -> None:
    """A kernel under attack keeps nothing of our SYN: without time stamps it forgets that we offered window scaling and SACK."""
    kernel.set(tcp_syncookies="2", tcp_timestamps=timestamps)
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, ROUGH, offload=False) as bench:
        pair = bench.connect(up, down)
        bench.exchange(pair, up, down)
        agreed = tcp_info(pair.theirs.sock).options
        bench.finish(pair)
    assert kernel.counters()["TcpExtSyncookiesRecv"] == 1
    assert bool(agreed & (SACK | WINDOW_SCALE)) == (timestamps == "1")
    assert pair.ours.connection.offer_sack == bool(agreed & SACK)


class Recorder(LinkWrapper):
    """Keeps what came from the kernel."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self.came: list[bytes] = []

    def receive(self, limit: int) -> list[Received]:
        frames = self.inner.receive(limit)
        self.came += [bytes(frame) for frame, _ in frames]
        return frames


@pytest.mark.rfc("9293", "MUST-6")
def test_unknown_options(kernel: Kernel) -> None:
    """TCP Fast Open (RFC 7413): the kernel's SYN asks for a cookie, which we have never heard of."""
    kernel.set(tcp_fastopen="3")
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, wrap=Recorder) as bench:
        pair = bench.accept(
            up,
            down,
            prepare=lambda sock: sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1),
        )
        bench.exchange(pair, up, down)
        bench.finish(pair)
        assert isinstance(bench.link.inner, Recorder)
        assert any(COOKIE_REQUEST in frame for frame in bench.link.inner.came)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting", range(6))
@pytest.mark.parametrize("role", ["client", "server"])
def test_ecn_is_agreed(kernel: Kernel, role: str, setting: int, mode: str) -> None:
    """RFC 3168 §6.1.1: net.ipv4.tcp_ecn (never, asks, answers; then the same for accurate ECN, where the kernel has it) against our setting."""
    if not kernel.takes("tcp_ecn", str(setting)):
        setting %= 3
        kernel.set(tcp_ecn=str(setting))
    up, down = content(10_000, "up"), content(10_000, "down")
    with Bench(kernel, offload=False, tcp=TcpConfig(ecn=mode)) as bench:
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        theirs = bool(tcp_info(pair.theirs.sock).options & ECN)
        bench.finish(pair)
    assert (pair.ours.connection.ecn is not None) == theirs
    we_ask, it_asks = mode == "ask", setting in (1, 3, 4)
    assert theirs == (setting != 0 and we_ask if role == "client" else it_asks and mode != "off")


class Marker(LinkWrapper):
    """A router that marks what is capable of it, one frame in four, instead of dropping it."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self.marked = [0, 0]  # towards us, towards the kernel
        self._random = Random(1).random

    def receive(self, limit: int) -> list[Received]:
        return [(self._mark(bytes(frame), 0), vouched) for frame, vouched in self.inner.receive(limit)]

    def send(self, frames: list[Frame]) -> None:
        for frame in frames:
            frame.parts = [self._mark(bytes(frame), 1)]
        self.inner.send(frames)

    def _mark(self, frame: bytes, way: int) -> bytes:
        """RFC 3168 §5: ECT becomes CE, and the header checksum goes with it (RFC 1624)."""
        if frame[12:14] != b"\x08\x00" or frame[15] & 3 not in (1, 2) or self._random() > 0.25:
            return frame
        self.marked[way] += 1
        spoiled = bytearray(frame)
        spoiled[15] |= 3
        spoiled[24:26] = bytes(2)
        spoiled[24:26] = checksum(spoiled[14:34]).to_bytes(2, "big")
        return bytes(spoiled)


@pytest.mark.parametrize("role", ["client", "server"])
def test_congestion_marks(kernel: Kernel, role: str) -> None:
    """RFC 3168 §6.1.2, §6.1.3: both sides echo the marks that come, and lower cwnd for those that are echoed. Nothing is lost, nothing sent again."""
    kernel.set(tcp_ecn="1")
    up, down = content(4 * SIZE, "up"), content(4 * SIZE, "down")
    with Bench(kernel, distance=NEAR, offload=False, tcp=TcpConfig(ecn="ask"), wrap=Marker) as bench:
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        delivered_marked = tcp_info(pair.theirs.sock).delivered_ce
        bench.finish(pair)
        assert isinstance(bench.link.inner, Marker)
        towards_us, towards_kernel = bench.link.inner.marked
    counters = kernel.counters()
    assert 0 < bench.interface.counters()["tcp.congestion_marks"] <= towards_us
    assert delivered_marked > 0, "the kernel heard our ECE"
    assert 0 < counters["IpExtInCEPkts"] <= towards_kernel
