"""Packets that no honest kernel sends: another's address, fragments that say two things, routes of their own, protocols inside protocols.

Each attack stands beside the same packet without what is wrong with it, which leaves: so the silence is not that of a test that sends nothing.
"""

from __future__ import annotations

from socket import IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP
from typing import TYPE_CHECKING

import pytest

from tests.lab.departures import Departure
from tests.lab.guest import ADDRESS, GATEWAY, RESOLVER
from tests.lab.inside.crafted import echo, icmp, ip, tcp_syn, udp
from tests.lab.servers import peers
from tests.lab.servers.places import OTHER
from tests.lab.world import PEERS, WWW
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from tests.lab.departures import Departures
    from tests.lab.policed import Suspect

ALLOW, DENY = NetworkPolicy.allow_all(), NetworkPolicy.deny_all()
ECHO = peers.ECHO
DENIED_PORT = peers.NEVER_READS
STRANGER = "02aabbccddee"
UDP_ECHO = Departure(PEERS, IPPROTO_UDP, ECHO)
TCP_ECHO = Departure(PEERS, IPPROTO_TCP, ECHO)
PING = Departure(PEERS, IPPROTO_ICMP, 0)


def left(policed: Suspect, departures: Departures, *datagrams: bytes, mac: str = "") -> set[Departure]:
    """What leaves the host because of these. The gateway has been through all of them once it answers a ping."""
    departures.taken()
    policed.guest.call("crafted.send", [datagram.hex() for datagram in datagrams], mac)
    policed.run(f"ping -c 1 -W 2 {GATEWAY}")
    return departures.taken()


def one_of_each(source: str = ADDRESS, destination: str = PEERS, ident: int = 1) -> list[bytes]:
    return [
        ip(destination, IPPROTO_UDP, udp(ECHO), source=source),
        ip(destination, IPPROTO_TCP, tcp_syn(destination, ECHO, source=source), source=source),
        ip(destination, IPPROTO_ICMP, echo(ident), source=source),
    ]


def test_honest_packets_leave(policed: Suspect, departures: Departures) -> None:
    policed.gateway.obey(ALLOW)
    assert left(policed, departures, *one_of_each()) == {UDP_ECHO, TCP_ECHO, PING}


@pytest.mark.parametrize(
    "source",
    [
        "10.0.2.77",
        GATEWAY,
        RESOLVER,
        WWW,
        PEERS,
        "192.0.2.2",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
def test_c37_another_s_address(policed: Suspect, departures: Departures, source: str) -> None:
    policed.gateway.obey(ALLOW)
    assert left(policed, departures, *one_of_each(source, ident=2)) == set()
    assert policed.gateway.decisions() == []


def test_c37_another_s_mac_address(policed: Suspect, departures: Departures) -> None:
    """The guest's own address from a MAC address that it was not given to."""
    policed.gateway.obey(ALLOW)
    assert left(policed, departures, *one_of_each(ident=3), mac=STRANGER) == set()


def test_c37_spoofed_arp(policed: Suspect) -> None:
    """Neither the guest's neighbours nor the guest itself can be talked away from where they are."""
    policed.gateway.obey(ALLOW)
    for operation in (1, 2):
        for sender in (ADDRESS, GATEWAY, "10.0.2.77"):
            policed.guest.call("crafted.arp", operation, STRANGER, sender, GATEWAY)
    assert "1 received" in policed.run(f"ping -c 1 -W 1 {GATEWAY}")
    assert "1 received" in policed.run(f"ping -c 1 -W 1 {PEERS}")


@pytest.mark.parametrize(
    "destination",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "240.0.0.1"),
        *("10.0.2.255", "10.0.2.0", "10.0.2.77", ADDRESS),
    ],
)
def test_c28_addresses_that_lead_nowhere(policed: Suspect, departures: Departures, destination: str) -> None:
    policed.gateway.obey(ALLOW.allow_group("loopback").allow_group("this-network").allow_group("multicast"))
    assert left(policed, departures, *one_of_each(destination=destination, ident=4)) == set()


def fragments(protocol: int, payload: bytes, *cuts: int, ident: int) -> list[bytes]:
    """A datagram in pieces that begin at 0 and at each cut (bytes)."""
    ends = [*cuts, len(payload)]
    return [
        ip(PEERS, protocol, payload[begin:end], offset=begin, more=end != len(payload), ident=ident)
        for begin, end in zip([0, *cuts], ends, strict=True)
    ]


@pytest.mark.parametrize("order", [1, -1], ids=["in-order", "reversed"])
def test_c38_a_tiny_first_fragment(policed: Suspect, departures: Departures, order: int) -> None:
    """One without the TCP flags leads nowhere (RFC 1858 §3). In honest pieces the datagram is judged whole, by the port that it has."""
    policed.gateway.obey(ALLOW.deny_port(DENIED_PORT))
    allowed, denied = tcp_syn(PEERS, ECHO), tcp_syn(PEERS, DENIED_PORT)
    for ident, syn in enumerate((allowed, denied), 50 + order):
        assert left(policed, departures, *fragments(IPPROTO_TCP, syn, 8, ident=ident)[::order]) == set()
    assert policed.gateway.decisions() == []
    assert left(policed, departures, *fragments(IPPROTO_TCP, denied, 24, ident=60 + order)[::order]) == set()
    assert [record["verdict"] for record in policed.gateway.decisions()] == ["deny"]
    whole = fragments(IPPROTO_TCP, allowed, 24, ident=70 + order)
    assert left(policed, departures, *whole[::order]) == {TCP_ECHO}


def test_c38_a_lone_fragment_is_no_header(policed: Suspect, departures: Departures) -> None:
    """Bytes in the middle of a datagram that look like the header of an allowed one."""
    policed.gateway.obey(ALLOW)
    lone = [
        ip(PEERS, IPPROTO_UDP, udp(ECHO), offset=offset, ident=20 + offset) for offset in (8, 800, 65_504)
    ]
    assert left(policed, departures, *lone) == set()
    assert policed.gateway.decisions() == []


def test_c38_overlapping_fragments(policed: Suspect, departures: Departures) -> None:
    """One header for who looks at the first, another for who looks at the last: the datagram is no datagram, and is not even judged."""
    policed.gateway.obey(ALLOW.deny_port(DENIED_PORT))
    good, evil = udp(ECHO, bytes(24)), udp(DENIED_PORT, bytes(24))

    def piece(data: bytes, begin: int, end: int, ident: int) -> bytes:
        return ip(PEERS, IPPROTO_UDP, data[begin:end], offset=begin, more=end < len(data), ident=ident)

    for ident, (first, second) in enumerate(((good, evil), (evil, good)), 40):
        again = [piece(first, 0, 16, ident), piece(second, 0, 16, ident), piece(good, 16, 32, ident)]
        partly = [
            piece(first, 0, 16, 10 + ident),
            piece(second, 8, 24, 10 + ident),
            piece(good, 24, 32, 10 + ident),
        ]
        longer = [
            piece(good, 24, 32, 20 + ident),
            piece(first, 0, 16, 20 + ident),
            piece(second, 0, 24, 20 + ident),
        ]
        assert left(policed, departures, *again, *partly, *longer) == set()
    assert policed.gateway.decisions() == []
    assert left(policed, departures, *fragments(IPPROTO_UDP, good, 8, 16, ident=39)) == {UDP_ECHO}


@pytest.mark.parametrize("kind", [131, 137], ids=["loose", "strict"])
def test_a_source_route(policed: Suspect, departures: Departures, kind: int) -> None:
    """RFC 791 §3.1: a way past the destination that was judged. It leads nowhere; an option that says nothing does no harm."""
    policed.gateway.obey(ALLOW.deny_ip(OTHER))
    route = bytes([kind, 7, 4, 203, 0, 113, 81, 0])
    for options in (route, bytes([1, 1, 1, 1]) + route, route + route):
        routed = ip(PEERS, IPPROTO_UDP, udp(ECHO), options=options)
        assert left(policed, departures, routed) == set()
    plain = ip(PEERS, IPPROTO_UDP, udp(ECHO), options=bytes([1, 1, 1, 0]))
    assert left(policed, departures, plain) == {UDP_ECHO}


def test_c39_protocols_inside_protocols(policed: Suspect, departures: Departures) -> None:
    """Datagrams in datagrams (4, 41, 47), and all that is neither TCP, UDP nor ping: there are no flows of it, whatever is allowed."""
    policed.gateway.obey(ALLOW)
    inner = ip(OTHER, IPPROTO_UDP, udp(ECHO))
    tunnels = [ip(PEERS, protocol, inner) for protocol in (0, 2, 4, 41, 47, 50, 51, 89, 132, 136, 253, 255)]
    assert left(policed, departures, *tunnels) == set()


def test_c39_messages_that_are_no_ping(policed: Suspect, departures: Departures) -> None:
    policed.gateway.obey(ALLOW)
    quote = ip(ADDRESS, IPPROTO_UDP, udp(ECHO), source=PEERS)[:28]
    kinds = [0, 3, 4, 5, 9, 10, 11, 12, 13, 15, 17, 30, 42, 255]
    messages = [ip(PEERS, IPPROTO_ICMP, icmp(kind, data=quote)) for kind in kinds]
    assert left(policed, departures, *messages) == set()


@pytest.mark.parametrize("size", [56, 1400, 8000])
def test_a_tunnel_by_pings(policed: Suspect, departures: Departures, size: int) -> None:
    """Their data leaves only for an address that may be pinged."""
    policed.gateway.obey(DENY.allow_dns().allow_ip(PEERS, protocol="icmp"))
    departures.taken()
    shown = policed.refused(f"ping -n -c 1 -W 1 -s {size} -p 736563726574 {WWW}")
    assert "Packet filtered" in shown
    assert departures.taken() == set()
    assert "1 received" in policed.run(f"ping -n -c 1 -W 1 -s {size} {PEERS}")
    assert departures.taken() == {PING}
