"""Matchers: what can be written, how it reads, and that many in one mean what each of them means."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.strategies import GROUPS, PATTERNS, addresses, flows, matchers, names
from usernat.policy import AddressGroups, FlowRequest
from usernat.policy.compact import AddressSet, NameSet, PortSet, compact
from usernat.policy.decision import ICMP, TCP
from usernat.policy.errors import PolicyError
from usernat.policy.matchers import (
    MAX_DEPTH,
    PROTOCOLS,
    Address,
    AllOf,
    Any,
    AnyOf,
    Domain,
    Group,
    Matcher,
    Network,
    Port,
    PortRange,
    Protocol,
    all_of,
    any_of,
    groups_in,
)
from usernat.policy.ranges import Ranges, blocks
from usernat.policy.rules import Rule
from usernat.policy.views import TRUE, FlowView, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

TERMS = AddressGroups(GROUPS)


@pytest.mark.parametrize(
    ("matcher", "words"),
    [
        (Any(), "anything"),
        (Address("192.0.2.7"), "192.0.2.7"),
        (Network("192.0.2.0/24"), "192.0.2.0/24"),
        (Group("private"), "group private"),
        (Port(443), "port 443"),
        (PortRange(8000, 8100), "ports 8000-8100"),
        (Protocol("udp"), "udp"),
        (Domain("PyPI.org"), "pypi.org"),
        (Domain("*.pypi.org", inspect=False), "*.pypi.org (not inspected)"),
        (AllOf([Domain("pypi.org"), Port(443)]), "pypi.org, port 443"),
        (AnyOf([Port(80), AllOf([Port(443), Protocol("tcp")])]), "any of (port 80; (port 443, tcp))"),
        (AnyOf(()), "nothing"),
        (AnyOf(map(Port, range(1, 6))), "any of (port 1; port 2; port 3; port 4; port 5)"),
        (AnyOf(map(Port, range(1, 1001))), "any of (port 1; port 2; port 3; port 4; port 5; 995 more)"),
    ],
)
def test_words(matcher: Matcher, words: str) -> None:
    assert str(matcher) == words


def test_they_are_values() -> None:
    assert Address("192.0.2.7") == Address(0xC0000207) == Address(IPv4Address("192.0.2.7"))
    assert Network("192.0.2.0/24") == Network(IPv4Network("192.0.2.0/24"))
    assert (
        len({Domain("a.test"), Domain("A.test."), Domain("*.a.test"), Domain("a.test", inspect=False)}) == 3
    )
    assert AllOf([Port(1), Port(2)]) == AllOf((Port(1), Port(2)))
    assert len({AllOf([Port(1), Port(2)]), AnyOf([Port(1), Port(2)])}) == 2
    assert hash(AllOf([Port(1), Any()])) == hash(AllOf((Port(1), Any())))
    assert all_of(Port(1)) == any_of(Port(1)) == Port(1)
    assert all_of(Port(1), Any()) == AllOf([Port(1), Any()])
    assert any_of() == AnyOf(())
    assert any_of(Port(1), Any()) == AnyOf([Port(1), Any()])
    with pytest.raises(AttributeError):
        Port(1).port = 2  # type: ignore[misc]  # that it is refused is the point


def nested(depth: int) -> Matcher:
    made: Matcher = Any()
    for _ in range(depth - 1):
        made = AllOf([made])
    return made


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Address("pypi.org"), "no IPv4 address"),
        (lambda: Address("127.1"), "no IPv4 address"),
        (lambda: Address("0177.0.0.1"), "no IPv4 address"),
        (lambda: Address("::ffff:127.0.0.1"), "no IPv4 address"),
        (lambda: Address(-1), "no IPv4 address"),
        (lambda: Address(2**32), "no IPv4 address"),
        (lambda: Network("10.0.0.1/8"), "host bits"),
        (lambda: Network("10.0.0.0/33"), "no IPv4 network"),
        (lambda: Network("::/0"), "no IPv4 network"),
        (lambda: Network(""), "no IPv4 network"),
        (lambda: Port(0), "port"),
        (lambda: Port(65536), "port"),
        (lambda: Port(True), "port"),
        (lambda: Port("443"), "port"),  # type: ignore[arg-type]  # as Python lets one
        (lambda: PortRange(0, 5), "port"),
        (lambda: PortRange(5, 65536), "port"),
        (lambda: PortRange(6, 5), "before"),
        (lambda: Protocol("sctp"), "tcp, udp, icmp, dns"),
        (lambda: Domain("*"), "star"),
        (lambda: AllOf(()), "at least one"),
        (lambda: nested(MAX_DEPTH + 1), "nested"),
        (lambda: AnyOf([nested(MAX_DEPTH)]), "nested"),
        (lambda: Rule("permit", Any()), "allow, deny, log, ask"),  # type: ignore[arg-type]  # as Python lets one
        (lambda: Rule("allow", "any"), "no matcher"),  # type: ignore[arg-type]  # as Python lets one
    ],
)
def test_what_cannot_be_meant_is_an_error(make: Callable[[], object], why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        make()


def test_edges_that_can_be_meant() -> None:
    assert Port(1).holds(1)
    assert Port(65535).holds(65535)
    assert PortRange(5, 5).holds(5)
    assert nested(MAX_DEPTH).depth == MAX_DEPTH
    assert list(groups_in(AnyOf([Group("a"), AllOf([Any(), Group("b")])]))) == ["a", "b"]


def plainly(matcher: Matcher, request: FlowRequest, name: str) -> bool:
    """What it means to match a flow to an address that was found under one name, said as simply as can be."""
    place = IPv4Address(request.destination)
    match matcher:
        case Any():
            return True
        case Address(address):
            return int(place) == address
        case Network():
            return place in IPv4Network(str(matcher))
        case Group("host"):
            return request.host
        case Group("public"):
            return not request.host and not AddressGroups().of(int(place))
        case Group(group):
            return group in TERMS.of(int(place))
        case Port(port):
            return request.protocol != ICMP and request.port == port
        case PortRange(first, last):
            return request.protocol != ICMP and request.port in range(first, last + 1)
        case Protocol(word):
            return PROTOCOLS[word] == request.protocol
        case Domain(pattern):
            labels = name.split(".")
            wanted = pattern.removeprefix("*.").split(".")
            if pattern.startswith("*."):
                return len(labels) > len(wanted) and labels[-len(wanted) :] == wanted
            return labels == wanted
        case AllOf(parts):
            return all(plainly(part, request, name) for part in parts)
        case AnyOf(parts):
            return any(plainly(part, request, name) for part in parts)
    raise AssertionError(matcher)


@given(matchers, flows, names)
@settings(max_examples=500)
def test_a_flow_is_matched_as_the_words_say(matcher: Matcher, request: FlowRequest, name: str) -> None:
    reading = Reading((name,))
    view = FlowView(
        TERMS, request.destination, request.port, request.protocol, reading, reading, host=request.host
    )
    expected = plainly(matcher, request, name)
    assert (matcher.fold(view) == TRUE) == expected
    assert (compact(matcher).fold(view) == TRUE) == expected


@given(st.lists(st.builds(Domain, st.sampled_from(PATTERNS)), min_size=1, max_size=6), names)
def test_many_names_in_one(domains: list[Domain], name: str) -> None:
    assert NameSet(domains, inspect=True).holds(name) == any(domain.holds(name) for domain in domains)


def test_lists_become_one_leaf_a_kind() -> None:
    made = compact(
        AnyOf(
            [
                Port(1),
                Domain("a.test"),
                Address(5),
                Any(),
                PortRange(2, 9),
                Network("0.0.0.0/30"),
                Domain("b.test"),
            ]
        )
    )
    assert isinstance(made, AnyOf)
    assert [type(part) for part in made.matchers] == [Any, AddressSet, PortSet, NameSet]
    assert isinstance(made.matchers[1], AddressSet)
    assert made.matchers[1].ranges == ((0, 3), (5, 5))
    assert isinstance(compact(AnyOf([Port(1), Port(2)])), PortSet)
    both = compact(AnyOf([Domain("a.test"), Domain("b.test", inspect=False)]))
    assert isinstance(both, AnyOf)
    assert [part.inspect for part in both.matchers if isinstance(part, NameSet)] == [True, False]


spans = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda ends: (min(ends), max(ends)))


@given(st.lists(spans, max_size=8), spans)
def test_ranges(some: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    ranges = Ranges(some)
    held = {value for first, last in some for value in range(first, last + 1)}
    assert {value for value in range(310) if value in ranges} == held
    assert ranges.cover(*asked) == held.issuperset(range(asked[0], asked[1] + 1))


@given(spans)
def test_blocks_are_the_range(span: tuple[int, int]) -> None:
    found = [
        value for shift, prefix in blocks(*span) for value in range(prefix << shift, prefix + 1 << shift)
    ]
    assert found == list(range(span[0], span[1] + 1))


def test_blocks_of_everything() -> None:
    assert list(blocks(0, 2**32 - 1)) == [(32, 0)]
    assert len(list(blocks(1, 65535))) == 16


@given(addresses)
def test_an_address_reads_as_itself(address: int) -> None:
    assert Address(str(Address(address))) == Address(address)


def test_a_port_is_no_port_of_icmp() -> None:
    everywhere = Reading(())
    view = FlowView(TERMS, 1, 7, ICMP, everywhere, everywhere, host=False)
    assert PortRange(1, 65535).fold(view) != TRUE
    assert PortRange(1, 65535).fold(FlowView(TERMS, 1, 7, TCP, everywhere, everywhere, host=False)) == TRUE
