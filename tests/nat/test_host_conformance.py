"""One suite for both hosts: what flows may rely on holds for the kernel's sockets and for the scripted ones alike."""

from __future__ import annotations

import errno
import socket
import struct
import time
from abc import ABC, abstractmethod
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from usernat.fuzz.fakehost import Failing, FakeHost, Listening
from usernat.fuzz.fakepeers import Peer
from usernat.nat.host import HostSockets
from usernat.nat.host_datagram import ReportedError
from usernat.nat.host_tcp import stands
from usernat.nat.readiness import make_selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usernat.nat.host import Host

LOOPBACK = 0x7F000001
PATIENCE_S = 5.0


class Recorder:
    """An owner that keeps what it is told."""

    def __init__(self) -> None:
        self.readable = 0
        self.writable = 0

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        self.readable += readable
        self.writable += writable


class Rig(ABC):
    """A host, and a server of it on `port`; nobody listens on `closed_port`."""

    host: Host
    port: int
    closed_port: int

    @abstractmethod
    def turn(self) -> None:
        """Lets things happen."""

    @abstractmethod
    def peer_sends(self, data: bytes, *, end: bool = False) -> None:
        """The server sends, and ends its side."""

    @abstractmethod
    def peer_resets(self) -> None:
        """The server resets."""

    @abstractmethod
    def peer_got(self) -> tuple[bytes, str]:
        """What the server has received so far, and "", "end" or "reset"."""

    @abstractmethod
    def close(self) -> None:
        """Takes everything down."""

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            self.turn()


class RealRig(Rig):
    def __init__(self) -> None:
        self.selector = make_selector()
        self.host: HostSockets = HostSockets(self.selector)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.closed_port = probe.getsockname()[1]
        self.got, self.state = b"", ""
        self._accepted: socket.socket | None = None

    @property
    def peer(self) -> socket.socket:
        if self._accepted is None:
            self._accepted, _ = self.server.accept()
            self._accepted.setblocking(False)
        return self._accepted

    def turn(self) -> None:
        self.host.dispatch(self.selector.select(0.005), 0)

    def peer_sends(self, data: bytes, *, end: bool = False) -> None:
        if data:
            self.peer.sendall(data)
        if end:
            self.peer.shutdown(socket.SHUT_WR)

    def peer_resets(self) -> None:
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def peer_got(self) -> tuple[bytes, str]:
        try:
            while not self.state:
                data = self.peer.recv(1 << 20)
                self.got += data
                self.state = "" if data else "end"
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.state = "reset"
        return self.got, self.state

    def close(self) -> None:
        self.host.close_all()
        self.server.close()
        if self._accepted is not None:
            self._accepted.close()
        self.selector.close()


class Quiet(Peer):
    """A server that ends its side only when it is told to."""

    def on_eof(self, stream: Any) -> None:
        self.eof = True


class FakeRig(Rig):
    def __init__(self) -> None:
        self.host: FakeHost = FakeHost(Random(1))
        self.port, self.closed_port = 80, 81
        self._peer = Quiet()
        self.host.tcp[LOOPBACK, self.port] = Listening(lambda: self._peer)
        self.host.tcp[LOOPBACK, self.closed_port] = Failing(ReportedError(errno.ECONNREFUSED))

    def turn(self) -> None:
        self.host.run(self.host.now + 100)

    @property
    def stream(self) -> Any:
        return self._peer.stream

    def peer_sends(self, data: bytes, *, end: bool = False) -> None:
        self.stream.push(data)
        if end:
            self.stream.finish()

    def peer_resets(self) -> None:
        self.stream.reset()

    def peer_got(self) -> tuple[bytes, str]:
        state = "reset" if self._peer.was_reset else "end" if self._peer.eof else ""
        return bytes(self._peer.received), state

    def close(self) -> None:
        for sock in list(self.host.sockets):
            self.host.close(sock)


@pytest.fixture(params=[RealRig, FakeRig])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made: Rig = request.param()
    yield made
    made.close()


def connected(rig: Rig, owner: Recorder) -> Any:
    sock = rig.host.connect_tcp(LOOPBACK, rig.port, owner)
    rig.host.watch(sock, readable=False, writable=True)
    rig.until(lambda: owner.writable > 0)
    assert rig.host.connect_error(sock) is None
    rig.host.watch(sock, readable=True, writable=False)
    return sock


def fill(sock: Any) -> int:
    """Sends until the socket takes no more; how much that was."""
    sent = 0
    while sent < 1 << 26:
        try:
            sent += sock.send(bytes(1 << 16))
        except BlockingIOError:
            return sent
    raise AssertionError("it takes everything")


def test_nothing_is_told_that_was_not_asked_for(rig: Rig) -> None:
    owner = Recorder()
    rig.host.connect_tcp(LOOPBACK, rig.port, owner)
    for _ in range(5):
        rig.turn()
    assert (owner.readable, owner.writable) == (0, 0)


def test_a_refused_connect_is_writable_and_tells_its_errno(rig: Rig) -> None:
    owner = Recorder()
    sock = rig.host.connect_tcp(LOOPBACK, rig.closed_port, owner)
    rig.host.watch(sock, readable=False, writable=True)
    rig.until(lambda: owner.writable > 0)
    failure = rig.host.connect_error(sock)
    assert failure is not None
    assert failure.errno == errno.ECONNREFUSED


def test_reading_what_is_not_there_would_block(rig: Rig) -> None:
    sock = connected(rig, Recorder())
    with pytest.raises(BlockingIOError):
        sock.recv(100)


def test_bytes_and_an_end_arrive_in_order(rig: Rig) -> None:
    owner = Recorder()
    sock = connected(rig, owner)
    rig.peer_sends(b"hello", end=True)
    rig.until(lambda: owner.readable > 0)
    assert sock.recv(2) == b"he"
    assert sock.recv(100) == b"llo"
    rig.until(lambda: owner.readable > 1)
    assert sock.recv(100) == b""
    assert sock.recv(100) == b""  # and stays so
    assert sock.send(b"still") == 5  # half closed
    rig.until(lambda: rig.peer_got() == (b"still", ""))


def test_an_end_is_known_before_it_is_read(rig: Rig) -> None:
    owner = Recorder()
    sock = connected(rig, owner)
    rig.peer_sends(b"hello")
    rig.until(lambda: owner.readable > 0)
    assert not rig.host.ended(sock)
    rig.peer_sends(b"", end=True)
    rig.until(lambda: rig.host.ended(sock))
    assert sock.recv(100) == b"hello"
    assert rig.host.ended(sock)
    rig.host.close(sock)


def test_a_connect_on_the_loopback_can_be_decided_at_once_and_asked_for(rig: Rig) -> None:
    """Asked before anything was told. Where it is not decided yet, there is no peer."""
    owner = Recorder()
    if isinstance(rig, FakeRig):
        rig.host.tcp[LOOPBACK, rig.port] = Listening(lambda: rig._peer, delay_us=None)
    sock = rig.host.connect_tcp(LOOPBACK, rig.port, owner)
    rig.until(lambda: stands(sock))
    assert rig.host.connect_error(sock) is None
    refused = rig.host.connect_tcp(LOOPBACK, rig.closed_port, owner)
    assert not stands(refused)
    for _ in range(5):
        rig.turn()
    assert not stands(refused)


def test_a_scatter_list_goes_out_whole_and_shutdown_follows_it(rig: Rig) -> None:
    sock = connected(rig, Recorder())
    assert sock.sendmsg([memoryview(b"one"), b"", b"two"]) == 6
    sock.shutdown(socket.SHUT_WR)
    rig.until(lambda: rig.peer_got() == (b"onetwo", "end"))
    with pytest.raises(BrokenPipeError):
        sock.send(b"late")


def test_a_peer_that_does_not_read_fills_the_socket_and_then_frees_it(rig: Rig) -> None:
    owner = Recorder()
    sock = connected(rig, owner)
    if isinstance(rig, FakeRig):
        rig.stream.pause()
    sent = fill(sock)
    owner.writable = 0
    rig.host.watch(sock, readable=False, writable=True)
    if isinstance(rig, FakeRig):
        rig.stream.pause(paused=False)
    rig.until(lambda: len(rig.peer_got()[0]) == sent)
    rig.until(lambda: owner.writable > 0)
    assert sock.send(b"more") == 4


def test_a_reset_is_an_event_and_an_error_once_then_an_end(rig: Rig) -> None:
    owner = Recorder()
    sock = connected(rig, owner)
    rig.peer_resets()
    rig.until(lambda: owner.readable > 0)
    with pytest.raises(ConnectionResetError):
        sock.recv(100)
    assert sock.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")


def test_whether_a_connection_stands_can_be_asked_without_reading(rig: Rig) -> None:
    """Half-closed too, when reading tells of the end for ever."""
    sock = connected(rig, Recorder())
    assert stands(sock)
    rig.peer_sends(b"", end=True)
    rig.until(lambda: at_end(sock))
    assert stands(sock)
    rig.peer_resets()
    rig.until(lambda: not stands(sock))
    assert at_end(sock)


def at_end(sock: Any) -> bool:
    try:
        return bool(sock.recv(100) == b"")
    except BlockingIOError:
        return False


@pytest.mark.parametrize(("reset", "state"), [(True, "reset"), (False, "end")])
def test_how_a_close_looks_to_the_peer(rig: Rig, reset: bool, state: str) -> None:
    sock = connected(rig, Recorder())
    sock.send(b"x")
    rig.until(lambda: rig.peer_got()[0] == b"x")
    rig.host.close(sock, reset=reset)
    rig.host.close(sock)
    rig.until(lambda: rig.peer_got()[1] == state)


def test_a_close_with_unread_bytes_is_a_reset(rig: Rig) -> None:
    owner = Recorder()
    sock = connected(rig, owner)
    rig.peer_sends(b"unread")
    rig.until(lambda: owner.readable > 0)
    rig.host.close(sock)
    rig.until(lambda: rig.peer_got()[1] == "reset")


def test_a_datagram_socket_without_datagrams_has_nothing(rig: Rig) -> None:
    sock = rig.host.open_udp(Recorder())
    assert sock.receive() is None
    assert sock.errors() == []
