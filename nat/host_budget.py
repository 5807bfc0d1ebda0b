"""How many descriptors the gateway may take of those that its process has."""

from __future__ import annotations

_MIN_HEADROOM = 64  # descriptors left to the rest of the process at the least
_NO_LIMIT = 1 << 20


def descriptor_budget() -> int:
    """How many sockets the gateway may have: the process's soft limit less an eighth, or less 64 where that is more."""
    try:
        import resource  # noqa: PLC0415 - there is none outside Unix
    except ImportError:
        return 512  # of select() on Windows
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _NO_LIMIT
    return max(soft - max(_MIN_HEADROOM, soft // 8), 1)
