"""The pretend internet: three namespaces, nothing of which leaves the machine.

    guest ── usernat in "host" 192.0.2.2 ── 192.0.2.1 "router" 198.51.100.1 ── 198.51.100.2 "world" 203.0.113.x

Documentation addresses (RFC 5737) are used, and one private one for what only this side has. "host" is where the gateway runs, with a resolv.conf of its own; "router" is a
hop for traceroute to find, and knows the addresses that lead nowhere; "world" holds the servers.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

from tests.lab.netns import Namespace, join
from tests.lab.pki import Authority, make_authority
from tests.lab.servers import pattern
from tests.lab.servers.places import INTRANET, NAMES, PEERS, WEB, WWW

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BIG", "BLACK_HOLE", "NAMES", "PEERS", "PROHIBITED", "ROUTER", "UNREACHABLE", "WWW", "World"]

ROUTER = "192.0.2.1"
BLACK_HOLE = "203.0.113.66"  # swallowed without a word
UNREACHABLE = "203.0.113.67"  # ICMP host unreachable
PROHIBITED = "203.0.113.68"  # ICMP administratively prohibited
BIG = 200_000_000
READY_SECONDS = 20.0
NOTE_TRIES, NOTE_SECONDS = 50, 0.1


class World:
    """folder: where certificates and content are made. Leave it (`with`) and all of it is gone."""

    def __init__(self, python: str, folder: Path) -> None:
        self.authority: Authority = make_authority(folder)
        self.pattern = folder / "pattern"
        with self.pattern.open("wb") as file:
            file.writelines(pattern.pieces(BIG))
        self.host = Namespace()
        self.router = Namespace(within=self.host)
        self.world = Namespace(within=self.host)
        try:
            self._wire()
            self._resolver(folder)
            self._serve(python)
        except BaseException:
            self.close()
            raise

    def seen(self, name: str) -> list[dict[str, Any]]:
        """What the servers noted under a name since it was last asked for (tests/lab/servers/notes.py). Asking leaves no trace on the wire."""
        answer = self.world.run("curl", "-sS", f"http://{WWW}/seen/{name}")
        notes: list[dict[str, Any]] = json.loads(answer.stdout)
        return notes

    def last_seen(self, name: str) -> dict[str, Any]:
        """The newest of these notes; one may be written a moment after the guest has ended, so it is waited for."""
        for _ in range(NOTE_TRIES):
            if notes := self.seen(name):
                return notes[-1]
            time.sleep(NOTE_SECONDS)
        raise AssertionError(f"the servers noted nothing under {name}")

    def close(self) -> None:
        """Take all namespaces down."""
        for place in (self.world, self.router, self.host):
            place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wire(self) -> None:
        join(self.host, "up0", self.router, "down0")
        join(self.router, "up0", self.world, "down0")
        self.host.ip("addr add 192.0.2.2/24 dev up0")
        self.router.ip(f"addr add {ROUTER}/24 dev down0")
        self.router.ip("addr add 198.51.100.1/24 dev up0")
        self.world.ip("addr add 198.51.100.2/24 dev down0")
        for address in (*WEB, NAMES, PEERS):
            self.world.ip(f"addr add {address}/32 dev lo")
        self.host.ip(f"route add default via {ROUTER}")
        self.world.ip("route add default via 198.51.100.1")
        self.router.ip("route add 203.0.113.0/24 via 198.51.100.2")
        self.router.ip(f"route add {INTRANET} via 198.51.100.2")
        self.router.ip(f"route add blackhole {BLACK_HOLE}")
        self.router.ip(f"route add unreachable {UNREACHABLE}")
        self.router.ip(f"route add prohibit {PROHIBITED}")
        self.router.sysctl("net.ipv4.ip_forward", "1")
        # Probes are answered however many come; of errors for routes that lead nowhere the kernel still sends 5 at once, then one a second.
        self.router.sysctl("net.ipv4.icmp_ratemask", "0")
        # The gateway is root in there, whoever runs the tests.
        self.host.sysctl("net.ipv4.ping_group_range", "0 0")

    def _resolver(self, folder: Path) -> None:
        resolver = folder / "resolv.conf"
        resolver.write_text(f"nameserver {NAMES}\n")
        self.host.replace_file("/etc/resolv.conf", resolver)

    def _serve(self, python: str) -> None:
        files = (self.pattern, self.authority.chain, self.authority.key)
        servers = self.world.start(
            python, "-m", "tests.lab.servers", *map(str, files), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert servers.stdout is not None
        if servers.stdout.readline() != b"ready\n":
            raise OSError(f"the lab's servers did not start: status {servers.wait(READY_SECONDS)}")
