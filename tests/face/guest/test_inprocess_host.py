"""The guest's ping and streams, its link and its addresses, over real stacks on both sides."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.face.guest.kit import FIRST, GATEWAY, Network, network
from tests.nat.dns.kit import answer_to
from usernat import Config, UserNat
from usernat.guest import Guest, NameNotFound
from usernat.links.memory import memory_pair
from usernat.stack.addr import parse_ip
from usernat.stack.l4.tcp.connection import Connection

NINE = parse_ip("192.0.2.9")


class Server:
    """A TCP server at the gateway's address: answers each connection with what `answer` makes of its bytes."""

    def __init__(self, net: Network, port: int, answer: Any) -> None:
        self._answer = answer
        self._listener = net.services.interface.tcp.listen(GATEWAY, port)
        self._listener.owner = self

    def serve(self, now: int) -> None:
        while (connection := self._listener.accept()) is not None:
            connection.owner = _Answering(connection, self._answer)
            connection.owner.serve(now)


class _Answering:
    def __init__(self, connection: Any, answer: Any) -> None:
        self._connection = connection
        self._answer = answer
        self._rest = memoryview(b"")

    def serve(self, now: int) -> None:
        connection = self._connection
        if data := connection.recv(65536):
            self._rest = memoryview(self._answer(data))
        self._rest = self._rest[connection.send(self._rest) :] if self._rest else self._rest
        if not self._rest and (data or connection.at_eof):
            connection.close()


# -- ping -------------------------------------------------------------------------------------------------------------


def test_ping(net: Network) -> None:
    assert 0 <= net.guest.ping(GATEWAY) < 1
    assert 0 <= net.guest.ping("10.0.2.3", data=b"x" * 4000) < 1


def test_ping_of_nobody(net: Network) -> None:
    """ARP finds nobody, which the guest's own stack reports as a router would."""
    with pytest.raises(OSError, match=r"10\.0\.2\.77") as caught:
        net.guest.ping("10.0.2.77", timeout=30)
    assert not isinstance(caught.value, TimeoutError)


def test_ping_without_answer(net: Network) -> None:
    net.guest.ping(GATEWAY)
    net.tap.loses = lambda frame: True
    with pytest.raises(TimeoutError):
        net.guest.ping(GATEWAY, timeout=2)


def test_frames_that_the_link_has_no_room_for_are_not_made(net: Network) -> None:
    net.tap.room = lambda: 1  # type: ignore[method-assign]
    sizes: list[int] = []
    send = net.tap.send
    net.tap.send = lambda frames: sizes.append(len(frames)) or send(frames)  # type: ignore[method-assign,func-returns-value]
    assert net.guest.ping("10.0.2.2", data=bytes(5000)) < 1
    assert sizes == [1] * len(sizes)
    assert len(sizes) >= 4


# -- streams ----------------------------------------------------------------------------------------------------------


def test_stream_both_ways(net: Network) -> None:
    Server(net, 7, lambda data: data.upper() * 1000)
    stream = net.guest.connect(GATEWAY, 7)
    stream.sendall(b"hello")
    received = b""
    while data := stream.recv(4096):
        received += data
    assert received == b"HELLO" * 1000
    stream.close()


def test_large_upload_waits_for_room(net: Network) -> None:
    got: list[int] = []

    class Sink:
        def serve(self, now: int) -> None:
            while (connection := listener.accept()) is not None:
                connection.owner = Drain(connection)

    class Drain:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def serve(self, now: int) -> None:
            while data := self._connection.recv(1 << 16):
                got.append(len(data))
            if self._connection.at_eof:
                self._connection.close()

    listener = net.services.interface.tcp.listen(GATEWAY, 9)
    listener.owner = Sink()
    stream = net.guest.connect(GATEWAY, 9)
    stream.sendall(bytes(3_000_000))
    stream.shutdown()
    assert stream.recv(1) == b""
    assert sum(got) == 3_000_000


def test_connection_refused(net: Network) -> None:
    with pytest.raises(ConnectionRefusedError):
        net.guest.connect(GATEWAY, 81)


def test_connection_to_silence(net: Network) -> None:
    net.guest.ping(GATEWAY)
    net.tap.loses = lambda frame: True
    with pytest.raises(TimeoutError):
        net.guest.connect(GATEWAY, 80, timeout=3)


def test_connection_reset(net: Network) -> None:
    class Rude:
        def serve(self, now: int) -> None:
            while (connection := listener.accept()) is not None:
                assert isinstance(connection, Connection)
                connection.abort()

    listener = net.services.interface.tcp.listen(GATEWAY, 7)
    listener.owner = Rude()
    stream = net.guest.connect(GATEWAY, 7)
    with pytest.raises(ConnectionResetError):
        stream.recv(1)
    with pytest.raises(ConnectionResetError):
        stream.sendall(b"x")


def test_stream_time_out(net: Network) -> None:
    net.services.interface.tcp.listen(GATEWAY, 7)
    stream = net.guest.connect(GATEWAY, 7, timeout=1)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    with pytest.raises(ValueError, match="bytes"):
        stream.makefile("w")


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello",
    ],
)
def test_http_get(net: Network, wire: bytes) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return wire

    Server(net, 8080, answer)
    reply = net.guest.http_get("http://10.0.2.2:8080/a?b=c")
    assert (reply.status, reply.reason, reply.body, reply.headers["x-a"]) == (200, "OK", b"hello", "b")
    assert asked == [b"GET /a?b=c HTTP/1.1\r\nHost: 10.0.2.2:8080\r\nConnection: close\r\n\r\n"]


@pytest.mark.parametrize("url", ["https://10.0.2.2/", "10.0.2.2", "ftp://x/", ""])
def test_other_urls(net: Network, url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        net.guest.http_get(url)


def test_fixed_address() -> None:
    with network() as net:
        guest = net.guest
        guest.interface.add_address(FIRST + 1, 24)
        assert guest.ping(GATEWAY) < 1


# -- through a real gateway, in real time -------------------------------------------------------------------------------


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"page" * 100_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_guest_through_a_real_gateway() -> None:
    """DHCP, ping, DNS and HTTP with the real loop, the real NAT and the real host."""
    with (
        HTTPServer(("127.0.0.1", 0), _Page) as web,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as names,
    ):
        names.bind(("127.0.0.1", 0))

        def resolve() -> None:
            question, sender = names.recvfrom(1500)
            names.sendto(answer_to(question, "10.0.2.2"), sender)

        workers = [threading.Thread(target=resolve), threading.Thread(target=web.handle_request)]
        for worker in workers:
            worker.start()
        ours, theirs = memory_pair()
        config = Config(host_loopback=True, dns=[f"127.0.0.1:{names.getsockname()[1]}"])
        with UserNat(config, theirs), Guest(ours) as guest:
            assert guest.dhcp().address == FIRST
            assert guest.ping("10.0.2.2") < 1
            reply = guest.http_get(f"http://page.test:{web.server_address[1]}/")
        for worker in workers:
            worker.join()
    assert reply.body == b"page" * 100_000


def test_static_guest_on_a_link() -> None:
    ours, theirs = memory_pair()
    with (
        UserNat(Config(dns=["127.0.0.1:9"], mtu=1280, static=["10.0.2.20"]), theirs),
        Guest(ours, address=("10.0.2.20", 24, "10.0.2.2"), dns=["10.0.2.3"], mtu=1280) as guest,
    ):
        assert guest.ping("10.0.2.2", data=bytes(3000)) < 1
        assert guest.lease is None
        guest.release()
        with pytest.raises(NameNotFound, match="SERVFAIL"):
            guest.resolve("www.example")
