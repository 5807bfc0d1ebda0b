"""Other user-mode gateways as peers: our stack is their guest, and the kernel's sockets are beyond them. We call, and are called.

libslirp: its TCP descends from 4.4BSD's, has no SACK, time stamps or window scaling, and timers of half a second. slirp4netns gives it
a SEQPACKET socket for frames ("bess" mode), and forwards a port to us when it is told so on another socket.
passt: it hands the kernel's windows and acknowledgements on, and offers an MSS of 61,440 on any link.
The weather begins when both know each other.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.bench import OUR_PORT, Bench, content
from tests.lab.needs import need_commands
from tests.lab.netns import Place
from usernat.fuzz.faultylink import Faults, Weather
from usernat.links.datagram import DatagramLink
from usernat.links.qemu import QemuLink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.interop.kernel import Kernel

LOOPBACK = "127.0.0.1"  # of the host, which guests reach by the gateway's address
FORWARDED = 7004
READY_SECONDS = 10.0
SIZE = 100_000
SLIRP, SLIRP_GUEST = "10.0.2.2", "10.0.2.100"
PASST, PASST_GUEST = "192.0.2.1", "192.0.2.15"
ROLES = pytest.mark.parametrize("role", ["client", "server"])


def connected(path: Path, kind: socket.SocketKind) -> socket.socket:
    """A UNIX socket, once somebody listens there."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return sock


@contextmanager
def slirp(kernel: Kernel, folder: Path) -> Iterator[Bench]:
    """Our stack behind a slirp4netns in the kernel's namespace."""
    need_commands("slirp4netns")
    wire, api = folder / "wire", folder / "api"
    with Place(kernel.pid) as place:
        place.start("slirp4netns", "--target-type=bess", "--disable-dns", "-a", str(api), str(wire))
        with Bench(
            kernel,
            inner=DatagramLink(connected(wire, socket.SOCK_SEQPACKET)),
            our_address=(SLIRP_GUEST, 24, SLIRP),
            peer_address=SLIRP,
            their_door=LOOPBACK,
            our_door=(LOOPBACK, FORWARDED),
        ) as bench:
            bench.guest.ping(SLIRP)  # libslirp knows a guest only from what it has sent
            slirp_forwards(api)
            yield bench


def slirp_forwards(api: Path) -> None:
    """A port of the host leads to ours."""
    arguments = {"proto": "tcp", "host_addr": LOOPBACK, "host_port": FORWARDED}
    arguments |= {"guest_addr": SLIRP_GUEST, "guest_port": OUR_PORT}
    with connected(api, socket.SOCK_STREAM) as control:
        control.sendall(json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
        control.shutdown(socket.SHUT_WR)
        assert "error" not in json.loads(control.recv(4096))


@contextmanager
def passt(kernel: Kernel, folder: Path) -> Iterator[Bench]:
    """Our stack behind a passt in the kernel's namespace, whose address it gives us."""
    need_commands("passt")
    kernel.run("ip link add out0 type veth peer name out1")
    kernel.run(f"ip addr add {PASST_GUEST}/24 dev out0")
    kernel.run("ip link set out0 up")
    kernel.run("ip link set out1 up")
    kernel.run(f"ip route add default via {PASST}")
    wire = folder / "wire"
    ports = ("-t", f"{FORWARDED}:{OUR_PORT}", "-u", "none")
    with Place(kernel.pid) as place:
        place.start("passt", "-f", "-q", "-4", "--stderr", "--runas", "0", *ports, "-s", str(wire))
        with Bench(
            kernel,
            inner=QemuLink(connected(wire, socket.SOCK_STREAM)),
            our_address=(PASST_GUEST, 24, PASST),
            peer_address=PASST,
            their_door=LOOPBACK,
            our_door=(LOOPBACK, FORWARDED),
        ) as bench:
            bench.pause(0.05)  # passt answers the MAC that it has seen, of our announcement
            yield bench


def exchange(bench: Bench, role: str, faults: Faults) -> None:
    """Both streams to their ends, in weather that begins now."""
    bench.link.inward, bench.link.outward = (Weather(faults, Random(seed)) for seed in (4, 9))
    up, down = content(SIZE, "up"), content(SIZE, "down")
    pair = bench.open(role, up, down)
    bench.exchange(pair, up, down)
    ours = pair.ours.connection
    assert (ours.timestamps, ours.offer_sack) == (None, False), "neither gateway has them"
    bench.finish(pair)


WEATHERS = {
    "fair": Faults(),
    "loss": Faults(loss=0.01),
    "all": Faults(loss=0.01, duplication=0.05, reordering=0.05),
}


@ROLES
@pytest.mark.parametrize("weather", WEATHERS)
def test_libslirp(kernel: Kernel, tmp_path: Path, role: str, weather: str) -> None:
    with slirp(kernel, tmp_path) as bench:
        exchange(bench, role, WEATHERS[weather])


@ROLES
def test_passt(kernel: Kernel, tmp_path: Path, role: str) -> None:
    """In good weather only: passt takes its link for one that loses nothing. A FIN of its that is lost it never sends again, and
    from some other losses it recovers never, sending the same window over and over.
    """
    with passt(kernel, tmp_path) as bench:
        exchange(bench, role, Faults())
