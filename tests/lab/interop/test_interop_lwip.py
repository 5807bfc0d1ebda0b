"""lwIP's TCP, on a TAP of its own that a bridge joins with ours: we call it and it calls us, in good weather and bad."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.lab.interop.bench import DEVICE, OUR_PORT, OURS, Acceptor, Bench, content
from tests.lab.interop.ends import OurEnd
from tests.lab.interop.lwip import MTU
from tests.lab.needs import lacking
from tests.lab.netns import Place
from usernat.fuzz.faultylink import Faults
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interop.kernel import Kernel

LWIP = "198.51.100.3"
LWIP_DEVICE, LWIP_PORT = "tap1", 7003
SIZE = 40_000
WEATHERS = {
    "fair": Faults(),
    "loss": Faults(loss=0.01),
    "all": Faults(loss=0.01, duplication=0.05, reordering=0.05),
}


@pytest.fixture(autouse=True)
def library() -> None:
    """The lab needs lwIP."""
    if ctypes.util.find_library("lwip") is None:
        lacking("liblwip.so (Debian: liblwip0)")


@contextmanager
def lwip(kernel: Kernel, *what: str) -> Iterator[subprocess.Popen[bytes]]:
    """lwIP behind a bridge; to be entered when the bench has made its TAP."""
    for command in (
        "ip link add br0 type bridge",
        f"ip tuntap add name {LWIP_DEVICE} mode tap",
        *(f"ip link set {device} master br0" for device in (DEVICE, LWIP_DEVICE)),
        *(f"ip link set {device} up" for device in ("br0", DEVICE, LWIP_DEVICE)),
    ):
        kernel.run(command)
    with Place(kernel.pid) as place:
        arguments = (sys.executable, "-m", "tests.lab.interop.lwip", LWIP_DEVICE, LWIP, *what)
        process = place.start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("role", ["client", "server"])
def test_echo(kernel: Kernel, role: str, weather: str) -> None:
    """What we send comes back, to the end of both halves; lwIP counts the same bytes."""
    sent = content(SIZE, "up")
    with Bench(kernel, WEATHERS[weather], offload=False, mtu=MTU) as bench:
        if role == "client":
            with lwip(kernel, "listen", str(LWIP_PORT)) as process:
                ours = OurEnd(bench.interface.tcp.connect(parse_ip(LWIP), LWIP_PORT), sent)
                finish(bench, process, ours, sent)
        else:
            acceptor = Acceptor(bench.interface.tcp.listen(parse_ip(OURS), OUR_PORT), sent, finishing=True)
            with lwip(kernel, "call", OURS, str(OUR_PORT)) as process:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
                bench.run(lambda: acceptor.end is not None)
                assert acceptor.end is not None
                finish(bench, process, acceptor.end, sent)


def finish(bench: Bench, process: subprocess.Popen[bytes], ours: OurEnd, sent: bytes) -> None:
    """To the end, and both sides agree on what was said; nothing of it is left in our tables."""
    bench.run(lambda: ours.ended or ours.error is not None)
    assert ours.error is None
    assert ours.received == sent
    connection = ours.connection
    assert (connection.timestamps, connection.offer_sack) == (None, False), "Debian's lwIP has neither"
    ours.close()
    bench.run(lambda: connection.closed)
    assert process.stdout is not None
    assert process.stdout.readline() == b"%d\n" % len(sent)
