"""Guests that reach each other by their outside addresses. The outside is the host's loopback here, which guests call 10.0.2.2."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.nat.kit import GATEWAY, GUEST, SECOND_GUEST, SERVER
from usernat.nat.destinations import Budget, Destinations
from usernat.nat.hairpin import Hairpin

if TYPE_CHECKING:
    from tests.nat.real_kit import RealLab
    from usernat.stack.device import Buffer
    from usernat.stack.l4.udp import Datagram, UdpSocket

NOWHERE = 9


@pytest.fixture
def both(lab: RealLab) -> tuple[UdpSocket, UdpSocket]:
    """A socket of each of two guests, on the same port, that have sent to the outside."""
    lab.guest.add_address(SECOND_GUEST, 24)
    return lab.guest.udp.bind(GUEST, 4000), lab.guest.udp.bind(SECOND_GUEST, 4000)


def outside_port(lab: RealLab, sock: UdpSocket) -> int:
    """The port of the guest's mapping; the first datagram makes it."""
    before = set(lab.gateway._table._flows)
    sock.send(b"first", GATEWAY, NOWHERE)
    lab.until(lambda: bool(sock.errors))  # nobody listens there
    sock.errors.clear()
    (flow,) = set(lab.gateway._table._flows) - before
    port: int = flow.sock.port  # type: ignore[attr-defined] # a flow of UDP
    return port


def come(lab: RealLab, sock: UdpSocket) -> Datagram:
    lab.until(lambda: len(sock.inbox) > 0)
    datagram = sock.recv()
    assert datagram is not None
    return datagram


@pytest.mark.rfc("4787", "REQ-9", "REQ-9a")
def test_a_guest_reaches_another_by_its_mapping_and_is_seen_by_its_own(
    lab: RealLab, both: tuple[UdpSocket, UdpSocket]
) -> None:
    one, two = both
    port_one, port_two = outside_port(lab, one), outside_port(lab, two)
    assert port_one != port_two
    one.send(b"question", GATEWAY, port_two)
    question = come(lab, two)
    assert (bytes(question.data), question.src, question.src_port) == (b"question", GATEWAY, port_one)
    assert (question.dst, question.dst_port) == (SECOND_GUEST, 4000)
    two.send(b"answer", question.src, question.src_port)
    answer = come(lab, one)
    assert (bytes(answer.data), answer.src, answer.src_port) == (b"answer", GATEWAY, port_two)


def hairpinned(lab: RealLab, both: tuple[UdpSocket, UdpSocket]) -> tuple[int, bytes]:
    """One guest sends to the mapping of the other, whose socket is closed by then. The port of that mapping, and what was sent."""
    one, two = both
    outside_port(lab, one)
    port_two = outside_port(lab, two)
    two.close()
    frames: list[bytes] = []
    receive = lab.interface.receive

    def watched(frame: Buffer, now: int, checksum_ok: bool = False) -> None:
        frames.append(bytes(frame))
        receive(frame, now, checksum_ok)

    lab.interface.receive = watched  # type: ignore[method-assign] # what the guest's link carries
    one.send(b"nobody there?", GATEWAY, port_two)
    lab.until(
        lambda: any(frame[26:30] == SECOND_GUEST.to_bytes(4, "big") and frame[23] == 1 for frame in frames)
    )
    sent = next(frame for frame in frames if frame.endswith(b"nobody there?"))
    return port_two, sent[14 : 14 + 28]


@pytest.mark.rfc("5508", "REQ-7", "REQ-7a", "REQ-4a")
@pytest.mark.rfc("7857", "12-a")
def test_an_error_of_the_other_guest_comes_back_about_the_datagram_as_it_was_sent(
    lab: RealLab, both: tuple[UdpSocket, UdpSocket]
) -> None:
    one, _ = both
    port_two, sent = hairpinned(lab, both)
    lab.until(lambda: bool(one.errors))
    error = one.errors.popleft()
    assert (error.type, error.code, error.source) == (3, 3, GATEWAY)
    assert bytes(error.datagram[:28]) == sent
    assert (error.src, error.dst) == (GUEST, GATEWAY)
    assert int.from_bytes(error.payload[2:4], "big") == port_two
    assert lab.gateway.counters()["nat.udp.guest_errors"] == 0


@pytest.mark.rfc("4787", "REQ-12")
def test_such_an_error_ends_no_mapping_and_an_ended_one_gets_none(
    lab: RealLab, both: tuple[UdpSocket, UdpSocket]
) -> None:
    one, _ = both
    hairpinned(lab, both)
    lab.until(lambda: bool(one.errors))
    assert len(lab.gateway.flows()) == 2
    for flow in list(lab.gateway._table._flows):
        flow.abandon()
    hairpin = lab.gateway._udp._hairpin
    assert not hairpin._flows
    assert not hairpin._ports
    assert not hairpin._unknown


def test_an_error_about_what_no_guest_has_sent_stays_here(
    lab: RealLab, both: tuple[UdpSocket, UdpSocket]
) -> None:
    one, two = both
    outside_port(lab, one)
    outside_port(lab, two)
    quote = lab.interface.udp.quote(GATEWAY, 12345, SECOND_GUEST, 4000, 8)
    lab.guest.icmp.error(3, 3, quote, source=SECOND_GUEST)
    lab.until(lambda: lab.gateway.counters()["nat.udp.guest_errors"] == 1)
    assert not one.errors


# -- the map itself --------------------------------------------------------------------------------------------------------


class StubFlow:
    """What the map asks of a flow."""

    def __init__(self, port: int) -> None:
        self.asked = 0
        self.number = port
        self.sock = self
        self.destinations = Destinations(10, Budget(100))

    @property
    def port(self) -> int:
        self.asked += 1
        return self.number


class Noted:
    """A context that notes the errors."""

    def __init__(self) -> None:
        self.icmp = self
        self.sent: list[tuple[object, ...]] = []

    def error(self, type_: int, code: int, quote: bytes, **more: object) -> bool:
        self.sent.append((type_, code, quote, more))
        return True


def about(source: int, source_port: int) -> Any:
    """An error of the guest behind port 200, about a datagram from there."""
    return SimpleNamespace(
        type=3, code=4, src=source, payload=source_port.to_bytes(2, "big") + bytes(6), mtu=1300, pointer=0
    )


@pytest.mark.rfc("5508", "REQ-7", "REQ-4b")
def test_the_error_comes_from_the_outside_address_with_all_that_it_says() -> None:
    hairpin, noted = Hairpin(), Noted()
    one, two = StubFlow(100), StubFlow(200)
    for flow in (one, two):
        hairpin.opened(as_any(flow))
    one.destinations.remember(SERVER << 16 | 200, b"its header")
    assert hairpin.pass_on(as_any(noted), as_any(two), about(SERVER, 100))
    assert noted.sent == [(3, 4, b"its header", {"source": SERVER, "mtu": 1300, "pointer": 0})]
    for stranger in (about(SERVER, 101), about(SERVER + 1, 100)):
        assert not hairpin.pass_on(as_any(noted), as_any(two), stranger)
    assert len(noted.sent) == 1
    assert (one.asked, two.asked) == (1, 1)


def test_c60_the_map_forgets_flows_whether_it_knew_their_ports_or_not() -> None:
    hairpin, noted = Hairpin(), Noted()
    known, unknown, unsent = StubFlow(100), StubFlow(200), StubFlow(0)
    hairpin.opened(as_any(known))
    hairpin.opened(as_any(unsent))
    hairpin.pass_on(as_any(noted), as_any(known), about(SERVER, 100))
    hairpin.opened(as_any(unknown))
    for flow in (known, unknown, unsent):
        hairpin.closed(as_any(flow))
    assert (hairpin._flows, hairpin._ports, hairpin._unknown) == ({}, {}, {})


def as_any(stub: object) -> Any:
    return stub
