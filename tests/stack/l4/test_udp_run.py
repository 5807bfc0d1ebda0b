"""Runs of datagrams: what one is, and that a device which cuts them sends what we would have sent one by one."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import GATEWAY, GUEST, REMOTE, UDP, Ip, internet_checksum, read_ipv4
from tests.stack.rig import Rig
from usernat.stack.device import Capabilities, Frame
from usernat.stack.l3.ip_id import LIFETIME_US
from usernat.stack.l4.datagrams import QUEUE_BYTES, QUEUE_ITEMS
from usernat.stack.l4.udp_run import MAX_RUN, MAX_RUN_BYTES, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

UDP_START = 34
Sizes = st.lists(
    st.one_of(st.sampled_from([0, 1, 64, 64, 64, 1200, 1200, 1472, 1473]), st.integers(0, 3000)), max_size=150
)


def of_sizes(sizes: Sequence[int]) -> list[bytes]:
    """Datagrams that can be told from each other, as far as they have room for it."""
    return [(number.to_bytes(2, "big") * (size // 2 + 1))[:size] for number, size in enumerate(sizes)]


def is_one(run: Sequence[bytes]) -> bool:
    """Whether a kernel cuts out of the whole what was put into it."""
    size, whole = len(run[0]), b"".join(run)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)] if size else []
    return pieces == list(run) and len(run) <= MAX_RUN and len(whole) <= MAX_RUN_BYTES


@given(Sizes)
def test_runs_are_all_the_datagrams_in_order_and_no_two_would_fit_into_one(sizes: list[int]) -> None:
    datagrams = of_sizes(sizes)
    found = [list(map(bytes, run)) for run in runs(datagrams)]
    assert [data for run in found for data in run] == datagrams
    assert all(len(run) == 1 or is_one(run) for run in found)
    for run, following in itertools.pairwise(found):
        assert not is_one([*run, following[0]])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([64] * 64, [64]),
        ([64] * 65, [64, 1]),
        ([1200] * 60, [54, 6]),
        ([5039] * 13, [13]),
        ([5040] * 12 + [5027], [13]),
        ([5040] * 12 + [5028], [12, 1]),
        ([5000] + [6000] * 11, [1, 10, 1]),
        ([100] + [200] * 65, [1, 64, 1]),
        ([100, 100, 30, 100], [3, 1]),
        ([100, 200], [1, 1]),
        ([100, 100, 0], [2, 1]),
        ([0, 0], [1, 1]),
        ([65507, 1], [1, 1]),
        ([], []),
    ],
)
def test_runs_by_example(sizes: list[int], expected: list[int]) -> None:
    assert [len(run) for run in runs(of_sizes(sizes))] == expected


# On the way out


def segmenting(mtu: int = 1500, *, segmentation: bool = True, seed: int = 1) -> Rig:
    """An interface on a device that cuts UDP, or on one that is otherwise the same."""
    rig = Rig(mtu=mtu, tx_checksum=True, tx_segmentation=65535, any_ip=True, seed=seed)
    rig.interface.udp._segmentation = segmentation
    return rig


def cut(frame: Frame) -> list[Ip]:
    """What a device makes of a frame, by the marks on it, as <linux/virtio_net.h> and RFC 768 have them."""
    data = bytes(frame)
    assert len(frame) == len(data)
    if not frame.gso_size:
        return [completed(data, frame)]
    assert frame.header_length == UDP_START + 8
    assert struct.unpack_from(">H", data, 16) == (len(data) - 14,)
    assert struct.unpack_from(">H", data, UDP_START + 4) == (len(data) - UDP_START,)
    ident = int.from_bytes(data[18:20], "big")
    found = []
    for at in range(frame.header_length, len(data), frame.gso_size):
        text = data[at : at + frame.gso_size]
        head = bytearray(data[: frame.header_length])
        struct.pack_into(">HH", head, 16, 28 + len(text), ident)
        struct.pack_into(">H", head, 24, 0)
        struct.pack_into(">H", head, 24, internet_checksum(bytes(head[14:34])))
        # The field has the sum of the pseudo-header with the length of the whole, in ones' complement: exchange the length.
        (field,) = struct.unpack_from(">H", head, UDP_START + 6)
        field = (field + 8 + len(text) + 65535 - (len(data) - UDP_START)) % 65535 or 65535
        struct.pack_into(">HH", head, UDP_START + 4, 8 + len(text), field)
        found.append(completed(bytes(head) + text, frame))
        ident = (ident + 1) & 0xFFFF
    return found


def completed(data: bytes, frame: Frame) -> Ip:
    """One datagram with its checksum, which is right."""
    if frame.csum_start:
        assert (frame.csum_start, frame.csum_offset) == (UDP_START, 6)
        at = UDP_START + 6
        data = data[:at] + internet_checksum(data[UDP_START:]).to_bytes(2, "big") + data[at + 2 :]
    datagram = read_ipv4(data[14:])
    if not (datagram.mf or datagram.offset):
        pseudo = data[26:34] + struct.pack(">BBH", 0, UDP, len(data) - UDP_START)
        assert internet_checksum(pseudo + data[UDP_START:]) == 0
    return datagram


def told(datagrams: list[Ip]) -> list[tuple[object, ...]]:
    """All but identification and checksums."""
    return [
        (
            each.src,
            each.dst,
            each.ttl,
            each.tos,
            each.df,
            each.mf,
            each.offset,
            each.payload[:6],
            each.payload[8:],
        )
        for each in datagrams
    ]


@pytest.mark.rfc("6864", "4.3-a")
@pytest.mark.rfc("768", "fields-b")
@given(Sizes, st.sampled_from([576, 1500, 9000]), st.integers(1, 255))
def test_a_device_that_cuts_sends_what_goes_one_by_one_elsewhere(
    sizes: list[int], mtu: int, ttl: int
) -> None:
    datagrams = of_sizes(sizes)
    outcomes = []
    for segmentation in (True, False):
        rig = segmenting(mtu, segmentation=segmentation)
        socket = rig.interface.udp.bind(None, None)
        for begin in range(0, len(datagrams), 100):
            assert socket.send_all(
                datagrams[begin : begin + 100], GUEST, 1000, src=REMOTE, src_port=53, ttl=ttl
            )
            assert len(socket.outbox) == len(datagrams[begin : begin + 100])
            assert socket.outbox.bytes == sum(sizes[begin : begin + 100])
        frames = rig.frames()
        assert all(frame.gso_size <= mtu - 28 for frame in frames)
        sent = [datagram for frame in frames for datagram in cut(frame)]
        idents = [datagram.ident for datagram in sent if not datagram.offset]
        assert len(set(idents)) == len(idents)
        outcomes.append((told(sent), rig.count("udp.sent"), rig.count("udp.not_sent"), len(socket.outbox)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] == len(sizes)


def test_one_frame_carries_a_run() -> None:
    rig = segmenting()
    socket = rig.interface.udp.bind(None, None)
    assert socket.send_all([b"x" * 1200] * 50, GUEST, 1000, src=REMOTE, src_port=53, ttl=9)
    (frame,) = rig.frames()
    assert (frame.gso_size, frame.csum_offset, len(frame)) == (1200, 6, 42 + 60_000)


@pytest.mark.rfc("6864", "4.3-a")
def test_the_datagrams_of_many_runs_have_identifications_of_their_own() -> None:
    rig = segmenting()
    socket = rig.interface.udp.bind(None, None)
    idents: list[int] = []
    for number in range(300):
        socket.send_all([b"x" * 10] * (1 + number % 40), GUEST, 1000, src=REMOTE, src_port=53, ttl=9)
        idents += [each.ident for each in cut(rig.frames()[0])]
    assert len(set(idents)) == len(idents) > 5000


@pytest.mark.rfc("6864", "4.1-b")
def test_a_run_without_identifications_goes_atomic() -> None:
    """As single datagrams do: better that than to be mistaken for another."""
    rig = segmenting()
    socket = rig.interface.udp.bind(None, None)
    while rig.interface.ipv4.output.ip_ids.run(REMOTE, GUEST, UDP, 64, rig.now) is not None:
        pass
    for _ in range(2):
        socket.send_all([b"x" * 10] * 20, GUEST, 1000, src=REMOTE, src_port=53, ttl=9)
        assert {(each.df, each.mf, each.offset) for each in cut(rig.frames()[0])} == {(True, False, 0)}
    rig.now += LIFETIME_US
    socket.send_all([b"x" * 10] * 20, GUEST, 1000, src=REMOTE, src_port=53, ttl=9)
    assert not any(each.df for each in cut(rig.frames()[0]))


def test_a_run_is_one_turn_and_others_have_theirs() -> None:
    """A socket with much to send delays another by one run."""
    rig = segmenting()
    busy, modest = rig.interface.udp.bind(None, None), rig.interface.udp.bind(GATEWAY, 7)
    for _ in range(3):
        assert busy.send_all([b"x" * 1000] * 100, GUEST, 1000, src=REMOTE, src_port=53, ttl=9)
    modest.send(b"modest", GUEST, 8)
    lengths = [len(frame) for frame in rig.frames()]
    assert lengths.index(42 + 6) == 1
    assert sum(length - 42 for length in lengths) == 300_006
    assert max(lengths) <= 65535 + 14


def test_c60_runs_count_as_so_many_datagrams_in_the_queue() -> None:
    """All or none, whatever bound they meet."""
    rig = segmenting()
    socket = rig.interface.udp.bind(None, None)

    def put(size: int, number: int) -> bool:
        return socket.send_all([bytes(size)] * number, GUEST, 1000, src=REMOTE, src_port=53, ttl=9)

    assert put(1, QUEUE_ITEMS - 60)
    assert not put(1, 61)
    assert socket.room_for(61) == 0
    assert socket.room_for(60) == QUEUE_BYTES - len(socket.outbox)
    assert put(1, 60)
    assert len(socket.outbox) == QUEUE_ITEMS
    assert not socket.send_room
    rig.frames()
    assert rig.interface.ready() == [socket], "half of it is free again"
    assert put(60_000, QUEUE_BYTES // 60_000)
    assert not put(60_000, 2)
    assert socket.outbox.bytes <= QUEUE_BYTES
    socket.close()
    assert not put(1, 2)
    assert (len(socket.outbox), socket.outbox.bytes) == (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"src_port": 0},
        {"dst_port": 65536},
        {"ttl": 0},
        {"datagrams": [b"x", bytes(65508)]},
    ],
)
def test_what_could_never_be_sent_is_refused(wrong: dict[str, object]) -> None:
    socket = segmenting().interface.udp.bind(None, None)
    all_of_it = {
        "datagrams": [b"x", b"x"],
        "dst": GUEST,
        "dst_port": 9,
        "src": REMOTE,
        "src_port": 1,
        "ttl": 9,
    }
    with pytest.raises(ValueError, match=r"ports|carries"):
        socket.send_all(**{**all_of_it, **wrong})  # type: ignore[arg-type] # that is the point


def test_a_run_that_goes_nowhere_is_told_datagram_by_datagram() -> None:
    rig = segmenting()
    socket = rig.interface.udp.bind(None, 7)
    socket.send_all([b"x"] * 3, REMOTE, 9, src=GATEWAY, src_port=7, ttl=9)
    assert rig.silent()
    assert [(error.type, error.code, error.dst) for error in socket.errors] == [(3, 0, REMOTE)] * 3
    assert (rig.count("udp.not_sent"), rig.count("udp.sent")) == (3, 0)


def test_a_device_that_cuts_must_sum() -> None:
    with pytest.raises(ValueError, match="checksum"):
        Capabilities(tx_udp_segmentation=True)
    assert Rig(tx_checksum=True).interface.udp._segmentation is False
