"""The gateway over real sockets: our guest, our gateway, and servers of the kernel's on loopback, in real time but without waiting."""

from __future__ import annotations

import socket
import struct
import threading
from random import Random
from typing import Any

import pytest

from tests.nat.kit import GATEWAY, GUEST
from tests.nat.real_kit import PATIENCE_S, RealLab, connected, echo, exchange
from usernat.nat import host_datagram, tcp_flow
from usernat.stack.l4.tcp.state import TcpError


@pytest.mark.rfc("5382", "REQ-2")
def test_ten_megabytes_there_and_back(lab: RealLab, serving: Any) -> None:
    connection = connected(lab, serving(echo))
    data = Random(1).randbytes(10_000_000)
    assert exchange(lab, connection, data) == data
    lab.until(lambda: not lab.gateway.flows())
    assert lab.gateway.counters()["nat.tcp.finished"] == 1


def test_c06_a_question_with_its_end_and_a_long_answer(lab: RealLab, serving: Any) -> None:
    def answer(peer: socket.socket) -> None:
        asked = b""
        while data := peer.recv(4096):
            asked += data
        peer.sendall(asked * 100_000)

    connection = connected(lab, serving(answer))
    assert exchange(lab, connection, b"question") == b"question" * 100_000


@pytest.mark.rfc("7857", "2.2-a")
def test_c08_a_server_that_resets(lab: RealLab, serving: Any) -> None:
    def reset(peer: socket.socket) -> None:
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    connection = connected(lab, serving(reset))
    connection.send(b"x")
    lab.until(lambda: connection.closed)
    assert connection.error == TcpError.RESET
    lab.until(lambda: not lab.gateway.flows())


@pytest.mark.rfc("7857", "2.2-a")
def test_c08_a_guest_that_resets(lab: RealLab, serving: Any) -> None:
    seen: list[str] = []

    def wait(peer: socket.socket) -> None:
        try:
            while peer.recv(100):
                pass
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    connection = connected(lab, serving(wait))
    connection.send(b"x")
    lab.until(lambda: len(connection.snd.queue) == 0)
    connection.abort()
    lab.until(lambda: bool(seen))
    assert seen == ["reset"]


def test_c24_a_server_that_does_not_read_for_a_while(lab: RealLab, serving: Any) -> None:
    go, total = threading.Event(), 8_000_000
    counted: list[int] = []

    def late(peer: socket.socket) -> None:
        go.wait(PATIENCE_S)
        count = 0
        while data := peer.recv(1 << 20):
            count += len(data)
        counted.append(count)

    stuck, quick = connected(lab, serving(late)), connected(lab, serving(echo))
    rest = memoryview(bytes(total))
    for _ in range(300):
        rest = rest[stuck.send(rest) :]
        lab.turn()
    quick.send(b"quick")
    lab.until(lambda: quick.readable == 5)
    go.set()

    def sent() -> bool:
        nonlocal rest
        rest = rest[stuck.send(rest) :]
        return not rest

    lab.until(sent)
    stuck.shutdown()
    lab.until(lambda: bool(counted))
    assert counted == [total]


def test_a_closed_port_of_the_host_refuses(lab: RealLab) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert connected(lab, port).error == TcpError.REFUSED


@pytest.mark.rfc("4787", "REQ-12b", "REQ-13a")
def test_c47_udp_of_every_size_and_a_closed_port(lab: RealLab) -> None:
    """RFC 4787 REQ-12b: the closed port is told with the guest's own addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        port = peer.getsockname()[1]
        sock = lab.guest.udp.bind(GUEST, 5000)
        for size in (0, 1, 1472, 9000, 65507):
            data = bytes([size & 255]) * size
            sock.send(data, GATEWAY, port)
            came: list[tuple[bytes, Any]] = []

            def arrived(came: list[tuple[bytes, Any]] = came) -> bool:
                try:
                    came.append(peer.recvfrom(70000))
                except BlockingIOError:
                    return False
                return True

            lab.until(arrived)
            assert came[0][0] == data
            peer.sendto(data, came[0][1])
            lab.until(lambda: len(sock.inbox) > 0)
            reply = sock.recv()
            assert reply is not None
            assert (bytes(reply.data), reply.src, reply.src_port) == (data, GATEWAY, port)
    sock.send(b"closed now", GATEWAY, port)
    lab.until(lambda: bool(sock.errors))
    error = sock.errors.popleft()
    assert (error.type, error.code, error.source, error.dst) == (3, 3, GATEWAY, GATEWAY)


def test_a_platform_without_sendmsg_and_recvmsg(
    lab: RealLab, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_flow, "SCATTERS", False)
    monkeypatch.setattr(host_datagram, "_HAS_ANCILLARY", False)
    monkeypatch.setattr(host_datagram, "_IP_RECVERR", None)
    data = Random(1).randbytes(3_000_000)
    assert exchange(lab, connected(lab, serving(echo)), data) == data
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE_S)
        sock = lab.guest.udp.bind(GUEST, 5000)
        sock.send(b"question", GATEWAY, peer.getsockname()[1])
        lab.until(lambda: lab.gateway.counters()["nat.udp.forwarded"] == 1)
        question, source = peer.recvfrom(100)
        peer.sendto(b"answer to " + question, source)
        lab.until(lambda: len(sock.inbox) > 0)
        reply = sock.recv()
        assert reply is not None
        assert bytes(reply.data) == b"answer to question"


def test_c60_out_of_descriptors_the_loop_goes_on(serving: Any) -> None:
    lab = RealLab(max_sockets=2)
    port = serving(echo)
    first, second = connected(lab, port), connected(lab, port)
    third = lab.guest.tcp.connect(GATEWAY, port)
    lab.until(lambda: lab.gateway.counters()["nat.tcp.no_resources"] > 0)
    assert not third.established
    for connection in (first, second):
        assert exchange(lab, connection, b"alive") == b"alive"
        connection.close()
    lab.until(lambda: third.established)  # its SYN is repeated, and there is room again
    lab.close()
