"""The guest's way back to the socket on which `serve` awaits the next guest: closed (C58).

Whatever the policy allows, a guest must not be able to fill that socket's queue, or be served as another guest. On a UNIX path it is out
of reach; a TCP port may be reached by the gateway's address, where host loopback is switched on, and by any address of the host.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from usernat.policy import FlowRequest, NetworkPolicy, Policy, Verdict
from usernat.policy.decision import TCP
from usernat.stack.addr import format_ip, parse_ip

if TYPE_CHECKING:
    from usernat.config import Config
    from usernat.links.listener import Endpoint


class OwnDoorClosed:
    """Allows everything but TCP to the host's own addresses at the port of `endpoint`."""

    def __init__(self, config: Config, port: int) -> None:
        self._gateway = parse_ip(config.gateway)
        self._port = port
        self._open = NetworkPolicy.allow_all()

    def decide(self, request: FlowRequest) -> Verdict:
        """No, where the flow would lead to our own port."""
        if request.port == self._port and request.protocol == TCP and self._is_host(request.destination):
            return Verdict(False, "the gateway's own port")
        return self._open.decide(request)

    def _is_host(self, destination: int) -> bool:
        return destination == self._gateway or _is_own_address(destination)


def policy_for(config: Config, endpoint: Endpoint) -> Policy:
    """The policy of a gateway whose guests come in by `endpoint`."""
    if endpoint.path is not None:
        return NetworkPolicy.allow_all()
    return OwnDoorClosed(config, endpoint.port)


def _is_own_address(address: int) -> bool:
    """Whether this host has the address: only then can a socket be bound to it. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((format_ip(address), 0))
        except OSError:
            return False
        return True
