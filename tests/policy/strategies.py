"""Policies and requests out of a small world, so that rules and requests meet often; and requests that are just anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from usernat.policy import FlowRequest, NetworkPolicy
from usernat.policy.decision import DNS, ICMP, MALFORMED, TCP, UDP, UNREADABLE
from usernat.policy.groups import BUILT_IN
from usernat.policy.matchers import (
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
)
from usernat.policy.rules import Rule
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

NAMES = (
    "pypi.org",
    "files.pypi.org",
    "a.files.pypi.org",
    "org",
    "evilpypi.org",
    "pypi.org.evil.test",
    "x.test",
)
PATTERNS = (*NAMES, "*.pypi.org", "*.files.pypi.org", "*.org", "*.test", "*.evil.test")
PORTS = (22, 53, 80, 443, 8000)
PLACES = (
    "0.0.0.0", "10.0.0.1", "10.9.0.1", "127.0.0.1", "127.0.0.2", "169.254.169.254", "192.168.1.1", "224.0.0.1",
    "255.255.255.255", "100.64.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "192.0.2.1",
)  # fmt: skip
NETWORKS = (
    "0.0.0.0/0", "0.0.0.0/1", "8.0.0.0/7", "8.8.8.0/24", "8.8.8.8/32", "10.0.0.0/8", "10.0.0.0/15", "127.0.0.0/8", "126.0.0.0/7",
    "169.254.0.0/16", "192.168.0.0/16",
)  # fmt: skip
GROUPS = {"office": ("8.8.8.0/24", "10.0.0.0/16"), "wide": ("0.0.0.0/0",), "nowhere": ()}

# Names and ports where names are read are the hardest part: they come more often
domains = st.sampled_from(PATTERNS).map(Domain)
leaves = st.one_of(
    domains,
    domains,
    st.just(Any()),
    st.sampled_from(PLACES).map(Address),
    st.sampled_from(NETWORKS).map(Network),
    st.sampled_from(PORTS).map(Port),
    st.sampled_from([(1, 65535), (80, 443), (444, 9000), (20, 25)]).map(lambda ends: PortRange(*ends)),
    st.sampled_from(["tcp", "udp", "icmp", "dns"]).map(Protocol),
    st.builds(Domain, st.sampled_from(PATTERNS), st.booleans()),
    st.sampled_from([*BUILT_IN, "host", "public", *GROUPS]).map(Group),
)
matchers: SearchStrategy[Matcher] = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(AllOf), st.lists(parts, max_size=4).map(AnyOf)
    ),
    max_leaves=6,
)
rules = st.builds(Rule, st.sampled_from(["allow", "deny", "log", "ask"]), matchers)
policies = st.builds(
    lambda rules, default, on_deny: NetworkPolicy(rules, default=default, on_deny=on_deny, groups=GROUPS),
    st.lists(rules, max_size=8),
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["reject", "drop"]),
)

addresses = st.sampled_from(PLACES).map(parse_ip)
names = st.sampled_from(NAMES)
claims = st.one_of(st.none(), st.none(), st.just(UNREADABLE), names)
flows = st.builds(
    FlowRequest,
    guest=st.just(parse_ip("10.0.2.15")),
    guest_mac=st.just(b""),
    protocol=st.sampled_from([TCP, TCP, TCP, UDP, ICMP]),
    destination=addresses,
    port=st.sampled_from((*PORTS, 443, 443, 443)),
    guest_port=st.just(40000),
    names=st.lists(names, max_size=3).map(tuple),
    host=st.booleans(),
    opened=st.booleans(),
    claimed=claims,
)
questions = st.builds(
    FlowRequest,
    guest=st.just(parse_ip("10.0.2.15")),
    guest_mac=st.just(b""),
    protocol=st.just(DNS),
    destination=st.one_of(st.just(0), addresses),
    port=st.just(53),
    guest_port=st.just(40000),
    names=st.lists(st.one_of(names, names, st.just(MALFORMED)), max_size=3).map(tuple),
    host=st.booleans(),
    opened=st.booleans(),
)
requests = st.one_of(flows, questions)


def near(request: FlowRequest) -> list[FlowRequest]:
    """The request, and others that differ a little: more of them than could be drawn."""
    if request.protocol == DNS:
        chains = [request.names[:1], request.names[::-1], ("pypi.org",), ("files.pypi.org", "x.test")]
        return [request, *(request._replace(names=chain) for chain in chains)]
    ways = [(TCP, 443), (TCP, 22), (UDP, 443), (request.protocol, request.port)]
    return [
        request._replace(protocol=protocol, port=port, claimed=claimed, names=found, opened=opened)
        for protocol, port in ways
        for claimed in (None, UNREADABLE, "files.pypi.org", request.claimed)
        for found in ((), ("files.pypi.org",), request.names)
        for opened in (False, request.opened)
    ]


_wild = st.one_of(st.integers(), st.sampled_from([-1, 0, 1, 2**16, 2**32, 2**64, 0xFFFF7F000001]))
_odd = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        [
            "a" * 5000,
            "." * 300,
            "x." * 200,
            "\0",
            "PyPI.org.",
            "\N{FULLWIDTH LATIN CAPITAL LETTER P}\N{FULLWIDTH LATIN CAPITAL LETTER Y}\N{FULLWIDTH LATIN CAPITAL LETTER P}\N{FULLWIDTH LATIN CAPITAL LETTER I}.org",
        ]
    ),
)
wild_requests = st.builds(
    FlowRequest,
    guest=_wild,
    guest_mac=st.binary(max_size=9),
    protocol=st.one_of(_wild, st.sampled_from([TCP, UDP, ICMP, DNS])),
    destination=st.one_of(_wild, addresses),
    port=st.one_of(_wild, st.sampled_from(PORTS)),
    guest_port=_wild,
    names=st.lists(_odd, max_size=30).map(tuple),
    host=st.booleans(),
    opened=st.booleans(),
    claimed=st.one_of(st.none(), _odd),
)
