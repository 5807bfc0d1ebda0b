"""Bad weather between our stack and the kernel's: whatever is lost, doubled, late or far away, both streams come through, both ways."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.bench import Bench, content
from usernat.fuzz.delayline import Distance
from usernat.fuzz.faultylink import Faults
from usernat.links.wrapper import LinkWrapper

if TYPE_CHECKING:
    from tests.lab.interop.kernel import Kernel
    from usernat.links.link import Link, Received
    from usernat.stack.device import Frame

ETHERTYPE_IPV4 = b"\x08\x00"
TCP_AT = 34  # offset in a frame
FAR = Distance(delay_us=100_000)  # a round trip of 200 ms
NARROW = Distance(delay_us=10_000, bytes_per_second=1_500_000, queue=40)  # a queue that overflows
UNEVEN = Distance(delay_us=2_000, jitter_us=8_000)


def exchange(
    kernel: Kernel, role: str, size: int, faults: Faults, distance: Distance | None = None, *, offload: bool
) -> Bench:
    """A stream of size bytes each way to the clean end; the bench, for its counters."""
    up, down = content(size, "up"), content(size, "down")
    with Bench(kernel, faults, distance=distance, offload=offload) as bench:
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        bench.finish(pair)
    return bench


@pytest.fixture(params=["offload", "bare"])
def offload(request: pytest.FixtureRequest) -> bool:
    """Whether segments of 64 KiB pass whole, for the devices to cut."""
    return bool(request.param == "offload")


@pytest.fixture(params=["client", "server"])
def role(request: pytest.FixtureRequest) -> str:
    """Ours."""
    return str(request.param)


@pytest.mark.parametrize("loss", [0, 1, 3, 5, 10])
def test_loss(kernel: Kernel, role: str, offload: bool, loss: int) -> None:
    size = (8_000_000 if offload else 1_500_000) // (1 + loss)
    bench = exchange(kernel, role, size, Faults(loss=loss / 100), offload=offload)
    if loss >= 3 and not offload:
        assert kernel.counters()["TcpExtTCPSackRecovery"] > 0, "by our SACKs it knew what to send again"
        assert bench.interface.counters()["tcp.retransmissions"] > 0


def test_duplication(kernel: Kernel, role: str, offload: bool) -> None:
    """Each duplicate of a kernel's segment draws a D-SACK (RFC 2883), which the kernel understands: it knows that it did not send it twice."""
    exchange(kernel, role, 500_000, Faults(duplication=0.3), offload=offload)
    counters = kernel.counters()
    assert counters["TcpExtTCPDSACKRecv"] > 0, counters
    assert counters["TcpExtTCPDSACKOldSent"] > 0, "the kernel saw our duplicates"


def test_reordering(kernel: Kernel, role: str, offload: bool) -> None:
    exchange(kernel, role, 500_000, Faults(reordering=0.2), offload=offload)
    assert kernel.counters()["TcpExtTCPOFOQueue"] > 0


def test_all_at_once(kernel: Kernel, role: str, offload: bool) -> None:
    exchange(kernel, role, 200_000, Faults(loss=0.03, duplication=0.05, reordering=0.1), offload=offload)


@pytest.mark.parametrize(("ours", "loss"), [("client", 0), ("server", 2)])
def test_round_trip_of_200_ms(kernel: Kernel, ours: str, loss: int) -> None:
    exchange(kernel, ours, 200_000, Faults(loss=loss / 100), FAR, offload=False)


def test_a_queue_that_overflows(kernel: Kernel, role: str) -> None:
    bench = exchange(kernel, role, 1_000_000, Faults(), NARROW, offload=False)
    assert bench.link.dropped > 0


def test_jitter(kernel: Kernel, role: str) -> None:
    """Frames overtake each other all the time, none is lost: the kernel's sender learns it from our SACKs."""
    exchange(kernel, role, 300_000, Faults(), UNEVEN, offload=False)
    counters = kernel.counters()
    assert counters["TcpExtTCPOFOQueue"] > 0
    assert counters["TcpExtTCPSACKReorder"] > 0


class Damage(LinkWrapper):
    """Turns a bit over in one TCP segment of ten, both ways."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self._rng = Random(4)

    def receive(self, limit: int) -> list[Received]:
        return [(self._damaged(bytes(frame)), vouched) for frame, vouched in self.inner.receive(limit)]

    def send(self, frames: list[Frame]) -> None:
        for frame in frames:
            frame.parts = [self._damaged(bytes(frame))]
        self.inner.send(frames)

    def _damaged(self, frame: bytes) -> bytes:
        if frame[12:14] != ETHERTYPE_IPV4 or self._rng.random() > 0.1:
            return frame
        bit = self._rng.randrange(8 * TCP_AT, 8 * len(frame))
        spoiled = bytearray(frame)
        spoiled[bit >> 3] ^= 1 << (bit & 7)
        return bytes(spoiled)


@pytest.mark.rfc("9293", "MUST-2", "MUST-3")
def test_damage(kernel: Kernel, role: str) -> None:
    """RFC 9293 §3.1: each side's checksums show the other what was damaged, and nothing of it is taken."""
    up, down = content(200_000, "up"), content(200_000, "down")
    with Bench(kernel, offload=False, wrap=Damage) as bench:
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        bench.clock.kernel_ends.clear()
        pair.theirs.close()
        pair.ours.close()
        bench.settle()
    assert bench.interface.counters()["tcp.bad_checksum"] > 0
    assert kernel.counters()["TcpInCsumErrors"] > 0
