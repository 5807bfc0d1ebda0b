"""usernat: the network for a guest without privileges, in pure Python.

    from usernat import Config, UserNat

    with UserNat(Config(host_loopback=True), link) as nat:
        ...

`UserNat` is the gateway for one guest on a link (`usernat.links`); `usernat.stack.Interface` is the TCP/IP stack alone, without
input or output. Names are loaded when they are first asked for, so that whoever wants the stack never loads sockets or threads.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usernat.config import Config, ConfigError
    from usernat.links.link import Link, LinkClosed
    from usernat.usernat import UserNat

__all__ = ["Config", "ConfigError", "Link", "LinkClosed", "UserNat", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "Config": "usernat.config",
    "ConfigError": "usernat.config",
    "Link": "usernat.links.link",
    "LinkClosed": "usernat.links.link",
    "UserNat": "usernat.usernat",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
