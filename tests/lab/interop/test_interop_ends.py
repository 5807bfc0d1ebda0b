"""How connections between our stack and the kernel's begin and end: crossed, half, by resets, and kept alive in between."""

from __future__ import annotations

import socket
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.lab.interop import tcp_info as linux
from tests.lab.interop.bench import OUR_PORT, OURS, THEIR_PORT, THEIRS, Bench, Pair, content
from tests.lab.interop.ends import KernelEnd, OurEnd
from tests.lab.interop.tcp_info import tcp_info
from usernat.fuzz.delayline import Distance
from usernat.fuzz.faultylink import Faults, Weather
from usernat.stack.addr import parse_ip
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.state import CLOSING, SYN_RECEIVED

if TYPE_CHECKING:
    from tests.lab.interop.kernel import Kernel

SIZE = 100_000
APART = Distance(delay_us=20_000)  # long enough for both sides to have said something before they hear
ROLES = pytest.mark.parametrize("role", ["client", "server"])


@pytest.mark.rfc("9293", "MUST-10")
def test_simultaneous_open(kernel: Kernel) -> None:
    """RFC 9293 §3.5, figure 7: the SYNs cross, and there is one connection."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, distance=APART) as bench:
        bench.guest.ping(THEIRS)  # both know the other's MAC
        sock = kernel.stream()
        sock.bind((THEIRS, THEIR_PORT))
        sock.connect_ex((OURS, OUR_PORT))
        connection = bench.interface.tcp.connect(parse_ip(THEIRS), THEIR_PORT, local_port=OUR_PORT)
        pair = bench.paired(bench.watched(OurEnd(connection, up)), KernelEnd(sock, down))
        bench.exchange(pair, up, down)
        assert SYN_RECEIVED in pair.ours.states
        bench.finish(pair)


@pytest.mark.rfc("9293", "3.10.7.4-l")
@ROLES
def test_simultaneous_close(kernel: Kernel, role: str) -> None:
    """RFC 9293 §3.6, figure 13: the FINs cross, both go through CLOSING."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel, distance=APART) as bench:
        pair = bench.open(role, up, down, finishing=False)
        bench.run(lambda: len(pair.theirs.received) == len(up) and len(pair.ours.received) == len(down))
        bench.pause(0.1)  # all is acknowledged
        pair.ours.connection.shutdown()
        pair.theirs.sock.shutdown(socket.SHUT_WR)
        seen: set[int] = set()

        def both_ended() -> bool:
            seen.add(tcp_info(pair.theirs.sock).state)
            return pair.ours.ended and pair.theirs.ended

        bench.run(both_ended)
        bench.run(lambda: pair.ours.connection.closed)
        assert linux.CLOSING in seen
        assert CLOSING in pair.ours.states
        bench.exchange(pair, up, down)
        bench.finish(pair)


@ROLES
def test_we_end_our_half_first(kernel: Kernel, role: str) -> None:
    """RFC 9293 §3.6: the kernel reads our end before it says anything, and we go on reading."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel) as bench:
        pair = bench.open(role, up, b"", finishing=False)
        pair.ours.connection.shutdown()
        bench.run(lambda: pair.theirs.ended)
        pair = answered_by_kernel(bench, pair, down)
        bench.exchange(pair, up, down)
        bench.finish(pair)


@ROLES
def test_the_kernel_ends_its_half_first(kernel: Kernel, role: str) -> None:
    """RFC 9293 §3.10.4: in CLOSE-WAIT we still send."""
    up, down = content(SIZE, "up"), content(SIZE, "down")
    with Bench(kernel) as bench:
        pair = bench.open(role, b"", down, finishing=False)
        pair.theirs.finishing = True
        bench.run(lambda: pair.ours.ended)
        bench.clock.our_ends.remove(pair.ours)
        ours = bench.watched(OurEnd(pair.ours.connection, up))
        ours.received, ours.ended = pair.ours.received, True
        pair = Pair(ours, pair.theirs)
        bench.exchange(pair, up, down)
        bench.finish(pair)


@pytest.mark.rfc("9293", "MUST-12", "3.10.7.4-d")
@ROLES
@pytest.mark.parametrize("unread", [0, SIZE])
def test_the_kernel_resets(kernel: Kernel, role: str, unread: int) -> None:
    """SO_LINGER of no time; with unread data any close is one."""
    with Bench(kernel) as bench:
        pair = bench.open(role, content(unread, "up"), b"", finishing=False)
        pair.theirs.reading = False
        bench.pause(0.05)
        if unread:
            pair.theirs.close()
        else:
            pair.theirs.reset()
        bench.run(lambda: pair.ours.error is not None)
        assert pair.ours.error == "RESET"
        bench.finish(pair)
    assert kernel.counters()["TcpOutRsts"] > 0


@pytest.mark.rfc("9293", "SHLD-3")
@ROLES
@pytest.mark.parametrize("way", ["abort", "unread"])
def test_we_reset(kernel: Kernel, role: str, way: str) -> None:
    """RFC 9293 §3.10.5, §3.6.1 SHLD-3: the kernel's application learns of it at once."""
    with Bench(kernel) as bench:
        pair = bench.open(role, b"", content(SIZE, "down"), finishing=False)
        pair.ours.reading = False
        bench.run(lambda: pair.ours.connection.readable > 0)
        if way == "abort":
            pair.ours.connection.abort()
        else:
            pair.ours.connection.close()
        bench.run(lambda: pair.theirs.error is not None)
        assert pair.theirs.error == "ECONNRESET"
        bench.finish(pair)


@pytest.mark.rfc("9293", "3.10.7.3-b")
def test_the_kernel_refuses(kernel: Kernel) -> None:
    """RFC 9293 §3.10.7.3: nobody listens there."""
    with Bench(kernel) as bench:
        ours = OurEnd(bench.interface.tcp.connect(parse_ip(THEIRS), THEIR_PORT))
        bench.run(lambda: ours.error is not None)
        assert ours.error == "REFUSED"
        bench.settle()


@pytest.mark.rfc("9293", "3.10.7.1-b")
def test_we_refuse(kernel: Kernel) -> None:
    """RFC 9293 §3.10.7.1: nobody listens here."""
    with Bench(kernel) as bench:
        theirs = KernelEnd(kernel.stream(), b"x")
        theirs.sock.connect_ex((OURS, OUR_PORT))
        bench.clock.kernel_ends.append(theirs)
        bench.run(lambda: theirs.error is not None)
        assert theirs.error == "ECONNREFUSED"
        theirs.close()
        bench.settle()


def keep_alive(sock: socket.socket) -> None:
    """After one second of silence a probe each second, two at most."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


@pytest.mark.rfc("9293", "MUST-24", "MUST-26", "MUST-29", "SHLD-12")
def test_keep_alive(kernel: Kernel) -> None:
    """RFC 9293 §3.8.4: each side's probes are answered by the other; then nobody answers, and both give up."""
    with Bench(kernel, tcp=TcpConfig(keepalive_probes=3)) as bench:
        pair = bench.connect(b"u", b"d", finishing=False, prepare=keep_alive)
        pair.ours.connection.keep_alive(True, idle_us=300_000)
        bench.pause(0.8)
        assert bench.interface.counters()["tcp.keepalive_probes"] >= 2
        pair.ours.connection.keep_alive(False)
        bench.run(lambda: kernel.counters()["TcpExtTCPKeepAlive"] >= 3, 6)  # unanswered, two were the end
        assert (pair.ours.error, pair.theirs.error) == (None, None)
        assert (bytes(pair.ours.received), bytes(pair.theirs.received)) == (b"d", b"u")
        for way in ("inward", "outward"):
            setattr(bench.link, way, Weather(Faults(loss=1.0), Random(1)))
        pair.ours.connection.keep_alive(True, idle_us=300_000)
        bench.run(lambda: pair.ours.error is not None and pair.theirs.error is not None, 8)
        assert (pair.ours.error, pair.theirs.error) == ("TIMED_OUT", "ETIMEDOUT")
        bench.finish(pair)


def answered_by_kernel(bench: Bench, pair: Pair, answer: bytes) -> Pair:
    """The kernel's end sends the answer, and then its FIN."""
    bench.clock.kernel_ends.remove(pair.theirs)
    theirs = KernelEnd(pair.theirs.sock, answer)
    theirs.received, theirs.ended = pair.theirs.received, True
    return bench.paired(pair.ours, theirs)
