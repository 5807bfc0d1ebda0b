"""Many datagrams at once through the real host sockets, on loopback."""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.host_kit import LOOPBACK, Loop, Recorder, free_port
from usernat.nat.host_segmentation import MOST_AT_ONCE, cut
from usernat.stack.addr import format_ip
from usernat.stack.l4.udp_run import runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usernat.nat.host_datagram import HostUdp
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's, from 4.18 on")
UDP_SEGMENT = 103


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        made.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        yield made


class Counting:
    """A socket whose calls of `sendmsg` are noted."""

    def __init__(self, sock: Any, calls: list[int]) -> None:
        self._sock = sock
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendmsg(self, run: list[Buffer], *options: Any) -> int:
        self._calls.append(len(run))
        sent: int = self._sock.sendmsg(run, *options)
        return sent


def counted(sock: HostUdp) -> list[int]:
    """How many datagrams each call has from now on."""
    calls: list[int] = []
    sock._socket = Counting(sock._socket, calls)  # type: ignore[assignment] # it has all that is used
    return calls


def receive_runs(sock: HostUdp, number: int) -> list[tuple[list[Buffer], Origin]]:
    """Runs with so many datagrams in all."""
    found: list[tuple[list[Buffer], Origin]] = []
    deadline = time.monotonic() + 5
    while sum(len(run) for run, _ in found) < number:
        assert time.monotonic() < deadline
        received = sock.receive()
        if received is not None:
            found.append(received)
    return found


@pytest.mark.parametrize("sizes", [[64] * 64, [1200] * 50 + [7], [1, 1], [30000, 30000, 5000], [1] * 63])
def test_a_run_leaves_as_its_datagrams(loop: Loop, peer: socket.socket, sizes: list[int]) -> None:
    sock = loop.host.open_udp(Recorder())
    run = [bytes([number]) * size for number, size in enumerate(sizes)]
    for ttl, df in ((33, False), (34, True)):
        assert sock.send_run(run, LOOPBACK, peer.getsockname()[1], ttl, df)
        for data in run:
            came, ancillary, _, _ = peer.recvmsg(65535, 64)
            assert (came, int.from_bytes(ancillary[0][2], sys.byteorder)) == (data, ttl)


def test_any_datagrams_leave_in_runs(loop: Loop, peer: socket.socket) -> None:
    """As `DatagramFlow` does it, sizes as they come."""
    sock = loop.host.open_udp(Recorder())
    datagrams = [bytes([number % 251]) * (number * 37 % 1400 // 200 * 200) for number in range(150)]
    to = LOOPBACK, peer.getsockname()[1], 64
    for run in runs(datagrams):
        if not (len(run) > 1 and sock.send_run(run, *to, df=False)):
            for data in run:
                sock.send(data, *to, df=False)
    assert [peer.recv(65535) for _ in datagrams] == datagrams


def test_views_of_frames_leave_as_they_are(loop: Loop, peer: socket.socket) -> None:
    frame = memoryview(bytes(range(200)))
    sock = loop.host.open_udp(Recorder())
    assert sock.send_run(
        [frame[10:60], frame[60:110], frame[5:6]], LOOPBACK, peer.getsockname()[1], 9, df=True
    )
    assert [peer.recv(999) for _ in range(3)] == [bytes(range(10, 60)), bytes(range(60, 110)), b"\x05"]


def test_a_run_that_is_too_large_is_refused_and_its_size_not_tried_again(loop: Loop) -> None:
    """The kernel cuts, but does not fragment what it has cut: none of it has gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        sock = loop.host.open_udp(Recorder())
        to = LOOPBACK, peer.getsockname()[1], 64
        # Loopback has no smaller path MTU; the lab has (`tests/lab/test_guest_datagrams.py`).
        assert not sock.send_run([bytes(40000), bytes(40000)], *to, df=False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        calls = counted(sock)
        assert not sock.send_run([bytes(50000), bytes(1)], *to, df=False)
        assert calls == []
        assert sock.send_run([bytes(30000), bytes(1)], *to, df=False)
        assert len(calls) == 1


def test_a_path_with_a_small_mtu_costs_the_others_nothing(loop: Loop, peer: socket.socket) -> None:
    """Which paths those are is known of the latest few."""
    sock = loop.host.open_udp(Recorder())
    port = peer.getsockname()[1]
    too_large, fitting = [bytes(40000)] * 2, [bytes(30000)] * 2

    def offered(address: int, run: list[bytes]) -> bool:
        calls = counted(sock)
        sock.send_run(run, address, port, 64, df=False)
        return bool(calls)

    assert offered(LOOPBACK + 1, too_large)
    assert not offered(LOOPBACK + 1, too_large)
    assert offered(LOOPBACK + 2, too_large), "of another path nothing is known"
    assert offered(LOOPBACK + 1, fitting)
    for _ in range(2):
        assert not offered(LOOPBACK + 2, too_large)
        assert not offered(LOOPBACK + 1, too_large)
    for other in range(3, 100):
        offered(LOOPBACK + other, too_large)
    assert not offered(LOOPBACK + 99, too_large)
    assert len(sock._too_large) < 10
    assert offered(LOOPBACK + 1, too_large)


@pytest.mark.rfc("4787", "REQ-12", "REQ-12b")
def test_a_closed_port_is_told_after_a_run_and_the_socket_lives_on(loop: Loop, peer: socket.socket) -> None:
    sock = loop.host.open_udp(Recorder())
    port = free_port(socket.SOCK_DGRAM)
    run = [b"x" * 100] * 10
    assert sock.send_run(run, LOOPBACK, port, 64, df=False)
    assert not sock.send_run(run, LOOPBACK, peer.getsockname()[1], 64, df=False), "of the earlier one"
    assert {(report.type, report.code, report.address, report.port) for report in sock.errors()} == {
        (3, 3, LOOPBACK, port)
    }
    assert sock.send_run(run, LOOPBACK, peer.getsockname()[1], 64, df=False)
    assert peer.recv(1000) == b"x" * 100


@pytest.mark.parametrize(("size", "whole"), [(64, 3200), (1200, 60000), (1000, 64999), (700, 701), (1, 60)])
def test_what_was_never_taken_apart_is_cut_here(
    loop: Loop, peer: socket.socket, size: int, whole: int
) -> None:
    sock = loop.host.open_udp(Recorder())
    data = bytes(range(256)) * 256
    peer.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
    sock.send(b"here I am", LOOPBACK, peer.getsockname()[1], 64, df=False)
    peer.sendmsg([data[:whole]], control, 0, peer.recvfrom(99)[1])
    pieces = [data[at : min(at + size, whole)] for at in range(0, whole, size)]
    origin = LOOPBACK, peer.getsockname()[1], 33, 0
    found = receive_runs(sock, len(pieces))
    assert [(list(map(bytes, run)), origin) for run, origin in found] == [(pieces, origin)]
    assert len(pieces) <= MOST_AT_ONCE


def test_runs_and_single_datagrams_in_turn_from_two_peers(loop: Loop, peer: socket.socket) -> None:
    """What is kept of the run before means nothing for another origin, TTL or size."""
    sock = loop.host.open_udp(Recorder())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        sock.send(b"x", LOOPBACK, peer.getsockname()[1], 64, df=False)
        to = peer.recvfrom(9)[1]
        expected = []
        for sender, ttl, size, number in (
            (peer, 64, 100, 1),
            (peer, 64, 100, 5),
            (peer, 64, 100, 1),
            (other, 64, 100, 1),
            (peer, 7, 100, 2),
            (other, 7, 50, 3),
            (peer, 7, 50, 1),
            (peer, 7, 0, 1),
        ):
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))] if number > 1 else []
            sender.sendmsg([bytes(size * number)], control, 0, to)
            expected.append(([bytes(size)] * number, (LOOPBACK, sender.getsockname()[1], ttl, 0)))
        found = receive_runs(sock, 15)
    assert [(list(map(bytes, run)), origin) for run, origin in found] == expected
    assert sock.receive() is None


def test_a_published_socket_takes_and_brings_runs_for_each_of_its_addresses(
    loop: Loop, peer: socket.socket
) -> None:
    """What leaves, leaves from the address that was spoken to, whole runs too."""
    sock = loop.host.publish_udp(0, 0, Recorder())
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 10))]
    run = [bytes([number]) * 10 for number in range(5)] + [b"end"]
    came_from = LOOPBACK, peer.getsockname()[1], 64
    for called in (LOOPBACK + 1, LOOPBACK + 2, LOOPBACK):
        peer.sendmsg([b"".join(run)], control, 0, (format_ip(called), sock.port))
        assert [(list(map(bytes, found)), origin) for found, origin in receive_runs(sock, 6)] == [
            (run, (*came_from, called))
        ]
        assert sock.send_run(run, *came_from, df=False, source=called)
        sock.send(b"and one", *came_from, df=False, source=called)
        expected = (format_ip(called), sock.port)
        assert [peer.recvfrom(99) for _ in range(7)] == [(data, expected) for data in [*run, b"and one"]]


@given(st.binary(max_size=300), st.integers(0, 400))
def test_cutting(data: bytes, size: int) -> None:
    pieces = [bytes(piece) for piece in cut(data, size)]
    assert b"".join(pieces) == data
    assert len(pieces) >= 1
    if size and len(data) > size:
        assert all(len(piece) == size for piece in pieces[:-1])
        assert 0 < len(pieces[-1]) <= size
    else:
        assert pieces == [data]
