"""Memory of a process whose whole work is frames: what the C library and the collector are told.

glibc returns free memory at the end of a thread's heap to the kernel, bytes of a frame being just enough for it, and faults it in again with the next
frame: 80,000 page faults a GB of upload, and a sixth of its speed (docs/performance.md). So it is asked not to.

The collector looks for cycles among all objects again and again, and most of them are modules and functions that live as long as the process. They are set
aside; and it looks at new ones less often, for nothing that frames or connections make is a cycle, and what a connection makes is mostly gone by then.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_TRIM_THRESHOLD = -1  # <malloc.h>
_KEPT = 64 << 20  # bytes; what a busy gateway has in frames stays far below
_YOUNG = 10_000  # new objects that the collector waits for


def keep_freed_memory() -> None:
    """Raise the threshold, where the C library is one that has it."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT)


def spare_what_stays() -> None:
    """To be called once, when all is loaded."""
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
