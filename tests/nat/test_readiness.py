"""The selector of a gateway beside the standard library's: it says the same, and besides that a stream has ended."""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usernat.nat import readiness
from usernat.nat.readiness import ENDED, READABLE, WRITABLE, EpollSelector, make_selector

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="needs Linux's epoll")

PAIRS = 3
BOTH = READABLE | WRITABLE
STEPS = st.lists(
    st.tuples(
        st.integers(0, PAIRS - 1),
        st.sampled_from(
            ("register", "modify", "unregister", "send", "drain", "fill", "shut", "shut far", "close far")
        ),
        st.sampled_from((READABLE, WRITABLE, BOTH)),
    ),
    max_size=25,
)


class Pair:
    """A socket that is watched, and its far end."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)

    def act(self, action: str) -> None:
        try:
            if action == "send":
                self.far.send(b"x")
            elif action == "drain":
                self.near.recv(1 << 20)
            elif action == "fill":
                while self.near.send(bytes(1 << 16)):
                    pass
            elif action == "shut":
                self.near.shutdown(socket.SHUT_WR)
            elif action == "shut far":
                self.far.shutdown(socket.SHUT_WR)
            else:
                self.far.close()
        except OSError:
            pass  # nothing there, full, or closed before

    def close(self) -> None:
        self.near.close()
        self.far.close()


def outcome(selector: selectors.BaseSelector, call: str, sock: socket.socket, events: int) -> object:
    try:
        key = (
            selector.unregister(sock)
            if call == "unregister"
            else getattr(selector, call)(sock, events, "data")
        )
    except KeyError:
        return KeyError
    return (key.fileobj is sock, key.fd, key.events, key.data)


@given(STEPS)
def test_it_says_what_the_standard_librarys_says(steps: list[tuple[int, str, int]]) -> None:
    ours, theirs = EpollSelector(), selectors.DefaultSelector()
    pairs = [Pair() for _ in range(PAIRS)]
    try:
        for number, action, events in steps:
            pair = pairs[number]
            if action in {"register", "modify", "unregister"}:
                assert outcome(ours, action, pair.near, events) == outcome(theirs, action, pair.near, events)
            else:
                pair.act(action)
            said = {key.fd: (key.data, mask & BOTH) for key, mask in ours.select(0)}
            assert said == {key.fd: (key.data, mask) for key, mask in theirs.select(0)}
            assert set(ours.get_map().values()) == set(theirs.get_map().values())
    finally:
        for pair in pairs:
            pair.close()
        ours.close()
        theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.mark.parametrize("action", ["shut far", "close far"])
def test_the_end_of_a_stream_is_told_with_what_stands_before_it(
    selector: EpollSelector, pair: Pair, action: str
) -> None:
    key = selector.register(pair.near, READABLE)
    pair.act("send")
    assert selector.select(1.0) == [(key, READABLE)]
    pair.act(action)
    assert selector.select(1.0) == [(key, READABLE | ENDED)]
    assert pair.near.recv(100) == b"x"
    assert selector.select(1.0) == [(key, READABLE | ENDED)]


def test_who_does_not_read_is_not_woken_by_the_end(selector: EpollSelector, pair: Pair) -> None:
    pair.act("fill")
    selector.register(pair.near, WRITABLE)
    pair.act("shut far")
    assert selector.select(0) == []
    key = selector.modify(pair.near, BOTH)
    assert selector.select(0) == [(key, READABLE | ENDED)]


def test_what_cannot_be_watched_is_refused_and_leaves_nothing(selector: EpollSelector, pair: Pair) -> None:
    for events in (0, ENDED, BOTH | ENDED):
        with pytest.raises(ValueError, match="watched"):
            selector.register(pair.near, events)
    pair.near.close()
    with pytest.raises(ValueError, match="descriptor"):
        selector.register(pair.near, READABLE)
    with pytest.raises(OSError, match="descriptor"):
        selector.register(1 << 20, READABLE)
    assert not selector.get_map()


def test_a_change_to_nonsense_leaves_all_as_it_was(selector: EpollSelector, pair: Pair) -> None:
    key = selector.register(pair.near, READABLE, "data")
    with pytest.raises(ValueError, match="watched"):
        selector.modify(pair.near, 0)
    pair.act("send")
    assert selector.select(0) == [(key, READABLE)]
    assert selector.get_key(pair.near) is key


def test_one_that_was_closed_first_can_still_be_unregistered(selector: EpollSelector, pair: Pair) -> None:
    descriptor = pair.near.fileno()
    selector.register(descriptor, READABLE)
    pair.near.close()
    assert selector.unregister(descriptor).fd == descriptor
    assert not selector.get_map()


def test_more_than_are_told_of_at_once_all_have_their_turn(
    selector: EpollSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "MOST", 2)
    pairs = [Pair() for _ in range(7)]
    for each in pairs:
        selector.register(each.near, WRITABLE)
    told = set()
    for _ in range(4):
        ready = selector.select(0)
        assert len(ready) <= 2
        told |= {key.fd for key, _ in ready}
    assert told == {each.near.fileno() for each in pairs}
    for each in pairs:
        each.close()


def test_it_waits_for_as_long_as_it_is_told(selector: EpollSelector, pair: Pair) -> None:
    key = selector.register(pair.near, READABLE)
    assert selector.select(-1) == []
    assert selector.select(0.0001) == []
    pair.act("send")
    assert selector.select(None) == [(key, READABLE)]


def test_the_selector_of_this_system() -> None:
    with make_selector() as made:
        assert isinstance(made, EpollSelector)
        assert made.fileno() >= 0
