"""pasta (C): the same transport as passt, for namespaces. It refuses to work as root, so it and its guest belong to nobody."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.host import GATEWAY
from bench.peers.peer import Peer, wait_for_route
from tests.lab.netns import Place, end

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
KEEP = ("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", "echo $$; exec cat")


class Pasta(Peer):
    name = "pasta"
    needs = ("pasta",)
    server = GATEWAY  # of the host; pasta maps it to the host's loopback

    @contextmanager
    def guest(self, host: Place, mtu: int) -> Iterator[Place]:
        ordinary = NOBODY if os.geteuid() == 0 else ()
        keeper = host.start(*ordinary, *KEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert keeper.stdout is not None
        pid = keeper.stdout.readline().strip()
        if not pid:
            end(keeper)
            raise OSError("an ordinary user cannot make a user namespace here")
        gateway = host.start(
            *(
                *ordinary,
                "pasta",
                "--foreground",
                "--config-net",
                "--ipv4-only",
                "--mtu",
                str(mtu),
                pid.decode(),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with Place(int(pid)) as guest:
                wait_for_route(guest)
                yield guest
        finally:
            end(gateway)
            end(keeper)
