"""A Config that exists is valid; each mistake is one clear line."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from usernat import Config, ConfigError
from usernat.usernat import gateway_config, gateway_mac


def test_the_defaults_are_those_of_slirp() -> None:
    config = Config()
    assert str(config.network) == "10.0.2.0/24"
    assert [str(address) for address in (config.gateway, config.nameserver, config.guest)] == [
        "10.0.2.2",
        "10.0.2.3",
        "10.0.2.15",
    ]
    assert (config.mtu, config.host_loopback, config.resolvers, config.capture) == (1500, False, (), None)
    assert gateway_mac(config) == bytes.fromhex("52550a000202")
    settings = gateway_config(config, 1500)
    assert (settings.lease_first, settings.lease_last) == (0x0A00020F, 0x0A0002FE)


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "192.168.7.0/27", IPv4Network("172.16.0.0/12")])
def test_other_networks(subnet: str | IPv4Network) -> None:
    config = Config(subnet=subnet)
    first = config.network[0]
    assert (config.gateway, config.nameserver, config.guest) == (first + 2, first + 3, first + 15)
    settings = gateway_config(config, 1500)
    assert settings.lease_first <= settings.lease_last < settings.broadcast


def test_addresses_without_a_lease() -> None:
    assert gateway_config(Config(), 1500).static == (0x0A00020F,)
    named = Config(static=["10.0.2.20", IPv4Address("10.0.2.15")])
    assert gateway_config(named, 1500).static == (0x0A00020F, 0x0A000214)
    assert (
        gateway_config(named, 1500).anti_spoof,
        gateway_config(Config(anti_spoof=False), 1500).anti_spoof,
    ) == (True, False)


def test_resolvers_in_text_and_as_pairs() -> None:
    config = Config(dns=["192.0.2.1", "192.0.2.2:5353", (IPv4Address("127.0.0.1"), 53)])
    assert [(str(address), port) for address, port in config.resolvers] == [
        ("192.0.2.1", 53),
        ("192.0.2.2", 5353),
        ("127.0.0.1", 53),
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mtu": 67}, "mtu must be 68 to 65520 bytes, not 67"),
        ({"mtu": 65521}, "not 65521"),
        ({"mtu": "1500"}, "mtu must be"),
        ({"static": "10.0.2.20"}, "static must be a sequence of addresses, not the text '10.0.2.20'"),
        ({"static": ["guest"]}, "not an address of a guest: 'guest' (for example 10.0.2.20)"),
        ({"static": ["10.0.3.20"]}, "(it must be a free one of 10.0.2.0/24)"),
        ({"static": ["10.0.2.3"]}, "not an address of a guest: 10.0.2.3"),
        ({"boot_file": "x" * 256}, "boot_file must be at most 255 ASCII characters"),
        ({"boot_file": "http://\N{SNOWMAN}"}, "boot_file must be at most 255 ASCII characters"),
        ({"subnet": "10.0.2.0/33"}, "not an IPv4 network"),
        ({"subnet": ""}, "not an IPv4 network"),
        ({"subnet": "fe80::/10"}, "not an IPv4 network"),
        ({"subnet": "10.0.2.1/24"}, "the network is 10.0.2.0/24"),
        ({"subnet": "10.0.2.0/28"}, "subnet must be /8 to /27"),
        ({"subnet": "10.0.0.0/7"}, "subnet must be /8 to /27"),
        ({"subnet": "127.0.0.0/8"}, "outside 0/8 and 127/8"),
        ({"subnet": "0.0.0.0/8"}, "outside 0/8 and 127/8"),
        ({"subnet": "224.0.0.0/24"}, "outside 0/8 and 127/8"),
        ({"subnet": "255.255.255.0/24"}, "outside 0/8 and 127/8"),
        ({"dns": "192.0.2.1"}, "must be a sequence"),
        ({"dns": ["resolver.test"]}, "not a resolver: 'resolver.test'"),
        ({"dns": ["192.0.2.1:"]}, "port must be 1 to 65535"),
        ({"dns": ["192.0.2.1:0"]}, "port must be 1 to 65535"),
        ({"dns": ["192.0.2.1:65536"]}, "port must be 1 to 65535"),
        ({"dns": ["192.0.2.1:\uff15\uff13"]}, "port must be 1 to 65535"),
        ({"dns": ["224.0.0.1"]}, "unicast address is needed"),
        ({"dns": ["0.0.0.0"]}, "unicast address is needed"),
        ({"dns": ["::1"]}, "not a resolver"),
    ],
)
def test_each_mistake_is_one_clear_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
