"""This project: `usernat run`."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.host import DNS_PORT
from bench.meter import children
from bench.peers.peer import SILENT, NamespacePeer, PlaceSeat, timed
from bench.results import OURS
from tests.lab.guest import GATEWAY, RESOLVER, USERNAT, namespace_guest
from tests.lab.netns import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Place

OPTIONS = ("--host-loopback", "--dns", f"127.0.0.1:{DNS_PORT}")
# An installed program is compiled once. Where Python is told to leave no bytecode behind, it would be compiled anew at each start.
INSTALLED = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONDONTWRITEBYTECODE"}
ROOMY = (sys.executable, "-m", "bench.roomy", "run")


class UserNatPeer(NamespacePeer):
    name = OURS
    server = GATEWAY
    resolver = RESOLVER

    @contextmanager
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> Iterator[PlaceSeat]:
        launcher = ROOMY if flows else (*USERNAT, "run")
        with namespace_guest(host, *OPTIONS, "--mtu", str(mtu), launcher=launcher) as guest:
            gateway = guest.gateway.pid
            (keeper,) = children(gateway)
            (init,) = children(keeper)
            yield PlaceSeat(self.name, self.server, self.resolver, (gateway, keeper, init), guest)

    def first_reply(self, host: Place) -> float:
        command = (*USERNAT, "run", *OPTIONS, "--", *self.until_reply())
        return timed(lambda: host.start(*command, env=INSTALLED, **SILENT))
