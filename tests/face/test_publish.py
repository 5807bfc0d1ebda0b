"""`--publish`, `Config.publish` and `UserNat.publish`: real clients of the kernel's, our guest, and threads."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import struct
import threading
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.face.cables import descriptors
from tests.face.publish_kit import GATEWAY, PATIENCE_S, Inhabited, call, datagrams, echoed, read_all
from usernat import Config, UserNat
from usernat.links.memory import memory_pair
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usernat.nat.audit import Record

BODY = os.urandom(5_000_000)


@pytest.fixture
def house() -> Iterator[Inhabited]:
    with Inhabited(Config()) as made:
        yield made


def test_five_megabytes_come_back_byte_by_byte(house: Inhabited) -> None:
    published = house.nat.publish("0:80")
    assert (published.address, published.guest_port) == (IPv4Address("127.0.0.1"), 80)
    assert published.port > 0
    assert hashlib.sha256(echoed(published.port, BODY)).digest() == hashlib.sha256(BODY).digest()
    assert house.nat.counters()["forwards.tcp.connected"] == 1


def test_c56_the_guest_sees_the_gateway_over_tcp_and_udp(house: Inhabited) -> None:
    tcp, udp = house.nat.publish("0:80"), house.nat.publish("0:53/udp")
    assert echoed(tcp.port, b"x") == b"x"
    with datagrams() as client:
        client.sendto(b"y", ("127.0.0.1", udp.port))
        assert client.recvfrom(100) == (b"Y", ("127.0.0.1", udp.port))
    assert (house.web.peers, house.echo.peers) == ([GATEWAY], {GATEWAY})


def test_a_server_that_speaks_first_and_a_client_that_ends_first(house: Inhabited) -> None:
    published = house.nat.publish("0:81")
    with call(published.port) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"welcome"
    with call(published.port) as sock:
        assert sock.recv(100) == b"welcome"
        sock.sendall(b"thanks")
        assert sock.recv(100) == b"thanks"


def test_two_clients_over_udp_have_their_own_answers(house: Inhabited) -> None:
    published = house.nat.publish("0:53/udp")
    where = ("127.0.0.1", published.port)
    with datagrams() as one, datagrams() as two:
        for count in range(20):
            one.sendto(b"one %d" % count, where)
            two.sendto(b"two %d" % count, where)
            assert two.recvfrom(100) == (b"TWO %d" % count, where)
            assert one.recvfrom(100) == (b"ONE %d" % count, where)
    assert len(house.nat.gateway.flows()) == 2


def test_answers_of_a_port_on_all_addresses_come_from_the_one_that_was_called(house: Inhabited) -> None:
    published = house.nat.publish("0.0.0.0:0:53/udp")
    with datagrams() as client:
        for address in ("127.0.0.1", "127.0.0.5"):
            client.sendto(b"x", (address, published.port))
            assert client.recvfrom(100) == (b"X", (address, published.port))


def test_a_refusal_of_the_guest_is_a_reset(house: Inhabited) -> None:
    published = house.nat.publish("0:9")
    with pytest.raises(ConnectionResetError), call(published.port) as sock:
        sock.recv(100)


def test_without_any_guest_a_client_is_reset_within_seconds() -> None:
    ours, theirs = memory_pair()
    with UserNat(Config(publish=["127.0.0.1:0:80"]), ours) as nat:
        (forward,) = nat.gateway._forwards._published
        started = time.monotonic()
        with call(forward.forward.port) as sock, pytest.raises(ConnectionResetError):
            sock.recv(100)
        assert time.monotonic() - started < 6
    theirs.close()


def test_c55_the_guest_reaches_the_host_at_the_same_port_numbers_meanwhile() -> None:
    """Published 127.0.0.2:P, and a service of the host on 127.0.0.1:P: over TCP and UDP, both ways at once."""
    with (
        socket.create_server(("127.0.0.1", 0)) as service,
        datagrams() as names,
        Inhabited(Config(host_loopback=True)) as house,
    ):
        port = service.getsockname()[1]
        house.nat.publish(f"127.0.0.2:{port}:80")
        udp = house.nat.publish(f"127.0.0.2:{names.getsockname()[1]}:53/udp")
        with socket.create_connection(("127.0.0.2", port), timeout=PATIENCE_S) as inbound:
            inbound.sendall(b"in")
            assert inbound.recv(10) == b"in"

            def ask() -> None:
                stream = house.guest.connect("10.0.2.2", port)
                stream.sendall(b"out")
                house.guest.ping("10.0.2.2")
                socket_ = house.guest.interface.udp.bind(None, 7)
                socket_.send(b"query", GATEWAY, udp.port)
                assert house.guest.run_until(lambda: len(socket_.inbox) > 0, PATIENCE_S)
                stream.close()

            answering = threading.Thread(target=lambda: names.sendto(*names.recvfrom(100)))
            answering.start()
            house.does(ask)
            answering.join()
            peer, _ = service.accept()
            with peer:
                peer.settimeout(PATIENCE_S)
                assert peer.recv(10) == b"out"
            inbound.sendall(b"still")
            assert inbound.recv(10) == b"still"


def test_a_guest_that_may_reach_nothing_is_reached() -> None:
    with Inhabited(Config(), NetworkPolicy.deny_all()) as house:
        assert echoed(house.nat.publish("0:80").port, b"hello") == b"hello"


# -- at run time ------------------------------------------------------------------------------------------------------


def test_forwards_come_and_go_while_traffic_flows(house: Inhabited) -> None:
    steady = house.nat.publish("0:80")
    stop = threading.Event()
    wrong: list[object] = []

    def talk() -> None:
        with call(steady.port) as sock:
            while not stop.is_set():
                sock.sendall(b"x" * 1000)
                got = 0
                while got < 1000:
                    got += len(sock.recv(1000 - got))

    def change() -> None:
        try:
            for _ in range(30):
                tcp, udp = house.nat.publish("0:80"), house.nat.publish("0:53/udp")
                assert echoed(tcp.port, b"brief") == b"brief"
                tcp.close()
                udp.close()
                with pytest.raises(ConnectionRefusedError):
                    call(tcp.port)
        except BaseException as error:  # noqa: BLE001 - told in the test's thread
            wrong.append(error)

    threads = [
        threading.Thread(target=talk),
        threading.Thread(target=change),
        threading.Thread(target=change),
    ]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    stop.set()
    threads[0].join()
    assert wrong == []
    assert house.nat.counters()["forwards.published"] == 1


def test_publishing_in_an_idle_gateway_does_not_wait_for_an_event() -> None:
    """Its thread waits without end, holding its turn."""
    ours, theirs = memory_pair()
    with UserNat(Config(), ours) as nat:
        longest = 0.0
        for _ in range(20):
            time.sleep(0.02)  # until it waits
            started = time.monotonic()
            nat.publish("0:80").close()
            nat.policy = NetworkPolicy.allow_all()
            longest = max(longest, time.monotonic() - started)
    assert longest < 1.0
    theirs.close()


def test_a_closed_forward_leaves_live_connections_and_frees_its_port(house: Inhabited) -> None:
    published = house.nat.publish("0:80")
    with call(published.port) as sock:
        sock.sendall(b"one")
        assert sock.recv(10) == b"one"
        published.close()
        published.close()
        sock.sendall(b"two")
        assert sock.recv(10) == b"two"
        again = house.nat.publish(f"{published.port}:80")
        assert again.port == published.port


def test_before_the_loop_runs_and_from_inside_a_step() -> None:
    ours, theirs = memory_pair()
    ports: list[int] = []

    def heard(_record: Record) -> None:
        if not ports:
            ports.append(nat.publish("0:80").port)

    nat = UserNat(Config(), ours, audit=heard)
    first = nat.publish("0:9")
    with call(first.port):
        deadline = time.monotonic() + PATIENCE_S
        while not ports and time.monotonic() < deadline:
            nat.process(0.1)
        with call(ports[0]):
            pass
    nat.stop()
    theirs.close()
    with pytest.raises(RuntimeError, match="no guest any more"):
        nat.publish("0:80")
    first.close()


def test_stop_gives_every_descriptor_back() -> None:
    before = descriptors()
    with Inhabited(Config(publish=["0:80", "0:53/udp"])) as house:
        forwards = list(house.nat.gateway._forwards._published)
        with call(forwards[0].forward.port) as sock, datagrams() as client:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            client.sendto(b"y", ("127.0.0.1", forwards[1].forward.port))
            assert client.recv(1) == b"Y"
            house.nat.stop()
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert descriptors() == before


def test_without_descriptors_the_loop_does_not_spin(house: Inhabited) -> None:
    published = house.nat.publish("0:80")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        lowest = os.dup(0)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            client.connect(("127.0.0.1", published.port))
            before = time.process_time()
            time.sleep(0.5)
            spent = time.process_time() - before
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert 1 <= house.nat.counters()["forwards.tcp.accept_failed"] < 20
        assert spent < 0.4
        client.sendall(b"late")
        assert client.recv(10) == b"late"


def test_a_client_that_resets_at_once_leaves_nothing(house: Inhabited) -> None:
    published = house.nat.publish("0:80")
    for _ in range(20):
        with call(published.port) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + PATIENCE_S
    while house.nat.gateway.flows():
        assert time.monotonic() < deadline
        time.sleep(0.01)
