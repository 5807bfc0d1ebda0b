"""The namespace guest: a kernel of its own behind `usernat run`, entered by as many commands as a test likes.

`usernat run` keeps its guest as long as its command lives; here that is a `cat` that says its pid first. Tests enter the guest's
namespaces by that pid, so one gateway serves them all, as one serves a long-lived sandbox.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.netns import REPOSITORY, Place, end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USERNAT = (sys.executable, "-m", "usernat")
GATEWAY = "10.0.2.2"
RESOLVER = "10.0.2.3"
ADDRESS = "10.0.2.15"
STAY = ("sh", "-c", "echo $$; exec cat")
END_SECONDS = 10.0


class Guest(Place):
    """A place behind a gateway. gateway: the process that serves it."""

    def __init__(self, pid: int, gateway: subprocess.Popen[bytes]) -> None:
        super().__init__(pid)
        self.gateway = gateway

    def call(self, name: str, *arguments: object, timeout: float = 60.0) -> Any:
        """Call a function of tests/lab/inside in the guest ("module.function") and return what it returned, by way of JSON."""
        done = self.run(
            sys.executable, "-m", "tests.lab.inside", name, json.dumps(arguments), timeout=timeout
        )
        return json.loads(done.stdout)

    def curl(self, *arguments: str, timeout: float = 60.0) -> str:
        """What curl prints. AssertionError with its message where it fails."""
        return self.run("curl", "-sS", *arguments, timeout=timeout).stdout

    def leave(self) -> int:
        """Let the guest's command end by itself; the exit status of the gateway."""
        assert self.gateway.stdin is not None
        self.gateway.stdin.close()
        return self.gateway.wait(END_SECONDS)


@contextmanager
def namespace_guest(
    host: Place, *options: str, launcher: Sequence[str] = (*USERNAT, "run"), command: Sequence[str] = STAY
) -> Iterator[Guest]:
    """A guest of `usernat run` (or of another launcher with the same command line) in the host place.

    command: what the guest is; it prints its pid in a line once it is up, and ends with its standard input.
    """
    gateway = host.start(*launcher, *options, "--", *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with Guest(_first_line(gateway), gateway) as guest:
            yield guest
    finally:
        end(gateway)


def _first_line(gateway: subprocess.Popen[bytes]) -> int:
    assert gateway.stdout is not None
    line = gateway.stdout.readline()
    if not line.strip().isdigit():
        raise AssertionError(
            f"the gateway did not start its guest: {line!r}, status {gateway.wait(END_SECONDS)}"
        )
    pid = int(line)
    if Path(f"/proc/{pid}/ns/net").readlink() == Path(f"/proc/{gateway.pid}/ns/net").readlink():
        raise AssertionError("the command was not put into a network of its own")
    return pid


def pings(output: str) -> tuple[int, int, float]:
    """Of ping's closing lines: sent, received, and the longest round trip in milliseconds (0.0 where there is none)."""
    words = next(line for line in output.splitlines() if "packets transmitted" in line).split()
    times = next((line for line in output.splitlines() if " min/avg/max" in line), "")
    longest = float(times.split(" = ")[1].split("/")[2]) if times else 0.0
    return int(words[0]), int(words[3]), longest


__all__ = ["ADDRESS", "GATEWAY", "REPOSITORY", "RESOLVER", "USERNAT", "Guest", "namespace_guest", "pings"]
