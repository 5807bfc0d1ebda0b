"""The sockets of a forward, as forwards see them: what stands on a port of the host with a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from usernat.nat.host_datagram import ReportedError
    from usernat.stack.device import Buffer


class ListeningSocket(Protocol):
    """A TCP socket that listens, for `Host.accept`: readable while somebody waits."""

    def fileno(self) -> int:
        """As of a socket."""
        ...

    @property
    def port(self) -> int:
        """Its own."""
        ...


class PublishedSocket(Protocol):
    """A UDP socket that answers.

    arrived_at: the host's address to which the latest datagram was sent; 0 where the system does not say.
    """

    arrived_at: int

    def fileno(self) -> int:
        """As of a socket."""
        ...

    @property
    def port(self) -> int:
        """Its own."""
        ...

    def receive(self) -> tuple[bytes, int, int, int] | None:
        """See `host.DatagramSocket`."""
        ...

    def answer(self, data: Buffer, source: int, address: int, port: int, ttl: int, df: bool) -> None:
        """Hands one datagram to the host, to leave from its address `source`, from any if that is 0. OSError as of `host.DatagramSocket.send`."""
        ...

    def errors(self) -> list[ReportedError]:
        """See `host.DatagramSocket`."""
        ...
