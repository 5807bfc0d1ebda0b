"""What a measured gateway is: a way to make a guest, and the address by which that guest reaches the host's loopback."""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from tests.lab.netns import ENVIRONMENT

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.lab.netns import Place

READY_SECONDS = 10.0


class Peer(ABC):
    """name: as the table shows it. needs: the commands without which it cannot run. server: see above."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    server: ClassVar[str]

    def why_not(self) -> str:
        """What is missing here, in words; empty where it can run."""
        absent = [command for command in self.needs if not shutil.which(command, path=ENVIRONMENT["PATH"])]
        return f"{', '.join(absent)} not installed" if absent else ""

    @abstractmethod
    def guest(self, host: Place, mtu: int) -> AbstractContextManager[Place]:
        """A guest whose gateway runs in the host place, on a link of that MTU. Raises OSError where it does not start."""


def wait_for_route(guest: Place) -> None:
    """Until the gateway has configured the guest. Raises OSError where it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while "default" not in guest.run("ip", "route").stdout:
        if time.monotonic() > deadline:
            raise OSError("the guest gets no route")
        time.sleep(0.05)
