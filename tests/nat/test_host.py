"""The real host sockets on loopback: connections, interest, the budget of descriptors."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.nat.host_kit import LOOPBACK, Loop, Recorder, free_port
from usernat.nat.errors import HostError
from usernat.nat.host import SPARE_READS
from usernat.nat.host_budget import descriptor_budget

if TYPE_CHECKING:
    from collections.abc import Callable


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


@pytest.mark.rfc("5382", "REQ-10")
def test_an_icmp_error_about_a_syn_that_got_through_after_all_is_no_failure(
    loop: Loop, server: socket.socket
) -> None:
    """Linux keeps it as a pending error of the connection."""

    class Warned(socket.socket):
        def getsockopt(self, *_option: int) -> int:  # type: ignore[override] # the one that is asked for
            return errno.EHOSTUNREACH

    with Warned() as sock:
        sock.connect(server.getsockname())
        assert loop.host.connect_error(sock) is None


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


def test_each_step_has_reads_to_spare_whatever_the_one_before_has_left(loop: Loop) -> None:
    for left in (0, 1):
        loop.host.spare_reads = left
        loop.turn(0)
        assert loop.host.spare_reads == SPARE_READS


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
