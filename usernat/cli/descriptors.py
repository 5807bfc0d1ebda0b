"""Room for flows: each one takes a descriptor of this process, and shells often allow 1,024 where the system allows far more."""

from __future__ import annotations

from contextlib import suppress


def raise_descriptor_limit() -> None:
    """Set the soft limit of open descriptors to the hard one, where there are such limits."""
    try:
        import resource  # noqa: PLC0415 - there is none outside Unix
    except ImportError:
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS shows a hard limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
