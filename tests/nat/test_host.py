"""The real host sockets, on loopback and in namespaces of the test's own."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.netns import Namespace, join
from usernat.nat.errors import HostError
from usernat.nat.host import DatagramSocket, HostSockets, descriptor_budget

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from usernat.nat.host_datagram import HostEcho

LOOPBACK = 0x7F000001
PORT_UNREACHABLE = (3, 3)


class Recorder:
    """An owner that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[bool, bool]] = []

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        self.events.append((readable, writable))


class Loop:
    """A selector, the host on it, and turns."""

    def __init__(self, **options: Any) -> None:
        self.selector = selectors.DefaultSelector()
        self.host = HostSockets(self.selector, rng=random.Random(1), **options)

    def turn(self, timeout: float = 5.0) -> None:
        self.host.dispatch(self.selector.select(timeout), 0)

    def close(self) -> None:
        self.host.close_all()
        self.selector.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()
    assert len(made.host) == 0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        yield listening


@pytest.fixture
def udp_peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        yield peer


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_connection_is_writable_once_it_stands_and_carries_bytes(loop: Loop, server: socket.socket) -> None:
    owner = Recorder()
    sock = loop.host.connect_tcp(LOOPBACK, server.getsockname()[1], owner, ttl=63)
    assert not sock.getblocking()
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 63
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    loop.host.watch(sock, readable=False, writable=True)
    loop.turn()
    assert owner.events == [(False, True)]
    assert loop.host.connect_error(sock) is None
    peer, _ = server.accept()
    with peer:
        loop.host.watch(sock, readable=True, writable=False)
        peer.sendall(b"hello")
        loop.turn()
        assert owner.events[1:] == [(True, False)]
        assert sock.recv(100) == b"hello"
        loop.host.close(sock)
        assert peer.recv(1) == b""


def test_a_refused_connect_is_told_by_its_errno(loop: Loop) -> None:
    owner = Recorder()
    sock = loop.host.connect_tcp(LOOPBACK, free_port(socket.SOCK_STREAM), owner)
    loop.host.watch(sock, readable=False, writable=True)
    loop.turn()
    failure = loop.host.connect_error(sock)
    assert failure is not None
    assert (failure.errno, failure.icmp) == (errno.ECONNREFUSED, False)


def test_a_socket_that_was_connected_to_itself_was_refused(loop: Loop) -> None:
    """The kernel chooses ports from the range that a guest may call, and TCP opens to itself."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        failure = loop.host.connect_error(sock)
    assert failure is not None
    assert failure.errno == errno.ECONNREFUSED


def test_a_socket_without_a_peer_is_not_connected(loop: Loop) -> None:
    with socket.socket() as sock:
        failure = loop.host.connect_error(sock)
    assert failure is not None
    assert failure.errno == errno.ENOTCONN


def test_c08_close_with_reset_is_a_reset_for_the_peer(loop: Loop, server: socket.socket) -> None:
    sock = loop.host.connect_tcp(LOOPBACK, server.getsockname()[1], Recorder())
    peer, _ = server.accept()
    with peer:
        loop.host.close(sock, reset=True)
        peer.settimeout(5)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_c18_urgent_data_stays_in_the_stream(loop: Loop, server: socket.socket) -> None:
    sock = loop.host.connect_tcp(LOOPBACK, server.getsockname()[1], Recorder())
    peer, _ = server.accept()
    with peer:
        peer.sendall(b"ab")
        peer.send(b"!", socket.MSG_OOB)
        peer.sendall(b"cd")
        peer.shutdown(socket.SHUT_WR)
        data = b""
        sock.settimeout(5)
        while piece := sock.recv(100):
            data += piece
        assert data == b"ab!cd"


def test_interest_can_be_changed_and_withdrawn_and_costs_nothing_twice(
    loop: Loop, udp_peer: socket.socket
) -> None:
    owner = Recorder()
    sock = loop.host.connect_udp(LOOPBACK, udp_peer.getsockname()[1], owner)
    loop.turn(0)
    assert owner.events == []  # nothing is watched at first
    loop.host.watch(sock, readable=False, writable=True)
    loop.host.watch(sock, readable=False, writable=True)
    loop.turn()
    loop.host.watch(sock, readable=False, writable=False)
    loop.turn(0)
    assert owner.events == [(False, True)]


def test_an_owner_may_close_a_socket_whose_event_is_in_the_same_batch(
    loop: Loop, udp_peer: socket.socket
) -> None:
    victims: list[Any] = []

    class Killer(Recorder):
        def on_host(self, readable: bool, writable: bool, now: int) -> None:
            super().on_host(readable, writable, now)
            for victim in victims:
                loop.host.close(victim)

    owners = [Killer(), Killer()]
    for owner in owners:
        sock = loop.host.connect_udp(LOOPBACK, udp_peer.getsockname()[1], owner)
        loop.host.watch(sock, readable=False, writable=True)
        victims.append(sock)
    loop.turn()
    assert sum(len(owner.events) for owner in owners) == 1


def test_events_of_other_registrations_are_left_alone(loop: Loop) -> None:
    a, b = socket.socketpair()
    with a, b:
        loop.selector.register(a, selectors.EVENT_WRITE, "somebody else's")
        loop.turn()


def test_c60_mappings_leave_descriptors_to_connections_and_both_to_names(udp_peer: socket.socket) -> None:
    loop = Loop(max_sockets=16)

    def opened(open_one: Callable[[], object]) -> int:
        for count in range(20):
            try:
                open_one()
            except HostError:
                return count
        return 20

    assert opened(lambda: loop.host.open_udp(Recorder())) == 12
    assert opened(lambda: loop.host.connect_tcp(LOOPBACK, 9, Recorder())) == 3
    assert opened(lambda: loop.host.connect_udp(LOOPBACK, 9, Recorder())) == 1
    loop.close()


def test_c60_the_budget_of_descriptors_is_refused_by_errno_and_comes_back(udp_peer: socket.socket) -> None:
    loop = Loop(max_sockets=2)
    first = loop.host.open_udp(Recorder())
    loop.host.open_udp(Recorder())
    for _ in range(3):
        with pytest.raises(HostError) as refused:
            loop.host.connect_tcp(LOOPBACK, 9, Recorder())
        assert refused.value.number == errno.EMFILE
    assert loop.host.counters.refused_budget == 3
    loop.host.close(first)
    loop.host.close(first)  # closing twice does nothing
    loop.host.open_udp(Recorder())
    assert loop.host.counters.closed == 1
    loop.close()


def test_c60_no_descriptors_left_in_the_process_is_an_errno_too(loop: Loop) -> None:
    resource = pytest.importorskip("resource")
    may_ping = loop.host.open_echo(Recorder()) is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(HostError) as refused:
            loop.host.open_udp(Recorder())
        with pytest.raises(HostError) if may_ping else contextlib.nullcontext() as no_echo:
            assert loop.host.open_echo(Recorder()) is None  # forbidden anyway: that is found out first
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused.value.number == errno.EMFILE
    assert no_echo is None or no_echo.value.number == errno.EMFILE
    assert loop.host.counters.refused_system >= 2  # an unprivileged echo socket may be refused before that


def test_c60_the_budget_leaves_head_room() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptor_budget() < soft or soft == resource.RLIM_INFINITY
    if soft < 1000:
        pytest.skip(f"needs 1000 descriptors, has {soft}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    try:
        assert descriptor_budget() == 875
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def receive(sock: DatagramSocket) -> tuple[bytes, int, int, int]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        received = sock.receive()
        if received is not None:
            return received
        time.sleep(0.001)
    raise AssertionError("nothing came")


def test_udp_goes_out_with_its_ttl_and_comes_back_with_the_peers(loop: Loop, udp_peer: socket.socket) -> None:
    udp_peer.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    udp_peer.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    sock = loop.host.open_udp(Recorder())
    for ttl, df in ((17, True), (18, False)):
        sock.send(b"ping", LOOPBACK, udp_peer.getsockname()[1], ttl, df)
        data, ancillary, _, source = udp_peer.recvmsg(100, 64)
        assert (data, int.from_bytes(ancillary[0][2], sys.byteorder)) == (b"ping", ttl)
        udp_peer.sendto(b"pong", source)
        assert receive(sock) == (b"pong", LOOPBACK, udp_peer.getsockname()[1], 33)
    assert sock.receive() is None
    assert sock.errors() == []


def test_c47_the_largest_datagram_both_ways(loop: Loop, udp_peer: socket.socket) -> None:
    sock = loop.host.open_udp(Recorder())
    largest = bytes(range(256)) * 256
    sock.send(largest[:65507], LOOPBACK, udp_peer.getsockname()[1], 64, df=False)
    data, source = udp_peer.recvfrom(70000)
    assert data == largest[:65507]
    udp_peer.sendto(data, source)
    assert receive(sock)[0] == largest[:65507]


def test_a_closed_udp_port_comes_from_the_error_queue_and_the_socket_lives_on(
    loop: Loop, udp_peer: socket.socket
) -> None:
    """RFC 4787 REQ-12, REQ-12b."""
    owner = Recorder()
    sock = loop.host.open_udp(owner)
    port = free_port(socket.SOCK_DGRAM)
    loop.host.watch(sock, readable=True, writable=False)
    sock.send(b"x" * 20, LOOPBACK, port, 64, df=False)
    loop.turn()
    assert owner.events == [(True, False)]
    with pytest.raises(ConnectionRefusedError):
        sock.receive()
    (report,) = sock.errors()
    assert report.icmp
    assert (report.type, report.code) == PORT_UNREACHABLE
    assert (report.address, report.port, report.offender) == (LOOPBACK, port, LOOPBACK)
    sock.send(b"again", LOOPBACK, udp_peer.getsockname()[1], 64, df=False)
    assert udp_peer.recv(100) == b"again"


def open_echo(loop: Loop, owner: Recorder) -> HostEcho:
    sock = loop.host.open_echo(owner)
    if sock is None:
        pytest.skip("needs CAP_NET_RAW, or a group in net.ipv4.ping_group_range")
    return sock


def test_c46_two_echo_sockets_on_one_host_do_not_take_each_others_replies(loop: Loop) -> None:
    first, second = open_echo(loop, Recorder()), open_echo(loop, Recorder())
    first.send(b"first", LOOPBACK, 7, 64, df=False)
    second.send(b"second", LOOPBACK, 7, 64, df=False)
    assert receive(first)[:3] == (b"first", LOOPBACK, 7)
    assert receive(second)[:3] == (b"second", LOOPBACK, 7)
    assert first.receive() is None
    assert second.receive() is None


def test_c46_raw_identifiers_are_never_shared() -> None:
    """Every raw socket sees all replies, so chance must not give two of them one identifier."""

    class Stuck(random.Random):
        def __init__(self) -> None:
            super().__init__(1)
            self.draws = [5, 5, 6, 6, 5, 7]

        def getrandbits(self, k: int, /) -> int:
            return self.draws.pop(0)

    loop = Loop()
    loop.host._rng = Stuck()
    socks = [open_echo(loop, Recorder()) for _ in range(3)]
    if socks[0].raw_ident is None:
        pytest.skip("needs raw sockets to be what is used: net.ipv4.ping_group_range is open here")
    assert [sock.raw_ident for sock in socks] == [5, 6, 7]
    loop.close()


def test_no_echo_socket_at_all_warns_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Forbidding(socket.socket):
        def __init__(self, family: int = -1, type: int = -1, proto: int = -1) -> None:  # noqa: A002
            if proto == socket.IPPROTO_ICMP:
                raise PermissionError(errno.EPERM, "forbidden")
            super().__init__(family, type, proto)

    monkeypatch.setattr(socket, "socket", Forbidding)
    with caplog.at_level(logging.WARNING):
        assert loop.host.open_echo(Recorder()) is None
        assert loop.host.open_echo(Recorder()) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "ping_group_range" in caplog.text


# -- behind a router, in namespaces ---------------------------------------------------------------------------------------

ROUTER, FAR, NOBODY = "198.51.100.2", "203.0.113.9", "203.0.113.77"
PROBE = Path(__file__).parent / "inside_probe.py"


@pytest.fixture(scope="module")
def behind_router() -> Iterator[Namespace]:
    """A place whose only way out is a router, behind which one host is."""
    try:
        near = Namespace()
    except OSError as error:
        pytest.skip(f"needs network namespaces: {error}")
    with near, Namespace(near) as router, Namespace(near) as far:
        join(near, "out", router, "in")
        join(router, "out", far, "in", mtu=1400)
        near.ip("addr add 198.51.100.1/24 dev out")
        near.ip(f"route add default via {ROUTER}")
        router.ip(f"addr add {ROUTER}/24 dev in")
        router.ip("addr add 203.0.113.1/24 dev out")
        router.ip("neigh add 203.0.113.77 lladdr 02:00:00:00:00:77 dev out nud permanent")
        router.sysctl("net.ipv4.ip_forward", "1")
        far.ip(f"addr add {FAR}/24 dev in")
        far.ip("route add default via 203.0.113.1")
        near.sysctl("net.ipv4.ping_group_range", "0 0")
        yield near


def probe(place: Namespace, *arguments: str) -> dict[str, Any]:
    """What `inside_probe.py` found out in there."""
    done: subprocess.CompletedProcess[str] = place.run(sys.executable, str(PROBE), *arguments)
    result: dict[str, Any] = eval(done.stdout, {})
    return result


@pytest.mark.parametrize("kind", ["tcp", "udp", "echo", "raw-echo"])
def test_c44_a_ttl_that_runs_out_names_the_router(behind_router: Namespace, kind: str) -> None:
    found = probe(behind_router, kind, FAR, "1")
    assert found["error"] == {
        "type": 11,
        "code": 0,
        "offender": ROUTER,
        "address": FAR,
        "mtu": 0,
        "port": found["port"],
    }


@pytest.mark.parametrize("kind", ["udp", "echo", "raw-echo"])
def test_c44_too_big_with_df_tells_the_mtu(behind_router: Namespace, kind: str) -> None:
    """RFC 4787 REQ-13: the router's report first, then the host's own knowledge of the path."""
    behind_router.ip("route flush cache")
    first = probe(behind_router, kind, FAR, "64", "1440")
    assert first["error"] == {
        "type": 3,
        "code": 4,
        "offender": ROUTER,
        "address": FAR,
        "mtu": 1400,
        "port": first["port"],
    }
    second = probe(behind_router, kind, FAR, "64", "1440")
    assert (second["raised"], second["error"]["mtu"], second["error"]["code"]) == (errno.EMSGSIZE, 1400, 4)


@pytest.mark.parametrize("kind", ["echo", "raw-echo"])
def test_c45_a_ping_is_answered_by_who_exists_and_nobody_else(behind_router: Namespace, kind: str) -> None:
    assert probe(behind_router, kind, FAR, "64")["reply"] == (b"\x55" * 32, FAR, 63)
    silence = probe(behind_router, kind, NOBODY, "64")
    assert (silence["reply"], silence["error"]) == (None, None)


def test_unprivileged_echo_is_used_where_it_is_allowed(behind_router: Namespace) -> None:
    assert probe(behind_router, "echo", FAR, "64")["raw"] is False
    assert probe(behind_router, "raw-echo", FAR, "64")["raw"] is True


def test_a_port_that_a_far_host_has_closed_refuses_tcp_and_is_unreachable_by_udp(
    behind_router: Namespace,
) -> None:
    assert probe(behind_router, "tcp", FAR, "64")["raised"] == errno.ECONNREFUSED
    assert probe(behind_router, "udp", FAR, "64")["error"]["offender"] == FAR
