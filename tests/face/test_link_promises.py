"""What every guest link promises (usernat/links/link.py), held against every kind of link."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from tests.face.cables import Cable, cables, descriptors
from usernat.links.link import HELD_MAX, LinkClosed
from usernat.stack.device import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("memory", "datagram", "seqpacket", "tap", "qemu", "capture")


@pytest.fixture(params=KINDS)
def cable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cable]:
    made = cables(tmp_path)[request.param]()
    yield made
    made.close()


def frame(number: int, size: int = 60) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def readable(cable: Cable) -> bool:
    return cable.link.pending or bool(select.select([cable.link], [], [], 0)[0])


def receive_all(cable: Cable, limit: int = 1000) -> list[bytes]:
    return [bytes(data) for data, _ in cable.link.receive(limit)]


def receive_for_ever(cable: Cable) -> None:
    for _ in range(3):
        cable.link.receive(64)


def send_for_ever(cable: Cable) -> None:
    for _ in range(3):
        cable.link.send([Frame([frame(8)])])


def test_frames_cross_both_ways_unchanged_and_in_order(cable: Cable) -> None:
    sent = [frame(number, size) for number, size in enumerate((60, 64, 1514, 60, 9000))]
    for data in sent:
        cable.put(data)
    assert readable(cable)
    assert receive_all(cable) == sent
    cable.link.send([Frame([data[:14], memoryview(data)[14:40], data[40:]]) for data in sent])
    assert cable.take() == sent
    counters = cable.link.counters
    assert counters.frames_in == counters.frames_out == 5
    assert counters.bytes_in == counters.bytes_out == sum(map(len, sent))


def test_nothing_there_is_an_empty_list(cable: Cable) -> None:
    assert cable.link.receive(64) == []
    assert not readable(cable)


def test_the_limit_holds_and_the_rest_is_announced(cable: Cable) -> None:
    for number in range(5):
        cable.put(frame(number))
    assert receive_all(cable, limit=3) == [frame(0), frame(1), frame(2)]
    assert readable(cable)
    assert receive_all(cable, limit=3) == [frame(3), frame(4)]
    assert not readable(cable)


def test_what_was_received_does_not_change_with_what_comes_later(cable: Cable) -> None:
    cable.put(frame(1))
    (first,) = cable.link.receive(64)
    cable.put(frame(2))
    cable.link.receive(64)
    assert bytes(first[0]) == frame(1)


def test_c26_backpressure_is_held_in_order_within_a_bound_then_dropped_and_counted(cable: Cable) -> None:
    link, sent = cable.link, 0
    while link.room():
        link.send([Frame([frame(sent + offset, 1200)]) for offset in range(16)])
        sent += 16
        assert sent < 100_000
    lost_before = link.counters.overflow
    surplus = 4 * HELD_MAX
    link.send([Frame([frame(1 << 24, 1200)]) for _ in range(surplus)])
    assert link.held <= 3 * HELD_MAX  # a stream holds pieces, three a frame
    assert link.counters.overflow - lost_before >= surplus - HELD_MAX
    arrived: list[bytes] = []
    while got := cable.take():
        arrived += got
        link.flush()
    assert arrived[:sent] == [frame(number, 1200) for number in range(sent - lost_before)][: len(arrived)]
    assert len(arrived) == sent + surplus - link.counters.overflow
    assert link.room() > 0
    assert not link.wants_write


def test_room_comes_back_with_an_event(cable: Cable) -> None:
    link = cable.link
    while link.room():
        link.send([Frame([frame(0, 1200)])] * 16)
    receive_all(cable)
    cable.take()
    events = select.select([link], [link] if link.wants_write else [], [], 1)
    assert events[0] or events[1]


def test_c27_a_guest_that_leaves_closes_the_link(cable: Cable, request: pytest.FixtureRequest) -> None:
    cable.put(frame(7))
    cable.unplug()
    assert receive_all(cable) == [frame(7)]
    if "[datagram]" in request.node.name:  # a datagram socket tells only whoever sends
        with pytest.raises(LinkClosed):
            cable.link.send([Frame([frame(8)])])
        return
    assert readable(cable)  # so that whoever waits learns of it
    with pytest.raises(LinkClosed):
        receive_for_ever(cable)


def test_c27_sending_to_a_guest_that_left_raises_link_closed_and_nothing_else(cable: Cable) -> None:
    cable.unplug()
    with pytest.raises(LinkClosed):
        send_for_ever(cable)


@pytest.mark.parametrize("kind", KINDS)
def test_c27_closing_gives_every_descriptor_back(kind: str, tmp_path: Path) -> None:
    before = descriptors()
    made = cables(tmp_path)[kind]()
    made.put(frame(1))
    assert descriptors() != before
    made.close()
    made.link.close()
    assert descriptors() == before
