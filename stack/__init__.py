"""A TCP/IP stack without input or output: bytes and times in, frames and readiness out.

`Interface` is the whole of it; everything else is a layer below. See `docs/architecture.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usernat.stack.interface import Interface

__all__ = ["Interface"]


def __getattr__(name: str) -> Any:
    """Load `Interface` when it is first asked for: whoever wants an address parser gets no TCP."""
    if name != "Interface":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from usernat.stack.interface import Interface  # noqa: PLC0415 - see above

    return Interface
