"""The namespace guest: a kernel of its own behind `usernat run`, entered by as many commands as a test likes.

`usernat run` keeps its guest as long as its command lives; here that is a `cat` that says its pid first, as its own PID namespace
has it. Tests enter the guest's namespaces by the pid it has here, so one gateway serves them all, as one serves a long-lived sandbox.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.lab.netns import REPOSITORY, Place, end
from tests.processes import outside

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
    host: Place,
    *options: str,
    launcher: Sequence[str] = (*USERNAT, "run"),
    command: Sequence[str] = STAY,
    stderr: IO[bytes] | None = None,
) -> Iterator[Guest]:
    """A guest of `usernat run` (or of another launcher with the same command line) in the host place.

    command: what the guest is; it prints its pid in a line once it is up, and ends with its standard input. stderr: of both of them; None: ours.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
    gateway = host.start(*launcher, *options, "--", *command, **pipes)
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
    pid = outside(gateway.pid, int(line))
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
