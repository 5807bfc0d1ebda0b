"""Address groups against the standard library's view of the registry, and their edges."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.policy import AddressGroups, FlowRequest, NetworkPolicy
from usernat.policy.groups import BUILT_IN
from usernat.stack.addr import parse_ip

GROUPS = AddressGroups()


@pytest.mark.parametrize(
    ("address", "groups"),
    [
        ("0.0.0.0", ("this-network",)),
        ("10.0.2.2", ("private",)),
        ("9.255.255.255", ()),
        ("11.0.0.0", ()),
        ("100.64.0.0", ("shared",)),
        ("100.128.0.0", ()),
        ("127.255.255.255", ("loopback",)),
        ("169.254.169.254", ("link-local",)),
        ("172.15.255.255", ()),
        ("172.31.255.255", ("private",)),
        ("172.32.0.0", ()),
        ("192.0.2.255", ("documentation",)),
        ("192.168.0.0", ("private",)),
        ("198.19.255.255", ("benchmarking",)),
        ("203.0.113.7", ("documentation",)),
        ("224.0.0.1", ("multicast",)),
        ("240.0.0.0", ("reserved",)),
        ("255.255.255.255", ("reserved", "broadcast")),
        ("8.8.8.8", ()),
    ],
)
def test_edges(address: str, groups: tuple[str, ...]) -> None:
    assert GROUPS.of(parse_ip(address)) == groups


@given(st.integers(0, 2**32 - 1))
def test_what_is_in_no_group_is_global_to_the_standard_library_too(address: int) -> None:
    if not GROUPS.of(address):
        assert ipaddress.IPv4Address(address).is_global


@given(st.sampled_from([name for name in BUILT_IN if BUILT_IN[name]]), st.integers(0, 2**32 - 1))
def test_a_group_is_the_union_of_its_networks(name: str, address: int) -> None:
    inside = any(
        ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network) for network in BUILT_IN[name]
    )
    assert GROUPS.contains(name, address) == inside


def test_c28_the_hosts_own_addresses_are_a_group_that_the_embedder_defines() -> None:
    assert not GROUPS.contains("host", parse_ip("192.0.2.1"))
    groups = AddressGroups({"host": ["192.0.2.1/32", "192.0.2.0/32"]})
    assert groups.contains("host", parse_ip("192.0.2.1"))
    assert not groups.contains("host", parse_ip("192.0.2.2"))


def test_an_unknown_group_and_a_bad_network_are_errors() -> None:
    with pytest.raises(KeyError):
        GROUPS.contains("privat", 0)
    with pytest.raises(ValueError, match="host bits"):
        AddressGroups({"mine": ["10.0.0.1/8"]})


def test_the_built_in_policies() -> None:
    request = FlowRequest(1, bytes(6), 6, 2, 80, 4000)
    assert NetworkPolicy.allow_all().decide(request).allowed
    closed = NetworkPolicy.deny_all().decide(request)
    assert (closed.allowed, closed.silent) == (False, False)
    assert closed.reason
    assert NetworkPolicy.deny_all(silent=True).decide(request).silent
