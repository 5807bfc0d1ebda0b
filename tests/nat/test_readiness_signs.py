"""What the kernel says unasked, and descriptors that have gone: the selector of a gateway says what the standard library's says, and leaves nothing."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from usernat.nat.readiness import ENDED, READABLE, WRITABLE, EpollSelector

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="needs Linux's epoll")
BOTH = READABLE | WRITABLE
INTERESTS = [READABLE, WRITABLE, BOTH]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Two descriptors, the first of which may be closed by the test."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def theirs(fileobj: int | socket.socket, events: int) -> int:
    with selectors.DefaultSelector() as other:
        other.register(fileobj, events)
        return sum(mask for _, mask in other.select(0))


@pytest.mark.parametrize("events", INTERESTS)
@pytest.mark.parametrize("closed", [0, 1])
def test_a_pipe_of_which_one_end_is_left(
    selector: EpollSelector, pipe: tuple[int, int], closed: int, events: int
) -> None:
    """The kernel says that it hangs up, or that it failed, and nothing else."""
    os.close(pipe[closed])
    left = pipe[1 - closed]
    key = selector.register(left, events)
    ended = ENDED if events & READABLE else 0
    assert selector.select(0) == [(key, theirs(left, events) | ended)]


@pytest.mark.parametrize("events", INTERESTS)
def test_a_tcp_connection_that_was_reset_says_everything_at_once(
    selector: EpollSelector, events: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far = server.accept()[0]
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        key = selector.register(near, events)
        far.close()
        ended = ENDED if events & READABLE else 0
        assert selector.select(5) == [(key, theirs(near, events) | ended)]
        selector.unregister(near)
        near.close()


def test_a_change_that_the_kernel_refuses_ends_the_registration(
    selector: EpollSelector, pipe: tuple[int, int]
) -> None:
    selector.register(pipe[0], READABLE)
    os.close(pipe[0])
    with pytest.raises(OSError, match="descriptor"):
        selector.modify(pipe[0], BOTH)
    assert not selector.get_map()


def test_what_the_kernel_still_watches_through_a_copy_is_passed_over(
    selector: EpollSelector, pipe: tuple[int, int]
) -> None:
    """A child may have it. Nobody here wants to hear of it any more."""
    copy = os.dup(pipe[0])
    selector.register(pipe[0], READABLE)
    os.close(pipe[0])
    selector.unregister(pipe[0])
    os.write(pipe[1], b"x")
    assert selector.select(0) == []
    os.close(copy)


def test_nothing_that_is_not_registered_is_changed(selector: EpollSelector, pipe: tuple[int, int]) -> None:
    with pytest.raises(KeyError):
        selector.modify(pipe[0], READABLE)
    with pytest.raises(KeyError):
        selector.unregister(pipe[0])


def test_no_limit_means_until_something_happens(selector: EpollSelector, pipe: tuple[int, int]) -> None:
    key = selector.register(pipe[0], READABLE)
    later = threading.Timer(0.05, os.write, (pipe[1], b"x"))
    later.start()
    assert selector.select(None) == [(key, READABLE)]
    later.join()


@pytest.mark.parametrize("timeout", [0.0004, 0.001, 0.0025, 0.003])
def test_it_does_not_come_back_early(selector: EpollSelector, pipe: tuple[int, int], timeout: float) -> None:
    """Who comes back early finds nothing due, and asks again at once."""
    selector.register(pipe[0], READABLE)
    begin = time.monotonic()
    assert selector.select(timeout) == []
    assert time.monotonic() - begin >= timeout


def test_a_closed_selector_has_nothing_left(pipe: tuple[int, int]) -> None:
    made = EpollSelector()
    made.register(pipe[0], READABLE, "data")
    descriptor = made.fileno()
    made.close()
    assert not made.get_map()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
