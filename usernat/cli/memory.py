"""Memory of frames that was given back, kept for the next ones.

glibc returns free memory at the end of a thread's heap to the kernel, bytes of a frame being just enough for it, and faults it in again with the next
frame: 80,000 page faults a GB of upload, and a sixth of its speed (docs/performance.md). So a command whose whole work is frames asks it not to.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD = -1  # <malloc.h>
_KEPT = 64 << 20  # bytes; what a busy gateway has in frames stays far below


def keep_freed_memory() -> None:
    """Raise the threshold, where the C library is one that has it."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT)
