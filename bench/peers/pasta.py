"""pasta (C): the same transport as passt, for namespaces. It refuses to work as root, so it and its guest belong to nobody."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.host import GATEWAY
from bench.peers.peer import SILENT, NamespacePeer, PlaceSeat, timed, wait_for_route
from tests.lab.netns import REPOSITORY, Place, end

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
KEEP = ("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", "echo $$; exec cat")
RESOLVER = "192.0.2.53"  # nobody's: what is sent there, pasta hands to the host's resolver


def ordinary() -> tuple[str, ...]:
    """What makes the command behind it an ordinary user's."""
    return NOBODY if os.geteuid() == 0 else ()


class RootsPlace(Place):
    """Entered by the machine's root, who needs no part in the user namespace of nobody: in there, root would be a user whom ping does not know."""

    def command(self, *argv: str) -> list[str]:
        enter = ("nsenter", "--target", str(self.pid), "--net", "--mount")
        return [*enter, "setpriv", "--pdeathsig", "KILL", "env", "-C", str(REPOSITORY), *argv]


def _enter(pid: int) -> Place:
    return RootsPlace(pid) if os.geteuid() == 0 else Place(pid)


class Pasta(NamespacePeer):
    name = "pasta"
    needs = ("pasta",)
    server = GATEWAY  # of the host; pasta maps it to the host's loopback
    resolver = RESOLVER

    @contextmanager
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> Iterator[PlaceSeat]:  # noqa: ARG002  # its table has room
        keeper = host.start(*ordinary(), *KEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert keeper.stdout is not None
        pid = keeper.stdout.readline().strip()
        if not pid:
            end(keeper)
            raise OSError("an ordinary user cannot make a user namespace here")
        gateway = host.start(*self._command(mtu), pid.decode(), **SILENT)
        try:
            with _enter(int(pid)) as guest:
                wait_for_route(guest)
                yield PlaceSeat(self.name, self.server, self.resolver, (gateway.pid,), guest)
        finally:
            end(gateway)
            end(keeper)

    def first_reply(self, host: Place) -> float:
        return timed(lambda: host.start(*self._command(1500), "--", *self.until_reply(), **SILENT))

    def _command(self, mtu: int) -> tuple[str, ...]:
        options = (
            "--foreground",
            "--config-net",
            "--ipv4-only",
            "--mtu",
            str(mtu),
            "--dns-forward",
            RESOLVER,
        )
        return (*ordinary(), "pasta", *options)
