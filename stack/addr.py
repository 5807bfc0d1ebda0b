"""IPv4 addresses as integers, and the questions that the RFCs ask of them.

An address is an `int` from 0 to 2**32 - 1 in host order, so that it compares, masks and hashes fast and has one form
only. Text and `ipaddress` objects are turned into it at the edges with `parse_ip` and back with `format_ip`.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

UNSPECIFIED = 0
LIMITED_BROADCAST = 0xFFFFFFFF
MAC_BROADCAST = b"\xff" * 6
MAC_ZERO = bytes(6)


def parse_ip(address: int | str | ipaddress.IPv4Address) -> int:
    """The address as an integer. Raises ValueError for what is not an IPv4 address in dotted-quad form."""
    return int(ipaddress.IPv4Address(address))


@lru_cache(maxsize=4096)
def format_ip(address: int) -> str:
    """The address in dotted-quad form."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def parse_mac(text: str) -> bytes:
    """Six bytes from `aa:bb:cc:dd:ee:ff` (or with dashes). Raises ValueError for anything else."""
    mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(mac) != 6:
        raise ValueError(f"not a MAC address: {text!r}")
    return mac


def format_mac(mac: bytes) -> str:
    """The MAC address as `aa:bb:cc:dd:ee:ff`."""
    return bytes(mac).hex(":")


def prefix_mask(length: int) -> int:
    """The netmask of a prefix of `length` bits (0 to 32)."""
    return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF


def is_multicast(address: int) -> bool:
    """224.0.0.0/4 (RFC 1112 §4)."""
    return address >> 28 == 0xE


def is_loopback(address: int) -> bool:
    """127.0.0.0/8 (RFC 1122 §3.2.1.3-f): never outside a host."""
    return address >> 24 == 127


def is_class_e(address: int) -> bool:
    """240.0.0.0/4, the limited broadcast address 255.255.255.255 included (RFC 1112 §4)."""
    return address >> 28 == 0xF


def is_this_network(address: int) -> bool:
    """0.0.0.0/8: "this host on this network" (RFC 1122 §3.2.1.3)."""
    return address >> 24 == 0


def is_unicast(address: int) -> bool:
    """Whether the address can stand for one host: not 0/8, not multicast, not class E. Loopback can; subnet broadcasts are not known here."""
    return 0 < address >> 24 < 224
