"""Address groups against the standard library's view of the registry, and their edges."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.policy import AddressGroups
from usernat.policy.errors import PolicyError
from usernat.policy.groups import BUILT_IN, GUARDED, INSIDE, guarded, is_inside, is_near
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


def test_c28_the_hosts_own_addresses_are_a_group_that_the_request_says() -> None:
    address = parse_ip("192.0.2.1")
    assert GROUPS.contains("host", address, host=True)
    assert not GROUPS.contains("host", address)
    assert GROUPS.ranges("host") is None


def test_public_is_what_is_in_no_other() -> None:
    address = parse_ip("8.8.8.8")
    assert GROUPS.contains("public", address)
    assert not GROUPS.contains("public", address, host=True)
    assert GROUPS.ranges("public") is None


@given(st.integers(0, 2**32 - 1))
def test_public_and_the_special_groups_are_everything(address: int) -> None:
    assert GROUPS.contains("public", address) == (not GROUPS.of(address))


@given(
    st.integers(0, 2**32 - 1)
    | st.sampled_from([0, 0x7F000001, 0xA9FEA9FE, 0xFFFFFFFF, 0xE0000001, 0x0A000001])
)
def test_near_is_what_is_guarded_or_inside(address: int) -> None:
    assert is_near(address) == (bool(guarded(address)) or is_inside(address))
    assert bool(guarded(address)) == bool({*GROUPS.of(address)} & {*GUARDED})
    assert is_inside(address) == bool({*GROUPS.of(address)} & {*INSIDE})


def test_a_group_of_ones_own() -> None:
    groups = AddressGroups({"mine": ["192.0.2.1/32", "192.0.2.0/32", "10.0.0.0/8"]})
    assert groups.contains("mine", parse_ip("192.0.2.1"))
    assert not groups.contains("mine", parse_ip("192.0.2.2"))
    assert groups.names[-3:] == ("mine", "host", "public")
    assert groups.ranges("mine") == [(0x0A000000, 0x0AFFFFFF), (0xC0000200, 0xC0000201)]
    assert list(groups.networks("mine"))[:2] == [(0xC0000201, 0xC0000201), (0xC0000200, 0xC0000200)]
    assert list(groups.networks("private")) == []


@pytest.mark.parametrize("name", ["host", "public", "private", "loopback"])
def test_what_is_built_in_means_the_same_everywhere(name: str) -> None:
    with pytest.raises(PolicyError, match="built in"):
        AddressGroups({name: []})


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_bad_names(name: str) -> None:
    with pytest.raises(PolicyError, match="no name"):
        AddressGroups({name: []})


def test_an_unknown_group_and_a_bad_network_are_errors() -> None:
    with pytest.raises(KeyError):
        GROUPS.contains("privat", 0)
    with pytest.raises(PolicyError, match=r"group 'mine': .*host bits"):
        AddressGroups({"mine": ["10.0.0.1/8"]})
