"""What guests put on the wire besides sound datagrams: errors of their own, fragments, options, false addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nat.kit import GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, MS, SECOND, SERVER, Lab
from tests.nat.udp_kit import PORT, echo, only_error, only_host_socket, received, reported, talking
from tests.stack.packets import ICMP, MF, icmp, ipv4, read_ipv4, udp
from usernat.policy import NetworkPolicy
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from usernat.stack.l3.icmp_message import IcmpError

PORT_UNREACHABLE = (3, 3)
PARAMETER_PROBLEM = 12
NOTHING = bytes(4)


def put(lab: Lab, datagram: bytes) -> None:
    """A frame of the guest's, as it is."""
    lab.wire.b.receive(GATEWAY_MAC + GUEST_MAC + b"\x08\0" + datagram, lab.clock.now)
    lab.run(10 * MS)


def icmp_at_guest(lab: Lab) -> list[bytes]:
    """The ICMP datagrams that the guest's link has carried, echo replies left out."""
    datagrams = [frame[14:] for frame in lab.wire.frames(to_b=False) if frame[12:14] == b"\x08\0"]
    return [datagram for datagram in datagrams if datagram[9] == ICMP and datagram[20] != 0]


# -- a guest's own ICMP errors: RFC 5508 §4.1 ----------------------------------------------------------------------------


class Hearing:
    """A mapping through which a datagram has come in, and the errors of the guest that its mapping hears."""

    def __init__(self) -> None:
        self.lab = Lab()
        self.sock = talking(self.lab)
        self.heard: list[IcmpError] = []
        self.lab.gateway._udp.hairpinned = self._hear  # type: ignore[method-assign] # where every error comes by
        only_host_socket(self.lab).arrive(b"came in", SERVER, PORT)
        self.lab.run(100 * MS)
        self.came_in = self.lab.wire.frames(to_b=False)[-1][14:]

    def _hear(self, error: IcmpError) -> bool:
        self.heard.append(error)
        return False

    def says(self, quote: bytes, *, rest: bytes = NOTHING, spoil: int = 0) -> None:
        message = icmp(*PORT_UNREACHABLE, rest, quote, spoil=spoil)
        put(self.lab, ipv4(message, src=GUEST, dst=SERVER, proto=ICMP))


@pytest.mark.rfc("5508", "REQ-3")
def test_an_error_with_a_wrong_checksum_is_dropped() -> None:
    hearing = Hearing()
    hearing.says(hearing.came_in, spoil=1)
    assert hearing.heard == []
    assert hearing.lab.interface.counters()["icmp.bad_checksum"] == 1
    hearing.says(hearing.came_in)
    assert len(hearing.heard) == 1
    assert hearing.lab.count("nat.udp.guest_errors") == 1


@pytest.mark.rfc("5508", "REQ-3a")
def test_an_error_whose_quote_has_a_wrong_header_checksum_is_dropped() -> None:
    hearing = Hearing()
    quote = bytearray(hearing.came_in)
    quote[10] ^= 1
    hearing.says(bytes(quote))
    assert hearing.heard == []
    assert hearing.lab.interface.counters()["icmp.error_bad_quote"] == 1


@pytest.mark.rfc("5508", "REQ-3b")
def test_options_in_the_quote_are_stepped_over() -> None:
    hearing = Hearing()
    header_and_ports = udp(b"came in", PORT, 4000, src=SERVER, dst=GUEST)
    hearing.says(ipv4(header_and_ports, src=SERVER, dst=GUEST, options=b"\1" * 8))
    (error,) = hearing.heard
    assert (error.src, error.dst, bytes(error.payload)) == (SERVER, GUEST, header_and_ports)


@pytest.mark.rfc("5508", "REQ-3c")
def test_the_transport_checksum_of_the_quote_is_not_looked_at() -> None:
    hearing = Hearing()
    quote = bytearray(hearing.came_in)
    quote[26] ^= 1
    hearing.says(bytes(quote))
    hearing.says(bytes(quote[:28]))  # too short for it to be reckoned
    assert len(hearing.heard) == 2


@pytest.mark.rfc("5508", "REQ-3d")
def test_extensions_and_padding_are_no_part_of_the_quote() -> None:
    hearing = Hearing()
    extension = b"\x20\0\0\0" + b"\0\x08\1\1\xab\xcd\xef\1"
    hearing.says(hearing.came_in.ljust(128, b"\0") + extension, rest=b"\0\x20\0\0")
    (error,) = hearing.heard
    assert bytes(error.datagram) == hearing.came_in


@pytest.mark.rfc("5508", "REQ-3d", "REQ-4a")
def test_nothing_that_came_with_a_far_error_is_in_what_the_guest_gets() -> None:
    """Be it another checksum or extensions: the guest gets the beginning of its own datagram."""
    lab = Lab()
    lab.host.udp[SERVER, PORT] = reported(3, 3, SERVER, data=b"hello".ljust(100, b"\0") + b"extension")
    sock = talking(lab)
    sent = lab.wire.frames(to_b=True)[-1][14:]
    assert bytes(only_error(sock).datagram) == sent[:28]
    assert icmp_at_guest(lab)[-1][28:] == sent[:28]


@pytest.mark.rfc("7857", "7.1-a")
def test_a_guests_errors_do_not_prolong_its_mapping() -> None:
    hearing = Hearing()
    (before,) = hearing.lab.gateway.flows()
    for _ in range(5):
        hearing.lab.run(10 * SECOND)
        hearing.says(hearing.came_in)
    assert len(hearing.heard) == 5
    assert hearing.lab.gateway.flows() == [before]


# -- errors that guests get ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("5508", "7.7-a")
@pytest.mark.parametrize("dscp", [0, 0x28, 0xB8])
def test_an_error_has_the_dscp_of_what_it_is_about(dscp: int) -> None:
    lab = Lab(policy=NetworkPolicy.deny_all())
    lab.guest.udp.bind(GUEST, 4000).send(b"x", SERVER, PORT, tos=dscp | 1)
    lab.run(100 * MS)
    (error,) = icmp_at_guest(lab)
    assert (error[1], error[20:22]) == (dscp, b"\3\x0d")


@pytest.mark.rfc("1812", "4.3.3.5-a")
def test_what_no_other_error_covers_is_a_parameter_problem() -> None:
    lab = Lab()
    lab.run(SECOND)
    wrong_length = b"\x07\0\0\0"
    put(lab, ipv4(udp(b"x", dst=SERVER), src=GUEST, dst=SERVER, options=wrong_length))
    (error,) = icmp_at_guest(lab)
    assert (error[20], error[24]) == (PARAMETER_PROBLEM, 21)  # the octet that is in error
    assert lab.host.record.opened == 0


@pytest.mark.rfc("5508", "REQ-10c")
def test_no_lack_and_no_question_brings_a_source_quench_or_an_information_message() -> None:
    lab = Lab()
    sock = talking(lab)
    lab.host.faults.again = 1.0
    for _ in range(200):
        sock.send(b"more than the host takes", SERVER, PORT)
    lab.run(SECOND)
    assert lab.count("nat.udp.host_full") == 200
    for kind in (4, 15, 16):
        put(lab, ipv4(icmp(kind, 0, NOTHING, b"\0" * 8), src=GUEST, dst=SERVER, proto=ICMP))
        put(lab, ipv4(icmp(kind, 0, NOTHING, b"\0" * 8), src=GUEST, dst=GATEWAY, proto=ICMP))
    assert icmp_at_guest(lab) == []
    assert all(data == b"hello" for _, _, _, _, data in lab.host.record.datagrams)


# -- false addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("1812", "5.3.7-a")
@pytest.mark.parametrize(
    "source", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
)
def test_c37_nothing_from_an_address_that_nobody_can_have_is_forwarded(source: str) -> None:
    lab = Lab()
    src = parse_ip(source)
    put(lab, ipv4(udp(b"x", src=src, dst=SERVER), src=src, dst=SERVER))
    assert lab.interface.counters()["ipv4.martian_source"] == 1
    assert (lab.gateway.flows(), lab.host.record.opened) == ([], 0)


# -- fragments -----------------------------------------------------------------------------------------------------------


def fragments_to_guest(lab: Lab) -> list[tuple[int, int, bool]]:
    """(offset, octets, more fragments) of the datagrams of UDP that the guest's link has carried, in order."""
    datagrams = [frame[14:] for frame in lab.wire.frames(to_b=False) if frame[12:14] == b"\x08\0"]
    whole = [read_ipv4(datagram) for datagram in datagrams if datagram[9] == 17]
    return [(one.offset, len(one.payload), one.mf) for one in whole]


@pytest.mark.rfc("1812", "4.2.2.7-a", "4.2.2.7-b")
def test_answers_are_cut_into_as_few_fragments_as_can_be_and_sent_in_order() -> None:
    lab = Lab()
    sock = talking(lab)
    only_host_socket(lab).arrive(b"f" * 4000, SERVER, PORT)
    lab.run(100 * MS)
    assert fragments_to_guest(lab) == [(0, 1480, True), (1480, 1480, True), (2960, 1048, False)]
    assert received(sock) == [(b"f" * 4000, SERVER, PORT)]


@pytest.mark.rfc("1812", "4.2.2.8-a")
@pytest.mark.parametrize("backwards", [False, True])
def test_the_gateway_puts_together_what_is_for_itself(backwards: bool) -> None:
    lab = Lab()
    request = icmp(8, 0, b"\0\7\0\1", b"e" * 3000)
    pieces = [
        ipv4(
            request[at : at + 1000],
            src=GUEST,
            dst=GATEWAY,
            proto=ICMP,
            flags=MF if at < 3000 else 0,
            offset=at,
        )
        for at in range(0, len(request), 1000)
    ]
    for piece in reversed(pieces) if backwards else pieces:
        put(lab, piece)
    assert lab.interface.counters()["icmp.echo_replies_sent"] == 1
    datagrams = [frame[14:] for frame in lab.wire.frames(to_b=False) if frame[12:14] == b"\x08\0"]
    reply = b"".join(read_ipv4(datagram).payload for datagram in datagrams)
    assert reply == icmp(0, 0, b"\0\7\0\1", b"e" * 3000)


def flood(lab: Lab, count: int) -> None:
    """First fragments of datagrams that are never completed."""
    for number in range(count):
        piece = udp(b"f" * 1000, 4000, PORT, dst=SERVER, length=2008, checksum=0)
        frame = ipv4(piece, src=GUEST, dst=SERVER, ident=number & 0xFFFF, flags=MF)
        lab.wire.b.receive(GATEWAY_MAC + GUEST_MAC + b"\x08\0" + frame, lab.clock.now)
        if number % 500 == 499:
            lab.run(MS)


@pytest.mark.rfc("4787", "REQ-14a")
def test_c60_a_flood_of_fragments_harms_nothing_that_is_whole() -> None:
    lab = Lab()
    lab.host.udp[SERVER, PORT] = echo
    flood(lab, 10_000)
    assert lab.interface.ipv4.reassembly.bytes <= 4 << 20
    sock = talking(lab)
    assert received(sock) == [(b"hello", SERVER, PORT)]
    pinger = lab.guest.echo.bind(1)
    pinger.request(GATEWAY, 1, b"")
    lab.run(10 * MS)
    assert pinger.recv() is not None
    sock.send(b"z" * 3000, SERVER, PORT)  # fragments that can be completed too
    lab.run(100 * MS)
    assert received(sock) == [(b"z" * 3000, SERVER, PORT)]
    assert [datagram[-1] for datagram in lab.host.record.datagrams] == [b"hello", b"z" * 3000]
