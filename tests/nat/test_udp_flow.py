"""UDP mappings: RFC 4787 on a virtual clock."""

from __future__ import annotations

import pytest

from tests.nat.kit import (
    FREE,
    GATEWAY,
    GUEST,
    LOOPBACK,
    MS,
    NAMESERVER,
    OTHER,
    SECOND,
    SECOND_GUEST,
    SERVER,
    Faults,
    Lab,
)
from tests.nat.udp_kit import PORT, echo, only_error, only_host_socket, received, reported, talking
from usernat.nat.config import Timeouts
from usernat.stack.checksum import checksum


@pytest.mark.rfc("4787", "REQ-1", "REQ-10")
def test_one_host_socket_an_endpoint_whatever_the_destination() -> None:
    """RFC 4787 REQ-1; REQ-10: the bytes are not touched."""
    lab = Lab()
    lab.host.udp[None, None] = echo
    sock = talking(lab)
    for address, port in ((SERVER, PORT), (SERVER, 1), (OTHER, PORT)):
        sock.send(bytes(range(256)), address, port)
    lab.run(100 * MS)
    assert lab.host.record.opened == 1
    assert received(sock)[1:] == [
        (bytes(range(256)), SERVER, PORT),
        (bytes(range(256)), SERVER, 1),
        (bytes(range(256)), OTHER, PORT),
    ]


@pytest.mark.rfc("4787", "REQ-3")
def test_two_guests_and_two_ports_never_share_a_host_socket() -> None:
    """RFC 4787 REQ-3."""
    lab = Lab()
    lab.host.udp[SERVER, PORT] = echo
    socks = [talking(lab, 4000, GUEST), talking(lab, 4000, SECOND_GUEST), talking(lab, 4001, GUEST)]
    assert lab.host.record.opened == 3
    assert [received(sock) for sock in socks] == [[(b"hello", SERVER, PORT)]] * 3


@pytest.mark.rfc("1812", "5.3.1-a", "5.3.1-c")
def test_ttl_is_decremented_both_ways() -> None:
    """RFC 1812 5.3.1-a."""
    lab = Lab()
    sock = talking(lab)
    sock.send(b"x", SERVER, PORT, ttl=2)
    lab.run(100 * MS)
    assert [ttl for _, _, ttl, _, _ in lab.host.record.datagrams] == [63, 1]
    only_host_socket(lab).arrive(b"y", SERVER, PORT, ttl=50)
    lab.run(100 * MS)
    datagram = sock.recv()
    assert datagram is not None
    assert datagram.ttl == 49


@pytest.mark.rfc("4787", "REQ-8")
def test_c36_address_dependent_filtering_lets_in_who_was_sent_to() -> None:
    """RFC 4787 REQ-8: any port of an address that the guest has sent to; nobody else."""
    lab = Lab()
    sock = talking(lab)
    host = only_host_socket(lab)
    host.arrive(b"same", SERVER, PORT)
    host.arrive(b"other port", SERVER, PORT + 1)
    host.arrive(b"stranger", OTHER, PORT)
    host.arrive(b"no port", SERVER, 0)
    lab.run(100 * MS)
    assert [data for data, _, _ in received(sock)] == [b"same", b"other port"]
    assert lab.count("nat.udp.filtered") == 2


@pytest.mark.rfc("4787", "REQ-8a")
def test_c36_endpoint_independent_filtering_is_an_option() -> None:
    """RFC 4787 REQ-8a; but never from loopback (C56)."""
    lab = Lab(udp_filtering="endpoint-independent")
    sock = talking(lab)
    host = only_host_socket(lab)
    host.arrive(b"stranger", OTHER, 99)
    host.arrive(b"local", LOOPBACK, 99)
    lab.run(100 * MS)
    assert received(sock) == [(b"stranger", OTHER, 99)]


def test_c36_no_neighbour_of_the_host_passes_for_the_gateway_or_the_nameserver() -> None:
    """Where the host's own network overlaps the guest's."""
    lab = Lab(udp_filtering="endpoint-independent", host_loopback=True)
    sock = talking(lab)
    host = only_host_socket(lab)
    for impostor in (GATEWAY, NAMESERVER, FREE):
        host.arrive(b"impostor", impostor, 53)
    lab.run(100 * MS)
    assert received(sock) == []
    assert lab.count("nat.udp.filtered") == 3


def test_c44_a_guests_datagram_with_a_ttl_of_zero_is_never_sent_with_the_hosts_own() -> None:
    """RFC 1122 3.2.1.7: the gateway is its destination, so it is taken; and -1 means "the default" to a kernel."""
    lab = Lab(host_loopback=True)
    lab.guest.udp.bind(GUEST, 4000).send(b"x", GATEWAY, PORT, ttl=1)
    lab.run(100 * MS)
    frame = bytearray(lab.wire.frames(to_b=True)[-1])
    assert frame[22] == 1
    frame[22] = 0
    frame[24:26] = bytes(2)
    frame[24:26] = checksum(frame[14:34]).to_bytes(2, "big")
    lab.interface.receive(bytes(frame), lab.clock.now)
    lab.run(100 * MS)
    assert [(address, ttl) for address, _, ttl, _, _ in lab.host.record.datagrams] == [(LOOPBACK, 1)] * 2


def test_c44_a_datagram_that_reaches_the_host_with_a_ttl_of_zero_is_delivered() -> None:
    """A kernel passes it to the socket (RFC 1122 3.2.1.7: the TTL is no reason for a host to discard), and anybody near can send one."""
    lab = Lab()
    sock = talking(lab)
    only_host_socket(lab).arrive(b"last breath", SERVER, PORT, ttl=0)
    lab.run(100 * MS)
    assert received(sock) == [(b"last breath", SERVER, PORT)]


@pytest.mark.rfc("4787", "REQ-5", "REQ-5c", "REQ-6", "REQ-6a")
def test_a_mapping_lives_for_five_minutes_after_the_last_datagram_either_way() -> None:
    """RFC 4787 REQ-5, REQ-5c, REQ-6, REQ-6a."""
    lab = Lab()
    sock = talking(lab)
    lab.run(299 * SECOND)
    only_host_socket(lab).arrive(b"in", SERVER, PORT)
    lab.run(299 * SECOND)
    assert received(sock) == [(b"in", SERVER, PORT)]
    sock.send(b"out", SERVER, PORT)
    lab.run(299 * SECOND)
    assert len(lab.gateway.flows()) == 1
    lab.run(2 * SECOND)
    assert lab.gateway.flows() == []
    assert (lab.host.record.opened, lab.host.record.closed) == (1, 1)
    assert lab.gateway._budget.used == 0
    assert lab.count("flows.expired") == 1


@pytest.mark.rfc("7857", "7-a")
def test_what_is_filtered_does_not_keep_a_mapping_alive() -> None:
    """RFC 7857 7-a."""
    lab = Lab()
    talking(lab)
    for _ in range(4):
        lab.run(60 * SECOND)
        only_host_socket(lab).arrive(b"knock", OTHER, PORT)
    lab.run(59 * SECOND)
    assert len(lab.gateway.flows()) == 1
    lab.run(2 * SECOND)
    assert lab.gateway.flows() == []
    assert lab.count("nat.udp.filtered") == 4


@pytest.mark.rfc("4787", "REQ-5a")
def test_a_mapping_for_dns_alone_is_short_lived() -> None:
    """RFC 4787 REQ-5a."""
    lab = Lab()
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"query", SERVER, 53)
    lab.run(29 * SECOND)
    assert len(lab.gateway.flows()) == 1
    lab.run(2 * SECOND)
    assert lab.gateway.flows() == []
    sock.send(b"query", SERVER, 53)
    sock.send(b"other", SERVER, 54)
    lab.run(120 * SECOND)
    assert len(lab.gateway.flows()) == 1


@pytest.mark.rfc("4787", "REQ-5")
def test_a_dns_query_does_not_shorten_a_mapping_for_other_things() -> None:
    """RFC 4787 REQ-5."""
    lab = Lab()
    talking(lab).send(b"query", OTHER, 53)
    lab.run(290 * SECOND)
    assert len(lab.gateway.flows()) == 1


@pytest.mark.rfc("4787", "REQ-5b")
def test_time_outs_can_be_configured() -> None:
    """RFC 4787 REQ-5b."""
    lab = Lab(timeouts=Timeouts(udp=10))
    talking(lab)
    lab.run(11 * SECOND)
    assert lab.gateway.flows() == []


@pytest.mark.rfc("4787", "REQ-13a")
@pytest.mark.rfc("1812", "4.2.2.7-a")
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65507])
def test_c47_datagrams_of_every_size_both_ways(size: int) -> None:
    """RFC 4787 REQ-13a, REQ-14; RFC 1812 4.2.2.7-a."""
    lab = Lab()
    lab.host.udp[SERVER, PORT] = echo
    sock = lab.guest.udp.bind(GUEST, 4000)
    payload = bytes(index * 7 & 255 for index in range(size))
    sock.send(payload, SERVER, PORT)
    lab.run()
    assert received(sock) == [(payload, SERVER, PORT)]
    assert max(len(frame) for frame in lab.wire.frames(to_b=False)) <= 1514


@pytest.mark.rfc("4787", "REQ-14")
def test_c47_large_datagrams_in_shuffled_fragments() -> None:
    """RFC 4787 REQ-14."""
    lab = Lab(faults=Faults(reorder=0.5))
    lab.host.udp[SERVER, PORT] = echo
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"z" * 8000, SERVER, PORT)
    lab.run()
    assert received(sock) == [(b"z" * 8000, SERVER, PORT)]


def test_host_loopback_through_the_gateways_address() -> None:
    lab = Lab(host_loopback=True)
    lab.host.udp[LOOPBACK, PORT] = echo
    lab.host.udp[LOOPBACK, PORT + 1] = reported(3, 3, LOOPBACK)
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(b"in", GATEWAY, PORT)
    sock.send(b"closed", GATEWAY, PORT + 1)
    lab.run(100 * MS)
    assert received(sock) == [(b"in", GATEWAY, PORT)]
    error = only_error(sock)
    assert (error.code, error.source, error.dst) == (3, GATEWAY, GATEWAY)


@pytest.mark.rfc("6888", "REQ-10")
def test_flows_can_be_seen() -> None:
    """RFC 6888 REQ-10."""
    lab = Lab()
    talking(lab)
    (info,) = lab.gateway.flows()
    assert (info.protocol, info.guest, info.guest_port, info.state) == (17, GUEST, 4000, "open")


def test_c01_three_thousand_echoes() -> None:
    """All of them come back: the guest sends no faster than its link takes."""
    lab = Lab()
    lab.host.udp[SERVER, PORT] = echo
    sock = lab.guest.udp.bind(GUEST, 4000)
    answers: list[bytes] = []
    for index in range(3000):
        sock.send(index.to_bytes(2, "big"), SERVER, PORT)
        if index % 50 == 49:
            lab.run(20 * MS)
            answers += [data for data, _, _ in received(sock)]
    assert answers == [index.to_bytes(2, "big") for index in range(3000)]
