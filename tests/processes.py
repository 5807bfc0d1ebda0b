"""Processes as the host numbers them: the command of `usernat run` knows itself by the number that its own PID namespace gave it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from usernat.namespace.leavings import children


def descendants(ancestor: int) -> list[int]:
    """Every process below it."""
    found = children(ancestor)
    return found + [below for child in found for below in descendants(child)]


def outside(ancestor: int, inner: int) -> int:
    """Our id of the process below `ancestor` that calls itself `inner`. ProcessLookupError where there is none."""
    for pid in descendants(ancestor):
        with contextlib.suppress(OSError):
            if _innermost(pid) == inner:
                return pid
    raise ProcessLookupError(f"no process below {ancestor} calls itself {inner}")


def _innermost(pid: int) -> int:
    """Its id in the PID namespace that it is in (NSpid of proc_pid_status(5) ends with it)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])
