"""The guest's resolver, and with it the DNS forwarder over real stacks on both sides."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest

from tests.face.guest.kit import DNS, GATEWAY, Network, S, knows, network
from tests.nat.dns.kit import Upstream, answer_to
from usernat.guest import NameNotFound
from usernat.nat.dns.message import TC, with_id
from usernat.stack.addr import parse_ip

NINE = parse_ip("192.0.2.9")


def test_resolve(net: Network) -> None:
    assert net.guest.resolve("www.example") == [NINE]
    assert net.services.dns.counters.answers == 1


def test_c54_truncated_answer_is_asked_again_over_tcp(net: Network) -> None:
    """RFC 7766 5-a, RFC 9210 3-b, RFC 5625 4.4.1-b: TC passes, the guest comes back by TCP, and upstream is asked by TCP."""
    seen: list[str] = []

    def resolver(sock: Upstream, question: bytes) -> bytes:
        seen.append(sock.kind)
        many = [f"192.0.2.{n}" for n in range(1, 200)]
        return answer_to(question, *many) if sock.kind == "tcp" else answer_to(question, flags=TC)

    net.services.resolver = resolver
    assert len(net.guest.resolve("many.example")) == 199
    assert seen == ["udp", "tcp"]


def test_c54_answer_too_large_for_the_client(net: Network) -> None:
    """RFC 5625 4.4-b: more than the guest's EDNS size is cut off by the forwarder, and the guest asks over TCP."""
    many = [f"192.0.2.{n}" for n in range(1, 200)]
    net.services.resolver = knows(*many)
    assert len(net.guest.resolve("many.example")) == 199
    assert net.services.dns.counters.truncated == 1
    assert net.services.dns.counters.sessions == 1


def test_c53_large_answers_reach_a_guest_with_edns(net: Network) -> None:
    """RFC 5625 4.4.3-a: 4096 octets of UDP arrive, as fragments."""
    size = 4096
    net.services.resolver = lambda _, question: answer_to(question, "192.0.2.9").ljust(size, b"\0")
    client = net.guest.interface.udp.bind(None, 0)
    wire = dns.message.make_query("big.example.", "A", use_edns=0, payload=size).to_wire()
    client.send(wire, DNS, 53)
    assert net.guest.run_until(lambda: len(client.inbox) > 0, 5)
    datagram = client.recv()
    assert datagram is not None
    assert len(datagram.data) == size


def test_cname_chain(net: Network) -> None:
    """Only records on the question's own chain count."""

    def resolver(_: Upstream, question: bytes) -> bytes:
        response = dns.message.make_response(dns.message.from_wire(question))
        for text in (
            ("www.example.", "CNAME", "cdn.test."),
            ("evil.test.", "A", "6.6.6.6"),
            ("cdn.test.", "A", "192.0.2.9"),
        ):
            response.answer.append(dns.rrset.from_text(text[0], 60, "IN", *text[1:]))
        wire: bytes = response.to_wire()
        return wire

    net.services.resolver = resolver
    assert net.guest.resolve("www.example") == [NINE]


@pytest.mark.parametrize(("flags", "words"), [(3, "NXDOMAIN"), (0, "no address"), (5, "REFUSED")])
def test_names_that_are_not_there(net: Network, flags: int, words: str) -> None:
    net.services.resolver = lambda _, question: answer_to(question, flags=flags)
    with pytest.raises(NameNotFound, match=words):
        net.guest.resolve("none.example")


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example"])
def test_what_cannot_be_a_name(net: Network, name: str) -> None:
    with pytest.raises(NameNotFound, match="not a name"):
        net.guest.resolve(name)


def test_nobody_to_ask() -> None:
    with network() as net, pytest.raises(NameNotFound, match="no server"):
        net.guest.resolve("www.example")


def test_c23_silent_upstream_is_servfail_in_time(net: Network) -> None:
    """The guest hears SERVFAIL before its own time-out, and pings meanwhile as if nothing were."""
    net.services.resolver = None
    before = net.services.now()
    with pytest.raises(NameNotFound, match="SERVFAIL"):
        net.guest.resolve("www.example")
    assert net.services.now() - before < 5 * S
    assert net.guest.ping(GATEWAY) < 0.05


def test_silent_forwarder(net: Network) -> None:
    net.guest.ping(DNS)
    net.tap.loses = lambda frame: frame[23:24] == b"\x11"
    with pytest.raises(NameNotFound, match="no server answered"):
        net.guest.resolve("www.example", timeout=60)


def test_a_server_is_asked_a_second_time(net: Network) -> None:
    """What was lost once need not be lost again."""
    net.tap.loses = lambda frame: frame[12:14] == b"\x08\x00" and net.services.now() < 5 * S
    assert net.guest.resolve("www.example.") == [NINE]


def test_closed_port_is_heard_at_once(net: Network) -> None:
    net.guest.dns = [GATEWAY]
    before = net.services.now()
    with pytest.raises(NameNotFound, match="no server answered"):
        net.guest.resolve("www.example")
    assert net.services.now() - before < S


def test_garbage_answers_are_ignored(net: Network) -> None:
    """RFC 5452 9.1-b on the guest's side too: another port, garbage, other ids, other questions; then the true answer."""

    class Liar:
        def serve(self, now: int) -> None:
            while (datagram := liar.recv()) is not None:
                wire = bytes(datagram.data)
                other = answer_to(
                    dns.message.make_query("evil.test.", "A", id=int.from_bytes(wire[:2], "big")).to_wire(),
                    "6.6.6.6",
                )
                loop = wire[:4] + b"\0\1\0\1\0\0\0\0\xc0\x0c\0\1\0\1"
                stranger.send(answer_to(wire, "6.6.6.6"), datagram.src, datagram.src_port)
                for answer in (
                    b"",
                    b"x",
                    wire,
                    with_id(0, answer_to(wire, "6.6.6.6")),
                    other,
                    loop,
                    answer_to(wire, "192.0.2.9"),
                ):
                    liar.send(answer, datagram.src, datagram.src_port)

    stranger = net.services.interface.udp.bind(GATEWAY, 5353)
    liar = net.services.interface.udp.bind(GATEWAY, 53)
    liar.owner = Liar()
    net.guest.dns = [GATEWAY]
    assert net.guest.resolve("www.example") == [NINE]
