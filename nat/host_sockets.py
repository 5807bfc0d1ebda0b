"""Sockets of the host as flows see them: those of datagrams, and those that listen. (`host.HostSocket` is a plain one.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.host_datagram import ReportedError
    from usernat.stack.device import Buffer

Origin = tuple[int, int, int, int]
"""Whence a datagram came: address, port, TTL; then the host's address to which it was sent, 0 where nobody has asked (`Host.publish_udp`) or the system does not say."""


class DatagramSocket(Protocol):
    """An unconnected UDP socket (`port` is a port) or an echo socket (`port` is the sequence number of the request)."""

    def fileno(self) -> int:
        """As of a socket."""
        ...

    @property
    def port(self) -> int:
        """Its own, 0 while it has none; of an echo socket the identifier, where it is the kernel's."""
        ...

    def send(self, data: Buffer, address: int, port: int, ttl: int, df: bool, source: int = 0) -> None:
        """Hands one datagram to the host, to leave from its address `source`, from any if that is 0.

        OSError where it takes none now, or complains of an earlier one.
        """
        ...

    def send_run(
        self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool, source: int = 0
    ) -> bool:
        """Hands a run of two or more (`stack/l4/udp_run.py`) to the host; False where it does not take them as one, and none has gone."""
        ...

    def receive(self) -> tuple[Sequence[Buffer], Origin] | None:
        """The next datagrams of one origin, oldest first, at most MOST_AT_ONCE; None when there are none. OSError for an earlier one's failure."""
        ...

    def errors(self) -> list[ReportedError]:
        """What ICMP has reported since the last call, oldest first; may leave some for the next call."""
        ...


class ListeningSocket(Protocol):
    """A TCP socket that listens, for `Host.accept`: readable while somebody waits."""

    def fileno(self) -> int:
        """As of a socket."""
        ...

    @property
    def port(self) -> int:
        """Its own."""
        ...
