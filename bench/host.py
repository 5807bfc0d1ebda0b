"""The host that all gateways share: a namespace of its own with a loopback, and a way out that leads nowhere.

pasta copies its guest's addresses from the host's outward interface, so there is one: a veth pair with nobody behind it.
"""

from __future__ import annotations

from tests.lab.netns import Namespace, join

ADDRESS = "192.0.2.2"  # RFC 5737
GATEWAY = "192.0.2.1"


def make_host() -> Namespace:
    """Raises OSError where namespaces cannot be made."""
    host = Namespace()
    join(host, "up0", host, "up1")
    host.ip(f"addr add {ADDRESS}/24 dev up0")
    host.ip(f"route add default via {GATEWAY}")
    return host
