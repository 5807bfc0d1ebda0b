"""The TAP link: its offload header, and what it makes of a device that will not. Real devices are tried in tests/lab."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.face.cables import SocketCable
from tests.face.test_datagram_cut import run
from usernat.links.link import HELD_MAX, LinkClosed
from usernat.links.tap import DATA_VALID, GSO_ECN, GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM, TapLink, vnet_header
from usernat.netdevice import cuts_datagrams
from usernat.stack.device import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME = bytes(range(60))


@pytest.fixture
def cable() -> Iterator[SocketCable]:
    made = SocketCable(socket.SOCK_SEQPACKET, lambda ours: TapLink(ours.detach()))
    yield made
    made.close()


def test_the_marks_of_a_frame_become_a_little_endian_header(cable: SocketCable) -> None:
    cable.link.send([Frame([FRAME], gso_size=1448, csum_start=34, csum_offset=16, header_length=66)])
    (sent,) = cable.take()
    assert sent == struct.pack("<BBHHHH", NEEDS_CSUM, GSO_TCPV4, 66, 1448, 34, 16) + FRAME


def test_a_small_frame_asks_for_its_checksum_alone(cable: SocketCable) -> None:
    cable.link.send([Frame([FRAME], csum_start=34, csum_offset=6, header_length=42)])
    assert cable.take() == [struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, 34, 6) + FRAME]


def test_a_finished_frame_has_an_empty_header(cable: SocketCable) -> None:
    cable.link.send([Frame([FRAME])])
    assert cable.take() == [bytes(10) + FRAME]


@pytest.mark.parametrize(
    ("flags", "vouched"), [(0, False), (NEEDS_CSUM, True), (DATA_VALID, True), (4, False)]
)
def test_the_device_vouches_for_checksums(cable: SocketCable, flags: int, vouched: bool) -> None:
    cable.put(bytes([flags, 0]) + bytes(8) + FRAME)
    assert cable.link.receive(64) == [(FRAME, vouched)]


@pytest.mark.parametrize("kind", [GSO_TCPV4, GSO_TCPV4 | GSO_ECN])
def test_large_segments_are_taken(cable: SocketCable, kind: int) -> None:
    data = bytes(65549)
    cable.put(struct.pack("<BBHHHH", NEEDS_CSUM, kind, 54, 1460, 34, 16) + data)
    assert cable.link.receive(64) == [(data, True)]


@pytest.mark.parametrize("kind", [2, 3, 4, GSO_UDP_L4 | GSO_ECN, GSO_ECN, 0xFF])
def test_offloads_that_were_never_offered_are_dropped_and_counted(cable: SocketCable, kind: int) -> None:
    cable.put(bytes([0, kind]) + bytes(8) + FRAME)
    cable.put(bytes(10) + FRAME)
    assert cable.link.receive(64) == [(FRAME, False)]
    assert cable.link.counters.unknown_offload == 1


def test_a_run_of_datagrams_is_marked_by_where_its_checksum_is(cable: SocketCable) -> None:
    cable.link.send([Frame([FRAME], gso_size=10, csum_start=34, csum_offset=6, header_length=42)])
    (sent,) = cable.take()
    assert sent == struct.pack("<BBHHHH", NEEDS_CSUM, GSO_UDP_L4, 42, 10, 34, 6) + FRAME


def put_run(cable: SocketCable, text: bytes, size: int, flags: int = NEEDS_CSUM) -> None:
    cable.put(struct.pack("<BBHHHH", flags, GSO_UDP_L4, 42, size, 34, 6) + run(text))


def test_a_run_of_datagrams_is_cut_and_what_is_beyond_the_limit_waits(cable: SocketCable) -> None:
    put_run(cable, bytes(range(100)), 10)
    cable.put(bytes(10) + FRAME)
    assert not cable.link.pending
    first = cable.link.receive(4)
    assert cable.link.pending
    second = cable.link.receive(4)
    third = cable.link.receive(4)
    assert not cable.link.pending
    assert cable.link.receive(4) == []
    assert [len(each) for each in (first, second, third)] == [4, 4, 3]
    received = [*first, *second, *third]
    assert received[-1] == (FRAME, False)
    assert all(vouched for _, vouched in received[:-1])
    assert [bytes(frame)[42:] for frame, _ in received[:-1]] == [
        bytes(range(at, at + 10)) for at in range(0, 100, 10)
    ]
    assert cable.link.counters.frames_in == 11
    assert cable.link.counters.bytes_in == 10 * 52 + len(FRAME)


def test_what_says_that_it_is_a_run_and_is_none_is_dropped_and_counted(cable: SocketCable) -> None:
    put_run(cable, bytes(100), 0)
    put_run(cable, bytes(100), 10, flags=0)
    cable.put(struct.pack("<BBHHHH", NEEDS_CSUM, GSO_UDP_L4, 42, 10, 34, 6) + FRAME)
    assert cable.link.receive(64) == []
    assert cable.link.counters.unknown_offload == 3


def test_less_than_a_header_is_dropped_and_counted(cable: SocketCable) -> None:
    cable.put(bytes(9))
    assert cable.link.receive(64) == []
    assert cable.link.counters.truncated == 1


def test_many_pieces_are_written_as_one_frame(cable: SocketCable) -> None:
    cable.link.send([Frame([b"x"] * 5000)])
    assert cable.take() == [bytes(10) + b"x" * 5000]


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """From now on every write to a TAP fails with this errno while the list is not empty."""
    left = [1]
    real = os.writev

    def writev(descriptor: int, parts: list[bytes]) -> int:
        if left:
            raise OSError(number, os.strerror(number))
        return real(descriptor, parts)

    monkeypatch.setattr(os, "writev", writev)
    return left


@pytest.mark.parametrize(
    ("number", "watches"), [(errno.EAGAIN, True), (errno.ENOBUFS, False), (errno.ENOMEM, False)]
)
def test_c26_a_device_without_room_is_held_for_then_goes_on_in_order(
    cable: SocketCable, monkeypatch: pytest.MonkeyPatch, number: int, watches: bool
) -> None:
    failure = failing(monkeypatch, number)
    frames = [Frame([bytes([index]) * 60]) for index in range(5)]
    cable.link.send(frames[:2])
    cable.link.send(frames[2:])
    cable.link.flush()
    assert (cable.link.held, cable.link.room(), cable.link.wants_write) == (5, 0, watches)
    failure.clear()
    cable.link.flush()
    assert cable.take() == [bytes(10) + bytes(frame) for frame in frames]
    assert (cable.link.held, cable.link.room(), cable.link.wants_write) == (0, HELD_MAX, False)
    assert cable.link.counters.blocked >= 1


def test_c26_new_frames_wait_behind_held_ones(cable: SocketCable, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failing(monkeypatch, errno.EAGAIN)
    cable.link.send([Frame([b"first" * 12])])
    failure.clear()
    cable.link.send([Frame([b"second" * 10])])
    assert cable.take() == []
    cable.link.flush()
    assert cable.take() == [bytes(10) + b"first" * 12, bytes(10) + b"second" * 10]


def test_c26_beyond_the_bound_frames_are_dropped_and_counted(
    cable: SocketCable, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.ENOBUFS)
    cable.link.send([Frame([FRAME])] * (HELD_MAX + 10))
    assert cable.link.held == HELD_MAX
    assert cable.link.counters.overflow == 10


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EFAULT])
def test_c26_a_frame_that_the_device_refuses_is_dropped_and_counted(
    cable: SocketCable, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failure = failing(monkeypatch, number)
    cable.link.send([Frame([FRAME])])
    failure.clear()
    cable.link.send([Frame([FRAME])])
    assert len(cable.take()) == 1
    assert cable.link.counters.refused == 1
    assert cable.link.held == 0


@pytest.mark.parametrize("number", [errno.EBADF, errno.EBADFD, errno.ENODEV])
def test_c27_a_deleted_device_closes_the_link(
    cable: SocketCable, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failing(monkeypatch, number)
    with pytest.raises(LinkClosed, match="gone"):
        cable.link.send([Frame([FRAME])])


@pytest.mark.parametrize(
    ("release", "cuts"),
    [
        ("6.2.0", True),
        ("6.1.99-cloud", False),
        ("5.15", False),
        ("6.18.44-x", True),
        ("7.0-rc1", True),
        ("4", False),
    ],
)
def test_which_kernels_cut_datagrams(monkeypatch: pytest.MonkeyPatch, release: str, cuts: bool) -> None:
    known = os.uname()
    made = os.uname_result((known.sysname, known.nodename, release, known.version, known.machine))
    monkeypatch.setattr(os, "uname", lambda: made)
    assert cuts_datagrams() is cuts


def test_headers_are_cached_within_a_bound() -> None:
    for size in range(5000):
        vnet_header(size, 54, 34, 16)
    assert vnet_header.cache_info().currsize <= 1024
