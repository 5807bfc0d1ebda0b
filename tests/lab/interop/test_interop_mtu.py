"""Links and paths of small MTUs between our stack and the kernel's: agreed by MSS, set on a route, or found by path MTU discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.bench import DEVICE, OURS, Bench, content
from tests.lab.interop.kernel import Kernel
from tests.lab.interop.tcp_info import tcp_info
from usernat.fuzz.faultylink import Faults
from usernat.links.wrapper import LinkWrapper
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usernat.stack.device import Frame

SIZE = 100_000
FAR = "192.0.2.2"  # beyond the router
NARROW = 600
HEADERS = 40
ETHERNET_HEADER = 14
STAMPS = 12
DEVICES = pytest.mark.parametrize("offload", [True, False], ids=["offload", "bare"])
ROLES = pytest.mark.parametrize("role", ["client", "server"])


@pytest.mark.rfc("9293", "MUST-14", "MUST-16", "MUST-67")
@DEVICES
@ROLES
@pytest.mark.parametrize("mtu", [296, 576, 9000])
def test_mtu_of_the_link(kernel: Kernel, role: str, offload: bool, mtu: int) -> None:
    """RFC 9293 §3.7.1: the MSS options agree on what the link carries, with a frame lost now and then."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, Faults(loss=0.01), offload=offload, mtu=mtu) as bench:
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        assert tcp_info(pair.theirs.sock).snd_mss == mtu - HEADERS - STAMPS
        assert pair.ours.connection.snd.smss == mtu - HEADERS - STAMPS
        bench.finish(pair)


@ROLES
@pytest.mark.parametrize("route_mtu", [296, 1000])
def test_mtu_of_the_kernel_s_route(kernel: Kernel, role: str, route_mtu: int) -> None:
    """The kernel offers the MSS of its route, and cuts what it sends to it."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel) as bench:
        kernel.run(f"ip route add {OURS}/32 dev {DEVICE} mtu {route_mtu}")
        pair = bench.open(role, up, down)
        bench.exchange(pair, up, down)
        assert tcp_info(pair.theirs.sock).snd_mss == route_mtu - HEADERS - STAMPS
        assert pair.ours.connection.peer_mss == route_mtu - HEADERS
        bench.finish(pair)


@pytest.fixture
def far(kernel: Kernel) -> Iterator[Kernel]:
    """A kernel beyond the first, which forwards to it over a link of a small MTU and says so by ICMP."""
    with Kernel(beside=kernel) as made:
        made.set(tcp_no_metrics_save="1")
        kernel.run(f"ip link add up0 mtu {NARROW} type veth peer name down0 mtu {NARROW} netns {made.pid}")
        kernel.run("ip addr add 192.0.2.1/24 dev up0")
        kernel.run("ip link set up0 up")
        kernel.set(ip_forward="1")
        made.run(f"ip addr add {FAR}/24 dev down0")
        made.run("ip link set down0 up")
        yield made


@pytest.mark.rfc("9293", "MUST-54")
@DEVICES
def test_path_mtu_is_discovered(kernel: Kernel, far: Kernel, offload: bool) -> None:
    """RFC 1191: the far kernel offers an MSS of 1,460 over a path that carries less; the router's errors tell us."""
    far.run("ip route add default via 192.0.2.1 advmss 1460")
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, offload=offload, peer=far, peer_address=FAR) as bench:
        pair = bench.connect(up, down)
        assert pair.ours.connection.peer_mss == 1460
        bench.exchange(pair, up, down)
        assert bench.interface.ipv4.path_mtu(parse_ip(FAR)) == NARROW
        bench.finish(pair)
    assert kernel.counters()["IcmpOutDestUnreachs"] > 0


def test_the_kernel_discovers_the_mtu_of_a_path_to_us(kernel: Kernel, far: Kernel) -> None:
    """We offer an MSS of 1,460 behind a TAP that carries less: the router tells the far kernel."""
    far.run("ip route add default via 192.0.2.1")
    far.run("ip link set down0 mtu 1500")
    kernel.run("ip link set up0 mtu 1500")
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, mtu=NARROW, our_mtu=1500, peer=far, peer_address=FAR) as bench:
        pair = bench.connect(up, down)
        bench.exchange(pair, up, down)
        assert tcp_info(pair.theirs.sock).pmtu == NARROW
        bench.finish(pair)


class BlackHole(LinkWrapper):
    """A path on which larger datagrams vanish, and nobody says so."""

    def send(self, frames: list[Frame]) -> None:
        self.inner.send([frame for frame in frames if datagram_size(frame) <= NARROW])


def datagram_size(frame: Frame) -> int:
    """Of each segment that the device makes of it."""
    return (frame.header_length + frame.gso_size if frame.gso_size else len(frame)) - ETHERNET_HEADER


@DEVICES
def test_black_hole(kernel: Kernel, offload: bool) -> None:
    """RFC 2923 §2.1: no ICMP error comes, and yet what we send gets through."""
    up = content(SIZE, "up")
    with Bench(kernel, offload=offload, wrap=BlackHole) as bench:
        pair = bench.accept(up)
        bench.exchange(pair, up, b"")
        assert bench.interface.counters()["tcp.black_holes"] > 0
        bench.finish(pair)
