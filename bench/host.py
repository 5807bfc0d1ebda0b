"""The host that all gateways share: a namespace of its own with a loopback, and a way out that leads nowhere.

pasta copies its guest's addresses from the host's outward interface, so there is one: a veth pair with nobody behind it. The resolver
that /etc/resolv.conf names in there is ours, on the loopback.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.netns import Namespace, join

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "192.0.2.2"  # RFC 5737
GATEWAY = "192.0.2.1"
PINGED = "198.51.100.1"  # RFC 5737; the host's own, but not on the guest's link for any of the gateways
DNS_PORT = 53  # slirp4netns asks no other


@contextmanager
def make_host() -> Iterator[Namespace]:
    """Raises OSError where namespaces cannot be made."""
    with tempfile.TemporaryDirectory() as folder, Namespace() as host:
        Path(folder).chmod(0o755)  # pasta reads it as nobody
        join(host, "up0", host, "up1")
        host.ip(f"addr add {ADDRESS}/24 dev up0")
        host.ip(f"addr add {PINGED}/32 dev lo")
        host.ip(f"route add default via {GATEWAY}")
        host.sysctl("net.ipv4.ping_group_range", "0 2147483647")  # so that each of them may ping
        resolv = Path(folder, "resolv.conf")
        resolv.write_text("nameserver 127.0.0.1\n")
        host.replace_file("/etc/resolv.conf", resolv)
        yield host
