"""The controlling terminal, as the keeper sees it: whether there is one, and whose foreground it is.

A guest's shell with job control makes its own process group the foreground, and when it ends gives the terminal back to the group that it
found there. But that group is led from outside the guest's PID namespace, has no number in it, and so cannot be given anything. The
keeper, which is in that group, does it in its place.
"""

from __future__ import annotations

import contextlib
import os


class Terminal:
    """The controlling terminal of this process, or the lack of one (then false)."""

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)

    def __bool__(self) -> bool:
        return self._file is not None

    def take_back(self) -> None:
        """Make this process's group the foreground, where the foreground is a group that has died out. SIGTTOU has to be blocked."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # the terminal is gone, or another session's by now
            group = os.tcgetpgrp(self._file)
            if group != os.getpgrp() and not _lives(group):
                os.tcsetpgrp(self._file, os.getpgrp())


def _lives(group: int) -> bool:
    """Whether a process is in this group. 0 is one without a number here, which lives for all we know."""
    if group <= 0:
        return True
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
