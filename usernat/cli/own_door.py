"""The guest's way back to the socket on which `serve` awaits the next guest: closed (C58).

Whatever the policy allows, a guest must not be able to fill that socket's queue, or be served as another guest. On a UNIX path it is out
of reach; a TCP port may be reached by the gateway's address, where host loopback is switched on, and by any address of the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.policy.matchers import AllOf, AnyOf, Group, Port, Protocol

if TYPE_CHECKING:
    from usernat.links.listener import Endpoint
    from usernat.policy import NetworkPolicy


def with_own_door_closed(policy: NetworkPolicy, endpoint: Endpoint) -> NetworkPolicy:
    """The policy, with TCP to the host itself at the port of `endpoint` denied before all else."""
    if endpoint.path is not None:
        return policy
    the_host = AnyOf((Group("host"), Group("loopback")))
    return policy.in_front("deny", AllOf((Protocol("tcp"), Port(endpoint.port), the_host)))
