"""What the guest may leave below the gateway: found in /proc, killed and reaped.

The PID namespace of the guest ends with its first process, so there is something to find only where the keeper was killed before it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def sweep() -> None:
    """Kill and reap all that is left below this process.

    As the subreaper it becomes the parent of every orphan among them, so killing children until there are none reaches
    everything, also what has made itself a daemon.
    """
    while _anything_left():
        for child in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os.waitpid(-1, 0)


def _anything_left() -> bool:
    """Whether there is a child, dead or alive: as a rule there is none, and /proc need not be searched."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children(parent: int) -> list[int]:
    """The processes whose parent is `parent`, from /proc; not every kernel has `task/…/children`."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed of hundreds of entries
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # The command name, in parentheses, may hold anything; state and parent follow the last one.
                stat = Path("/proc", entry, "stat").read_bytes()
                if int(stat[stat.rindex(b")") + 2 :].split()[1]) == parent:
                    found.append(int(entry))
    return found
