"""The gateway's configuration: defaults of the RFCs, and mistakes that are told."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from usernat.nat import errors
from usernat.nat.config import GatewayConfig, Timeouts
from usernat.nat.gateway import dhcp_config
from usernat.stack.addr import format_ip, parse_ip


def test_the_defaults_are_those_of_slirp() -> None:
    config = GatewayConfig()
    assert [
        format_ip(address) for address in (config.network, config.gateway, config.dns, config.lease_first)
    ] == [
        "10.0.2.0",
        "10.0.2.2",
        "10.0.2.3",
        "10.0.2.15",
    ]
    assert format_ip(config.netmask) == "255.255.255.0"
    assert format_ip(config.broadcast) == "10.0.2.255"
    assert config.addresses == ((config.gateway, 24), (config.dns, 24))
    assert not config.host_loopback


@pytest.mark.rfc("4787", "REQ-5a", "REQ-5c")
@pytest.mark.rfc("5382", "REQ-5")
@pytest.mark.rfc("7857", "2.1-b")
@pytest.mark.rfc("5508", "REQ-2")
def test_the_default_times_are_those_of_the_rfcs() -> None:
    """RFC 4787 REQ-5c, REQ-5a; RFC 5382 REQ-5; RFC 7857 2.1-b; RFC 5508 REQ-2."""
    timeouts = Timeouts()
    assert timeouts.udp == 300
    assert 10 <= timeouts.udp_dns <= 30
    assert timeouts.tcp_established == 7440
    assert timeouts.tcp_transitory == 240
    assert timeouts.echo == 60


@pytest.mark.parametrize(
    "mistake",
    [
        {"prefix": 31},
        {"network": parse_ip("10.0.2.1")},
        {"gateway": parse_ip("10.0.3.2")},
        {"gateway": parse_ip("10.0.2.0")},
        {"dns": parse_ip("10.0.2.255")},
        {"dns": parse_ip("10.0.2.2")},
        {"lease_first": parse_ip("10.0.2.20"), "lease_last": parse_ip("10.0.2.19")},
        {"lease_first": parse_ip("10.0.2.1")},
        {"udp_filtering": "none"},
    ],
)
def test_what_cannot_be_is_refused(mistake: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"gateway|network|lease|filtering"):
        GatewayConfig(**mistake)


@pytest.mark.rfc("5625", "5.1-a")
def test_guests_can_be_told_of_other_name_servers() -> None:
    elsewhere = (parse_ip("192.0.2.1"), parse_ip("192.0.2.2"))
    assert dhcp_config(GatewayConfig()).dns == (GatewayConfig().dns,)
    assert dhcp_config(GatewayConfig(guest_dns=elsewhere)).dns == elsewhere


def test_a_time_out_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="udp"):
        Timeouts(udp=0)


@pytest.mark.parametrize(
    ("address", "is_guest"),
    [
        ("10.0.2.15", True),
        ("10.0.2.2", False),
        ("10.0.2.3", False),
        ("10.0.2.0", False),
        ("10.0.2.255", False),
        ("10.0.3.1", False),
    ],
)
def test_who_can_be_a_guest(address: str, is_guest: bool) -> None:
    assert GatewayConfig().is_guest(parse_ip(address)) is is_guest


@pytest.mark.rfc("1812", "5.2.7.1-a")
@pytest.mark.rfc("5382", "REQ-9")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENETUNREACH, 0),
        (errno.EHOSTUNREACH, 1),
        (errno.ETIMEDOUT, 1),
        (errno.ENOPROTOOPT, 2),
        (errno.ECONNREFUSED, 3),
        (errno.EMSGSIZE, 4),
        (errno.EACCES, 13),
        (errno.EPERM, 13),
        (errno.EIO, 1),
    ],
)
def test_errno_to_code(number: int, code: int) -> None:
    """RFC 1812 5.2.7.1-a, 4.3.3.1-a, 4.3.3.1-b; RFC 5382 REQ-9."""
    assert errors.unreachable_code(number) == code


def test_which_errnos_are_resets_and_which_are_lacks() -> None:
    assert errors.is_reset(errno.ECONNREFUSED)
    assert not errors.is_reset(errno.EHOSTUNREACH)
    assert errors.is_resources(errno.EMFILE)
    assert not errors.is_resources(errno.ENETUNREACH)
    assert str(errors.HostError(errno.EMFILE)) == "[Errno 24] Too many open files"
