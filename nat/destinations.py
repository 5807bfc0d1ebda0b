"""Where a UDP mapping or an echo binding has sent to, as far as it must be known.

Two things depend on it. Address-dependent filtering (RFC 4787 REQ-8) lets in what comes from an address that the guest has sent to. And an
ICMP error that the host reports must quote the guest's datagram as the guest sent it (RFC 5508 REQ-4a), so the first bytes of the last
datagram to each destination are kept. Nothing of the quote that came from outside is passed on: no translated checksum, no padding, no
extension (REQ-3d). A destination is an address and a port, or the sequence number of an echo request.

Each flow remembers a bounded number, and all flows together do (`Budget`); the one not used for longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Budget:
    """How many destinations all flows together remember. forgotten: how often one had to go."""

    __slots__ = ("forgotten", "total", "used")

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.forgotten = 0


class Destinations:
    """Of one flow. Every flow may remember one, whatever the budget says."""

    __slots__ = ("_addresses", "_budget", "_headers", "_limit", "forgotten")

    def __init__(self, limit: int, budget: Budget) -> None:
        # Called with the key of each that is forgotten, once it is.
        self.forgotten: Callable[[int], None] = lambda _key: None
        self._limit = limit
        self._budget = budget
        # address << 16 | port: first bytes of the last datagram
        self._headers: OrderedDict[int, bytes] = OrderedDict()
        self._addresses: dict[int, int] = {}  # address: how many destinations have it

    def __len__(self) -> int:
        return len(self._headers)

    def __contains__(self, key: int) -> bool:
        """key: address << 16 | port."""
        return key in self._headers

    def remember(self, key: int, header: bytes) -> None:
        """A datagram goes to the destination `key`; `header` is its IP header and 8 bytes more."""
        headers = self._headers
        if key in headers:
            headers[key] = header
            headers.move_to_end(key)
            return
        if headers and (len(headers) >= self._limit or self._budget.used >= self._budget.total):
            self._budget.forgotten += 1
            self._forget(headers.popitem(last=False)[0])
        headers[key] = header
        self._budget.used += 1
        address = key >> 16
        self._addresses[address] = self._addresses.get(address, 0) + 1

    def permits(self, address: int) -> bool:
        """Whether the flow has sent to the address."""
        return address in self._addresses

    def header(self, key: int) -> bytes | None:
        """The first bytes of the last datagram to the destination, None where it is not known."""
        return self._headers.get(key)

    def clear(self) -> None:
        """Gives everything back to the budget."""
        while self._headers:
            self._forget(self._headers.popitem()[0])

    def _forget(self, key: int) -> None:
        self._budget.used -= 1
        address = key >> 16
        left = self._addresses[address] - 1
        if left:
            self._addresses[address] = left
        else:
            del self._addresses[address]
        self.forgotten(key)
