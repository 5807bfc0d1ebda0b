"""The framing of QEMU's stream link, and the socket that QEMU connects to."""

from __future__ import annotations

import socket
import stat
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.face.cables import StreamCable
from usernat.config import ConfigError
from usernat.links.link import MAX_FRAME, LinkClosed, Received
from usernat.links.listener import Endpoint, GuestListener
from usernat.links.qemu import FrameReader, QemuLink
from usernat.stack.device import Frame

if TYPE_CHECKING:
    from pathlib import Path

frames_strategy = st.lists(st.binary(min_size=1, max_size=200), max_size=12)


def encode(frames: list[bytes]) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(frames_strategy, st.lists(st.integers(0, 10_000)), st.integers(1, 5))
def test_c57_the_stream_may_be_cut_anywhere(frames: list[bytes], places: list[int], limit: int) -> None:
    reader, found = FrameReader(), list[bytes | memoryview]()
    for piece in cut(encode(frames), places):
        reader.feed(piece)
        while got := reader.frames(limit):
            assert len(got) <= limit
            found += [frame for frame, _ in got]
    assert found == frames
    assert reader.failure is None
    assert reader.buffered == 0


def test_c57_one_byte_at_a_time_through_a_socket() -> None:
    cable = StreamCable()
    frames = [b"a" * 60, b"b" * 1514, b"c"]
    found: list[bytes | memoryview] = []
    for byte in encode(frames):
        cable.guest.send(bytes([byte]))
        found += [frame for frame, _ in cable.link.receive(64)]
    assert found == frames
    cable.close()


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_c57_an_impossible_length_closes_the_link_with_one_clear_error(length: int) -> None:
    cable = StreamCable()
    cable.put(b"good" * 15)
    cable.guest.send(length.to_bytes(4, "big") + b"junk" * 10)
    assert [frame for frame, _ in cable.link.receive(64)] == [b"good" * 15]
    assert cable.link.pending
    for _ in range(2):
        with pytest.raises(LinkClosed, match=rf"frame of {length} bytes"):
            cable.link.receive(64)
    cable.close()


def test_c57_the_largest_frame_passes() -> None:
    cable = StreamCable()
    cable.guest.setblocking(True)
    cable.put(b"x" * MAX_FRAME)
    found: list[Received] = []
    for _ in range(10):
        found += cable.link.receive(64)
    assert [len(frame) for frame, _ in found] == [MAX_FRAME]
    cable.close()


def test_c57_an_end_in_the_middle_of_a_frame_is_told() -> None:
    cable = StreamCable()
    cable.guest.send(encode([b"x" * 100])[:50])
    cable.unplug()
    assert cable.link.receive(64) == []
    with pytest.raises(LinkClosed, match=r"in the middle of a frame \(50 bytes\)"):
        cable.link.receive(64)
    cable.link.close()


def test_a_partial_write_resumes_where_it_stopped() -> None:
    cable = StreamCable()
    sender = cable.link
    assert isinstance(sender, QemuLink)
    sender._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    frames = [bytes([number]) * 1000 for number in range(64)]
    cable.link.send([Frame([frame[:14], frame[14:]]) for frame in frames])
    assert cable.link.wants_write
    assert cable.link.room() == 0
    found: list[bytes] = []
    while cable.link.held:
        found += cable.take()
        cable.link.flush()
    found += cable.take()
    assert found == frames
    cable.close()


def test_guest_after_guest(tmp_path: Path) -> None:
    with GuestListener(Endpoint.parse(f"unix:{tmp_path}/qemu")) as listener:
        assert stat.S_IMODE((tmp_path / "qemu").stat().st_mode) == 0o600
        first, second = (socket.socket(socket.AF_UNIX) for _ in range(2))
        for guest in (first, second):  # the second waits for its turn
            guest.connect(f"{tmp_path}/qemu")
            guest.send(encode([b"hello"]))
        for guest in (first, second):
            link = listener.accept()
            assert link.receive(64) == [(b"hello", False)]
            guest.close()
            link.close()
    assert not (tmp_path / "qemu").exists()


def test_tcp_endpoint() -> None:
    with GuestListener(Endpoint.parse("tcp:127.0.0.1:0")) as listener:
        assert listener.endpoint.port > 0
        with socket.create_connection(("127.0.0.1", listener.endpoint.port)) as guest:
            link = listener.accept(mtu=1400)
            assert link.capabilities.mtu == 1400
            link.send([Frame([b"hello"])])
            assert guest.recv(100) == encode([b"hello"])
            link.close()


def test_a_path_left_by_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "qemu"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with GuestListener(Endpoint.parse(f"unix:{path}")), socket.socket(socket.AF_UNIX) as guest:
        guest.connect(str(path))


def test_a_path_in_use_or_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        GuestListener(Endpoint.parse(f"unix:{tmp_path}/file"))
    assert (tmp_path / "file").read_text() == "precious"
    with GuestListener(Endpoint.parse(f"unix:{tmp_path}/live")):
        with pytest.raises(ConfigError, match="another process listens"):
            GuestListener(Endpoint.parse(f"unix:{tmp_path}/live"))
        assert (tmp_path / "live").exists()
    with pytest.raises(ConfigError, match="cannot listen"):
        GuestListener(Endpoint.parse(f"unix:{tmp_path}/no/such/directory"))


@pytest.mark.parametrize(
    "text", ["", "unix:", "tcp:", "tcp:host", "tcp:host:", "tcp::1", "tcp:h:65536", "tcp:h:x", "udp:h:1"]
)
def test_endpoints_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="not an address to listen on"):
        Endpoint.parse(text)
