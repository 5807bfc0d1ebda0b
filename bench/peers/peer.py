"""What a measured gateway is: a way to make a guest, and the addresses by which that guest reaches the host's loopback and a resolver."""

from __future__ import annotations

import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.host import PINGED
from tests.lab.netns import ENVIRONMENT, end

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.lab.netns import Place

READY_SECONDS = 10.0
REPLY_SECONDS = 20.0
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass
class Seat(ABC):
    """A guest behind a gateway, ready to be measured.

    peer: the gateway's name. server, resolver: addresses, as the guest sees them. gateway: the processes that are it; none for loopback.
    """

    peer: str
    server: str
    resolver: str
    gateway: tuple[int, ...]

    @abstractmethod
    def run(self, *argv: str, timeout: float) -> str:
        """What a command in the guest prints. AssertionError with its words where it fails."""


@dataclass
class PlaceSeat(Seat):
    """A guest that is a namespace."""

    place: Place

    def run(self, *argv: str, timeout: float) -> str:
        done = self.place.run(*argv, timeout=timeout, check=False)
        if done.returncode:
            raise AssertionError(
                f"{argv[0]}: {done.stderr.strip() or done.stdout.strip() or done.returncode}"
            )
        return done.stdout


class Peer(ABC):
    """name: as the tables show it. needs: the commands without which it cannot run. server, resolver: as in Seat."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    server: ClassVar[str]
    resolver: ClassVar[str]

    def why_not(self) -> str:
        """What is missing here, in words; empty where it can run."""
        absent = [command for command in self.needs if not shutil.which(command, path=ENVIRONMENT["PATH"])]
        return f"{', '.join(absent)} not installed" if absent else ""

    @abstractmethod
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> AbstractContextManager[Seat]:
        """A guest whose gateway runs in the host place, on a link of that MTU. flows: to have room for, where that must be said beforehand.

        Raises OSError or AssertionError where it does not start.
        """


class NamespacePeer(Peer):
    """One whose guest is a namespace with a TAP."""

    @abstractmethod
    def guest(self, host: Place, mtu: int, *, flows: int = 0) -> AbstractContextManager[PlaceSeat]: ...

    @abstractmethod
    def first_reply(self, host: Place) -> float:
        """Seconds from the start of the gateway's program to the first answer to a ping that its guest sends. Raises OSError."""

    @staticmethod
    def until_reply() -> tuple[str, ...]:
        """A guest's command that ends with the first answer; before, there may be neither address nor route."""
        return ("sh", "-c", f"until ping -q -n -c 1 -W 1 {PINGED} >/dev/null 2>&1; do sleep 0.002; done")


def timed(process: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Seconds from the start of a process to its end. Raises OSError where it fails or takes too long."""
    begin = time.perf_counter()
    child = process()
    try:
        status = child.wait(REPLY_SECONDS)
    except subprocess.TimeoutExpired as late:
        raise OSError(f"no reply within {REPLY_SECONDS:.0f} s") from late
    finally:
        taken = time.perf_counter() - begin
        end(child)
    if status:
        raise OSError(f"ended with status {status}")
    return taken


def wait_for_route(guest: Place) -> None:
    """Until the gateway has configured the guest. Raises OSError where it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while "default" not in guest.run("ip", "route").stdout:
        if time.monotonic() > deadline:
            raise OSError("the guest gets no route")
        time.sleep(0.05)
