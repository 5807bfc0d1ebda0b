"""A port of the host that leads to the guest, as `UserNat.publish` hands it out."""

from __future__ import annotations

import selectors
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from usernat.config import ConfigError
from usernat.nat.host import HostSockets
from usernat.policy.decision import TCP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usernat.nat.forward import Forward
    from usernat.nat.forwards import Published
    from usernat.nat.gateway import Gateway
    from usernat.turn import Turn


class Publication:
    """address, port: of the host; the port is the real one where any was asked for. guest_port: where it leads."""

    def __init__(self, published: Published, turn: Turn) -> None:
        forward = published.forward
        self.address = IPv4Address(forward.address)
        self.port = forward.port
        self.guest_port = forward.guest_port
        self._published = published
        self._turn = turn

    def close(self) -> None:
        """Give the port back. TCP connections that stand go on; clients over UDP are cut off, since nothing can leave from the port any more.

        From any thread, and harmless when called again, or after the gateway has ended.
        """
        with self._turn.visit():
            self._published.close()

    def __repr__(self) -> str:
        return f"<Publication {self._published.forward}>"


def publish(gateway: Gateway, forward: Forward, turn: Turn) -> Publication:
    """Publish it. To be called in turn. Raises ConfigError where the host does not let us have the port."""
    try:
        return Publication(gateway.publish(forward), turn)
    except OSError as error:
        raise _refused(forward, error) from error


def try_forwards(forwards: Iterable[Forward]) -> None:
    """Have the ports and give them back, for whoever begins long before the guest comes. Raises ConfigError where one cannot be had."""
    with selectors.DefaultSelector() as selector:
        host = HostSockets(selector)
        try:
            for forward in forwards:
                opening = host.listen_tcp if forward.protocol == TCP else host.publish_udp
                try:
                    opening(forward.address, forward.port, _NOBODY)
                except OSError as error:
                    raise _refused(forward, error) from error
        finally:
            host.close_all()


class _Nobody:
    """Owns what is not watched."""

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        """See `usernat.nat.host.Owner`."""


_NOBODY = _Nobody()


def _refused(forward: Forward, error: OSError) -> ConfigError:
    return ConfigError(f"cannot publish {forward.where}: {error.strerror}")
