"""UserNat: what its configuration and its names promise."""

from __future__ import annotations

import socket
from random import Random
from typing import TYPE_CHECKING

import pytest

import usernat.stack
from usernat import Config, UserNat
from usernat.guest import Guest
from usernat.links.memory import memory_pair
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from pathlib import Path


def test_the_capture_option(tmp_path: Path) -> None:
    ours, theirs = memory_pair()
    with UserNat(Config(capture=tmp_path / "c.pcap"), ours), Guest(theirs) as guest:
        guest.dhcp()
    assert (tmp_path / "c.pcap").stat().st_size > 4 * 300


def test_the_smaller_mtu_of_link_and_config_counts() -> None:
    ours, theirs = memory_pair()
    with UserNat(Config(mtu=576), ours), Guest(theirs) as guest:
        assert guest.dhcp().mtu == 576
    ours, theirs = memory_pair()
    with UserNat(Config(mtu=9000), ours), Guest(theirs) as guest:
        assert guest.dhcp().mtu in {None, 1500}  # it need not be told


def test_other_networks_work_as_the_default_does() -> None:
    ours, theirs = memory_pair()
    with UserNat(Config(subnet="172.20.0.0/16"), ours), Guest(theirs) as guest:
        assert guest.dhcp().address == 0xAC14000F
        assert guest.ping("172.20.0.2") < 5


def test_the_public_names_are_there_and_loaded_late() -> None:
    assert set(usernat.__all__) <= set(dir(usernat))
    assert usernat.UserNat is UserNat
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = usernat.nonsense


def test_the_stack_alone_is_one_import_away() -> None:
    assert usernat.stack.Interface.__module__ == "usernat.stack.interface"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = usernat.stack.nonsense


def test_c59_two_gateways_alike_number_nothing_alike() -> None:
    """RFC 6528: the same SYN of the same guest, at two instances of the same configuration."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        first, second = (first_number(server.getsockname()[1]) for _ in range(2))
    assert min((first - second) % (1 << 32), (second - first) % (1 << 32)) > 1 << 20


def first_number(port: int) -> int:
    """The ISN of a gateway's answer to one and the same SYN."""
    ours, theirs = memory_pair()
    guest = Guest(theirs, rng=Random(1), mac=b"\x02\0\0\0\0\x15", address=("10.0.2.15", 24, "10.0.2.2"))
    with UserNat(Config(host_loopback=True), ours), guest:
        connection = guest.interface.tcp.connect(parse_ip("10.0.2.2"), port)
        assert guest.run_until(lambda: connection.established, 5)
        return connection.rcv.irs
