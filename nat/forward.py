"""What is published: a port of the host, and the port of the guest to which it leads (`usernat.nat.forwards` does it)."""

from __future__ import annotations

from typing import NamedTuple

from usernat.policy.decision import UDP
from usernat.stack.addr import format_ip


class Forward(NamedTuple):
    """protocol: TCP or UDP, as on the wire. address, port: of the host; port 0: one that the kernel chooses. guest_port: where it leads."""

    protocol: int
    address: int
    port: int
    guest_port: int

    def __str__(self) -> str:
        """In the form in which it is asked for."""
        return f"{self.where}:{self.guest_port}{'/udp' if self.protocol == UDP else ''}"

    @property
    def where(self) -> str:
        """Address and port of the host."""
        return f"{format_ip(self.address)}:{self.port}"
