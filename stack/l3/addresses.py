"""The interface's own addresses, and which destinations mean "everybody here".

Kept as flat sets, for they are asked on every datagram. Broadcasts follow from the prefixes: with classless routing
(RFC 4632) the net-directed and all-subnets-directed forms of RFC 1122 §3.3.6-a are the subnet-directed one, and
prefixes of 31 and 32 bits have none at all (RFC 3021 §2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.addr import (
    LIMITED_BROADCAST,
    format_ip,
    is_loopback,
    is_unicast,
    prefix_mask,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL_HOSTS = 0xE0000001  # 224.0.0.1, the one group of which every host is a member (RFC 1112 §4)


class Addresses:
    """The addresses of one interface with their prefix lengths; the first is the primary."""

    def __init__(self, addresses: Iterable[tuple[int, int]] = ()) -> None:
        self.own: dict[int, int] = {}  # address -> prefix length, in order of preference
        self.broadcasts: frozenset[int] = frozenset()
        for address, prefix in addresses:
            self.add(address, prefix)
        self._recompute()

    def add(self, address: int, prefix: int) -> None:
        """Take an address. ValueError for one that cannot be a host's on a prefix of that length."""
        if not 0 <= prefix <= 32:
            raise ValueError(f"a prefix has 0 to 32 bits, not {prefix}")
        # RFC 1122 §3.2.1.3-b: only a unicast address can be a source of ours
        if not is_host(address, prefix):
            raise ValueError(f"{format_ip(address)}/{prefix} is not a host's address")
        self.own[address] = prefix
        self._recompute()

    def remove(self, address: int) -> None:
        """Give an address up. ValueError where it is not ours."""
        if self.own.pop(address, None) is None:
            raise ValueError(f"{format_ip(address)} is not an address of this interface")
        self._recompute()

    @property
    def primary(self) -> int | None:
        """The address to speak from where nothing speaks for another, None where there is none."""
        return next(iter(self.own), None)

    def on_link(self, address: int) -> int | None:
        """The address of ours whose prefix holds `address` (the longest prefix wins), None where none does."""
        best, best_prefix = None, -1
        for own, prefix in self.own.items():
            # RFC 1122 §3.2.1.3-a, §3.3.1.1-a
            if prefix > best_prefix and not (own ^ address) & prefix_mask(prefix):
                best, best_prefix = own, prefix
        return best

    def is_broadcast(self, address: int) -> bool:
        """Whether the address means every host of the link: limited, subnet-directed, or the old zero form."""
        return address in self.broadcasts

    def _recompute(self) -> None:
        forms = {LIMITED_BROADCAST}
        for address, prefix in self.own.items():
            forms |= _broadcast_forms(address, prefix)
        self.broadcasts = frozenset(forms)


def is_host(address: int, prefix: int) -> bool:
    """Whether one host of a network with that prefix length can have the address."""
    return (
        is_unicast(address) and not is_loopback(address) and address not in _broadcast_forms(address, prefix)
    )


def _broadcast_forms(address: int, prefix: int) -> set[int]:
    """The subnet-directed broadcast (RFC 1122 §3.3.6-a) and its old form with zeros (§3.3.6-e)."""
    if prefix >= 31:
        return set()
    mask = prefix_mask(prefix)
    return {address & mask, address | ~mask & 0xFFFFFFFF}
