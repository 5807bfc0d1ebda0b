"""The gateway as a whole: services, time, the end, and the view from outside."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nat.kit import FREE, GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, MS, NAMESERVER, SECOND, SERVER, Lab
from tests.stack.packets import udp
from usernat.fuzz.fakehost import BLACK_HOLE, Listening
from usernat.fuzz.fakepeers import Echo, NeverReads, Source
from usernat.policy import NetworkPolicy

PORT = 80
QUERY = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\x01a\x04test\0\0\1\0\1"


def busy(lab: Lab) -> None:
    """One flow of every kind and state."""
    lab.host.tcp[SERVER, PORT] = Listening(Echo)
    lab.host.tcp[SERVER, 81] = BLACK_HOLE
    lab.host.tcp[SERVER, 82] = Listening(NeverReads)
    lab.host.tcp[SERVER, 83] = Listening(lambda: Source(b"s" * 4_000_000))
    for port in (80, 81, 82, 83):
        lab.guest.tcp.connect(SERVER, port).send(b"x" * 500_000)
    lab.guest.udp.bind(GUEST, 4000).send(b"u", SERVER, 9)
    lab.guest.udp.bind(GUEST, 4001).send(QUERY, NAMESERVER, 53)
    lab.guest.echo.bind(1).request(SERVER, 1, b"")
    lab.run(SECOND)


def test_c27_when_the_guest_is_gone_nothing_is_left() -> None:
    lab = Lab()
    busy(lab)
    assert {(info.protocol, info.state) for info in lab.gateway.flows()} >= {
        (6, "open"),
        (6, "connecting"),
        (17, "open"),
        (1, "open"),
    }
    assert len(lab.host.sockets) >= 7  # the DNS question has one too
    lab.gateway.close()
    assert lab.gateway.flows() == []
    assert not lab.host.sockets
    assert lab.host.record.opened == lab.host.record.closed
    assert lab.gateway.poll_at() is None
    lab.run(10 * SECOND)  # the guest goes on talking to nobody
    assert not lab.host.sockets
    assert lab.gateway.flows() == []


def test_c27_closing_twice_and_before_anything_happened_is_harmless() -> None:
    lab = Lab()
    lab.gateway.close()
    lab.gateway.close()
    lab.run(SECOND)


def test_the_end_of_a_flow_is_a_deadline_that_never_lies() -> None:
    lab = Lab()
    busy(lab)
    now = lab.clock.now
    for _ in range(200):
        due = lab.gateway.poll_at()
        if due is None:
            break
        assert due > now
        now = due
        lab.gateway.on_time(now)
        after = lab.gateway.poll_at()
        assert after is None or after > now
    assert now > lab.clock.now + 60 * SECOND


def test_the_guest_gets_a_lease_of_the_configured_network() -> None:
    lab = Lab()
    discover = (
        bytes([1, 1, 6, 0])
        + b"\0\0\0\1"
        + bytes(8)
        + bytes(12)
        + GUEST_MAC
        + bytes(10 + 192)
        + b"\x63\x82\x53\x63\x35\1\1\xff"
    )
    sock = lab.guest.udp.bind(None, 68)
    sock.send(discover, 0xFFFFFFFF, 67, src=0, mac=b"\xff" * 6)
    lab.run(SECOND)
    offer = next(
        frame
        for frame in lab.wire.frames(to_b=False)
        if frame[12:14] == b"\x08\0" and frame[34:36] == b"\0\x43"
    )
    assert int.from_bytes(offer[58:62], "big") == lab.config.lease_first
    assert lab.host.record.opened == 0


@pytest.mark.rfc("2131", "3.1-b", "4.1-f")
def test_a_lease_is_given_without_any_arp() -> None:
    """Neither is the address asked for, nor does the answer need it: it goes to the client's hardware address."""
    lab = Lab()
    lab.run(SECOND)
    arp = len(arp_of_the_gateway(lab))
    lab.guest.udp.bind(None, 68)
    client = b"\x02\0\0\0\0\x77"
    head = b"\1\1\6\0" + b"\0\0\0\1" + bytes(4)
    for kind, options in (
        (1, b""),
        (3, b"\x36\4" + GATEWAY.to_bytes(4, "big") + b"\x32\4" + lab.config.lease_first.to_bytes(4, "big")),
    ):
        message = head + bytes(16) + client + bytes(10 + 192) + b"\x63\x82\x53\x63\x35\1" + bytes([kind])
        datagram = ip(17, bytes(4), b"\xff" * 4, udp(message + options + b"\xff", 68, 67))
        lab.wire.b.receive(b"\xff" * 6 + client + b"\x08\0" + datagram, lab.clock.now, True)
        lab.run(100 * MS)
    answers = [frame for frame in lab.wire.frames(to_b=False) if frame[34:36] == b"\0\x43"]
    assert [frame[:6] for frame in answers] == [client] * 2
    assert [frame[284] for frame in answers] == [2, 5]  # OFFER, ACK
    assert lab.gateway.dhcp.leases.owner(lab.config.lease_first) == client
    assert len(arp_of_the_gateway(lab)) == arp


def arp_of_the_gateway(lab: Lab) -> list[bytes]:
    return [frame for frame in lab.wire.frames(to_b=False) if frame[12:14] == b"\x08\6"]


def test_dns_goes_to_the_resolver_and_comes_back() -> None:
    lab = Lab()
    answer = (
        QUERY[2:4].replace(b"\x01\0", b"\x81\x80")
        + b"\0\1\0\1\0\0\0\0"
        + QUERY[12:]
        + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
    )
    lab.host.udp[SERVER, 53] = lambda data: [data[:2] + answer]
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(QUERY, NAMESERVER, 53)
    lab.run(SECOND)
    reply = sock.recv()
    assert reply is not None
    assert bytes(reply.data) == QUERY[:2] + answer
    assert lab.gateway.flows() == []  # a service, not a flow


def test_a_host_with_the_guests_network_loses_guests_the_way_there_and_nothing_else() -> None:
    """Its resolver may be there too; RFC 4787 4.4 asks for more, see `tests/conformance/open.tsv`."""
    lab = Lab(resolvers=((FREE, 53),))
    lab.host.udp[FREE, 53] = lambda data: [data[:2] + b"\x81\x80" + data[4:]]
    lab.host.udp[SERVER, 7] = lambda data: [data]
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(QUERY, NAMESERVER, 53)
    sock.send(b"elsewhere", SERVER, 7)
    lab.run(SECOND)
    assert {(datagram.src, bytes(datagram.data)) for datagram in iter(sock.recv, None)} == {
        (NAMESERVER, QUERY[:2] + b"\x81\x80" + QUERY[4:]),
        (SERVER, b"elsewhere"),
    }


@pytest.mark.rfc("5625", "4.4.3-a")
def test_dns_answers_of_four_kilobytes_arrive_in_fragments() -> None:
    lab = Lab()
    edns = b"\0\0\x29\x10\0\0\0\0\0\0\0"
    query = QUERY[:10] + b"\0\1" + QUERY[12:] + edns
    lab.host.udp[SERVER, 53] = lambda data: [(data[:2] + b"\x81\x80" + data[4:]).ljust(4096, b"\xaa")]
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(query, NAMESERVER, 53)
    lab.run(SECOND)
    reply = sock.recv()
    assert reply is not None
    assert bytes(reply.data) == (query[:2] + b"\x81\x80" + query[4:]).ljust(4096, b"\xaa")


def test_c23_a_resolver_that_is_silent_touches_nobody_else() -> None:
    lab = Lab()
    lab.host.tcp[SERVER, PORT] = Listening(Echo)
    sock = lab.guest.udp.bind(GUEST, 4000)
    sock.send(QUERY, NAMESERVER, 53)
    connection = lab.guest.tcp.connect(SERVER, PORT)
    connection.nodelay = True
    pinger = lab.guest.echo.bind(1)
    lab.run(100 * MS)
    for seq in range(20):
        connection.send(b"x")
        pinger.request(GATEWAY, seq, b"")
        assert lab.run(50 * MS, stop=lambda: len(pinger.inbox) > 0 and connection.readable > 0)
        pinger.recv()
        connection.recv(10)
    lab.run(5 * SECOND)
    reply = sock.recv()
    assert reply is not None
    assert reply.data[3] & 15 == 2  # SERVFAIL


def test_the_gateway_itself_is_no_matter_of_policy() -> None:
    lab = Lab(policy=NetworkPolicy.deny_all())
    pinger = lab.guest.echo.bind(1)
    pinger.request(GATEWAY, 1, b"")
    lab.run(SECOND)
    assert pinger.recv() is not None


def test_counters_have_a_name_for_everything() -> None:
    lab = Lab()
    busy(lab)
    counters = lab.gateway.counters()
    assert counters["flows.open"] == len(lab.gateway.flows()) == 6
    assert {name.rsplit(".", 1)[0] for name in counters} == {
        "flows",
        "asking",
        "audit",
        "names",
        "quota",
        "forwards",
        "forwards.tcp",
        "forwards.udp",
        "dns.screening",
        "nat",
        "admission",
        "nat.tcp",
        "nat.udp",
        "nat.echo",
        "dhcp",
        "dns",
    }
    assert counters["flows.opened_tcp"] == 4
    assert all(isinstance(value, int) for value in counters.values())


def test_c60_no_descriptors_at_all_still_serves_the_gateways_own() -> None:
    lab = Lab(host={"max_sockets": 0})
    busy(lab)
    assert lab.gateway.flows() == []
    assert lab.count("nat.tcp.no_resources") >= 4
    pinger = lab.guest.echo.bind(2)
    pinger.request(GATEWAY, 1, b"")
    lab.run(SECOND)
    assert pinger.recv() is not None


def frame(ethertype: int, payload: bytes) -> bytes:
    return GATEWAY_MAC + GUEST_MAC + ethertype.to_bytes(2, "big") + payload


def ip(proto: int, src: bytes, dst: bytes, payload: bytes, ttl: int = 64) -> bytes:
    head = (
        bytes([0x45, 0])
        + (20 + len(payload)).to_bytes(2, "big")
        + b"\0\0\0\0"
        + bytes([ttl, proto])
        + b"\0\0"
        + src
        + dst
    )
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + (0xFFFF - total).to_bytes(2, "big") + head[12:] + payload


ADDRESSES = st.sampled_from(
    [
        GUEST.to_bytes(4, "big"),
        GATEWAY.to_bytes(4, "big"),
        NAMESERVER.to_bytes(4, "big"),
        SERVER.to_bytes(4, "big"),
        bytes(4),
        b"\xff" * 4,
        b"\x7f\x00\x00\x01",
        b"\xe0\x00\x00\x01",
        b"\n\x00\x02\xff",
        b"\n\x00\x02c",
    ]
)
HOSTILE = st.builds(
    lambda *parts: frame(0x0800, ip(*parts)),
    st.sampled_from([1, 6, 17, 47]),
    ADDRESSES,
    ADDRESSES,
    st.binary(max_size=80),
    st.integers(0, 255),
)


@settings(max_examples=60)
@given(
    frames=st.lists(HOSTILE, max_size=40),
    refuse=st.sampled_from([0.0, 0.5]),
    again=st.sampled_from([0.0, 0.5]),
)
def test_c39_no_frame_of_a_guest_raises_out_of_the_gateway(
    frames: list[bytes], refuse: float, again: float
) -> None:
    lab = Lab()
    lab.host.faults.descriptors, lab.host.faults.again = refuse, again
    for data in frames:
        lab.wire.b.receive(data, lab.clock.now, True)
        lab.run(MS)
    lab.run(5 * SECOND)
    sources = {(info.guest, info.protocol) for info in lab.gateway.flows()}
    assert all(lab.config.is_guest(guest) for guest, _ in sources)  # C37
    lab.gateway.close()
    assert not lab.host.sockets


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EPIPE])
def test_whatever_errno_a_host_socket_dies_of_the_guest_is_reset(number: int) -> None:
    lab = Lab()
    peers: list[Echo] = []

    def make() -> Echo:
        peers.append(Echo())
        return peers[0]

    lab.host.tcp[SERVER, PORT] = Listening(make)
    connection = lab.guest.tcp.connect(SERVER, PORT)
    connection.send(b"x")
    lab.run(SECOND)
    assert peers[0].stream is not None
    peers[0].stream.reset(number)
    lab.run(SECOND)
    assert connection.error is not None
    assert lab.gateway.flows() == []
