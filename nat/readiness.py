"""Which descriptors are ready: a selector for a loop in which sockets come and go by the thousand.

It is Linux's epoll behind the interface of `selectors`, and differs from the standard library's in what it costs and in what it tells:

* A change of interest makes a new key and one system call. The standard library's keys are named tuples that it copies by name, and it asks a file
  object for its descriptor more than once.
* READABLE comes with ENDED where the peer of a stream has sent its end, so that who has read what there was need not wait to hear of the end in
  another turn of the loop. It is only ever told to those who watch for reading.

Where there is no epoll, `make_selector` hands out the standard library's best, which never says ENDED.
"""

from __future__ import annotations

import select
import selectors
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import FileDescriptorLike

READABLE = selectors.EVENT_READ
WRITABLE = selectors.EVENT_WRITE
ENDED = 4  # with READABLE: behind what can be read now there is the end of the stream, or an error

MOST = 512  # descriptors told of at once; the kernel begins with the others next time

_Key = selectors.SelectorKey

_IN, _OUT, _ERR, _HUP, _RDHUP = (
    getattr(select, name, 0) for name in ("EPOLLIN", "EPOLLOUT", "EPOLLERR", "EPOLLHUP", "EPOLLRDHUP")
)
# What the kernel is asked for, by what is watched for. Errors and hang-ups it tells unasked.
_INTEREST = {READABLE: _IN | _RDHUP, WRITABLE: _OUT, READABLE | WRITABLE: _IN | _RDHUP | _OUT}
# Who watches for these may hear of those.
_HEARD = {READABLE: READABLE | ENDED, WRITABLE: WRITABLE, READABLE | WRITABLE: READABLE | WRITABLE | ENDED}


def _told(mask: int) -> int:
    """What the kernel's mask says. Whatever is wrong is to be met by reading and by writing, as the standard library's selectors have it."""
    return (
        (READABLE if mask & ~_OUT else 0)
        | (WRITABLE if mask & ~(_IN | _RDHUP) else 0)
        | (ENDED if mask & (_RDHUP | _HUP | _ERR) else 0)
    )


_FLAGS = (_IN, _OUT, _ERR, _HUP, _RDHUP)  # of no others can there be any: nobody asks for them
_TOLD = {sum(mask): _told(sum(mask)) for count in range(6) for mask in combinations(_FLAGS, count)}


def make_selector() -> selectors.BaseSelector:
    """The best that there is for the sockets of a gateway."""
    return EpollSelector() if hasattr(select, "epoll") else selectors.DefaultSelector()


class EpollSelector(selectors.BaseSelector):
    """See above. Whoever registers a file object unregisters it before it is closed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys: dict[int, _Key] = {}  # by descriptor

    def fileno(self) -> int:
        """The epoll descriptor itself: readable when `select` would return something."""
        return self._epoll.fileno()

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> _Key:
        """Watch for `events`, READABLE or WRITABLE or both. ValueError, KeyError (it is registered) or OSError where that cannot be."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        if events not in _INTEREST:
            raise ValueError(f"there is nothing like {events!r} to be watched for")
        self._epoll.register(descriptor, _INTEREST[events])
        key = self._keys[descriptor] = _Key(fileobj, descriptor, events, data)
        return key

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> _Key:
        """Watch for other events. KeyError where it is not registered; where OSError is raised, it is registered no more."""
        descriptor = _descriptor(fileobj)
        if descriptor not in self._keys:
            raise KeyError(f"{fileobj!r} is not registered")
        if events not in _INTEREST:
            raise ValueError(f"there is nothing like {events!r} to be watched for")
        try:
            self._epoll.modify(descriptor, _INTEREST[events])
        except OSError:
            del self._keys[descriptor]
            raise
        key = self._keys[descriptor] = _Key(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> _Key:
        """Watch no more. KeyError where it is not registered."""
        descriptor = _descriptor(fileobj)
        key = self._keys.pop(descriptor, None)
        if key is None:
            raise KeyError(f"{fileobj!r} is not registered")
        try:  # noqa: SIM105 - `suppress` would take a fifth of the time of this call
            self._epoll.unregister(descriptor)
        except OSError:  # it was closed before, which the kernel has noticed
            pass
        return key

    def select(self, timeout: float | None = None) -> list[tuple[_Key, int]]:
        """What is ready, after `timeout` seconds at the latest (None: no limit; at most one millisecond more)."""
        seconds = -1.0 if timeout is None else max(timeout, 0.0)  # which are rounded up to milliseconds
        keys = self._keys
        ready = []
        for descriptor, mask in self._epoll.poll(seconds, min(len(keys), MOST) or 1):
            key = keys.get(descriptor)
            if key is not None:
                ready.append((key, _TOLD[mask] & _HEARD[key.events]))
        return ready

    def get_map(self) -> Mapping[FileDescriptorLike, _Key]:
        """The keys by file object, as they are now."""
        return {key.fileobj: key for key in self._keys.values()}

    def close(self) -> None:
        """Give the descriptor back. File objects stay as they are."""
        self._epoll.close()
        self._keys.clear()


def _descriptor(fileobj: FileDescriptorLike) -> int:
    """-1 once it is closed, which epoll refuses."""
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()
