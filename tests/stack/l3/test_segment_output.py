"""The short way out of a segment comes to what the long one comes to, whatever is to be sent, and wherever."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import GATEWAY, GUEST, REMOTE, TCP
from tests.stack.rig import SECOND, Rig
from usernat.stack.interface import OUTGOING_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTER = 0x0A000209  # 10.0.2.9
ELSEWHERE = 0x0A0003FF  # 10.0.3.255
MACS = {ROUTER: bytes.fromhex("525400000009"), ELSEWHERE: bytes.fromhex("525400000255")}

SEGMENT: dict[str, Any] = {
    "src": GATEWAY,
    "dst": GUEST,
    "header": 20,
    "texts": (100,),
    "ttl": 64,
    "tos": 0,
    "gso_size": 0,
    "csum_offset": None,
}
SEGMENTS = st.fixed_dictionaries(
    {
        "src": st.sampled_from([GATEWAY, GATEWAY, REMOTE, 0]),
        "dst": st.sampled_from([GUEST, GUEST, REMOTE, ELSEWHERE, GATEWAY, 0xFFFFFFFF, 0x7F000001]),
        "header": st.sampled_from([20, 32, 60]),
        "texts": st.sampled_from(
            [(), (1,), (100, 23), (1448,), (1460,), (1461,), (1428, 33), (65515,), (65495,), (65496,)]
        ),
        "ttl": st.sampled_from([64, 1, 255, 0, 256]),
        "tos": st.sampled_from([0, 2, 0xB8, 255]),
        "gso_size": st.sampled_from([0, 0, 536, 1448]),
        "csum_offset": st.sampled_from([None, 16]),
    }
)


class Both:
    """Two interfaces that are told the same; one sends by the short way, the other by the long one."""

    def __init__(self, *, any_ip: bool = False) -> None:
        self.rigs = [
            Rig(tx_checksum=True, tx_segmentation=65535, any_ip=any_ip, seed=number) for number in (1, 1)
        ]

    def each(self, call: Callable[[Rig], object]) -> None:
        for rig in self.rigs:
            call(rig)

    def send(self, **segment: Any) -> list[tuple[bytes, int, int, int, int]]:
        """What leaves, and all that is counted, is the same."""
        self.put(**segment)
        left = [
            [
                (bytes(f), f.gso_size, f.csum_start, f.csum_offset, f.header_length * bool(f.gso_size))
                for f in rig.frames()
            ]
            for rig in self.rigs
        ]
        assert left[0] == left[1]
        self.compare()
        return left[0]

    def put(self, **segment: Any) -> None:
        """Without looking at what leaves."""
        src, dst, header, texts, ttl, tos, gso_size, csum_offset = {**SEGMENT, **segment}.values()
        if gso_size and csum_offset is None:
            gso_size = 0  # a device that segments must sum
        front, text = bytes(range(header)), [bytes([size % 251]) * size for size in texts]
        errors = []
        for number, rig in enumerate(self.rigs):
            ipv4 = rig.interface.ipv4
            try:
                if number:
                    options: dict[str, Any] = {"ttl": ttl, "tos": tos, "gso_size": gso_size}
                    ipv4.send(TCP, src, dst, [front, *text], csum_offset=csum_offset, now=rig.now, **options)
                else:
                    ipv4.send_segment(
                        src, dst, front, text, sum(texts), ttl, tos, gso_size, csum_offset, rig.now
                    )
            except ValueError as error:
                errors.append(str(error))
        assert errors in ([], errors[:1] * 2)

    def compare(self) -> None:
        one, other = (rig.interface for rig in self.rigs)
        assert one.counters() == other.counters()
        assert one.poll_at() == other.poll_at()


def learn(address: int) -> Callable[[Rig], None]:
    return lambda rig: rig.interface.ethernet.neighbours.learn(address, MACS[address], rig.now)


CHANGES: list[Callable[[Rig], object]] = [
    lambda rig: rig.interface.add_address(0x0A000301, 24),
    lambda rig: rig.interface.remove_address(0x0A000301),
    lambda rig: rig.interface.ipv4.routes.add_default(ROUTER),
    lambda rig: rig.pass_time(10 * SECOND),
    learn(ROUTER),
    learn(ELSEWHERE),
]


def attempt(change: Callable[[Rig], object]) -> Callable[[Rig], None]:
    def attempted(rig: Rig) -> None:
        with suppress(ValueError):  # there already, or gone
            change(rig)

    return attempted


@given(st.lists(st.one_of(SEGMENTS, st.sampled_from(CHANGES)), max_size=20), st.booleans())
def test_any_segments_leave_as_by_the_long_way(
    steps: list[dict[str, Any] | Callable[[Rig], object]], any_ip: bool
) -> None:
    both = Both(any_ip=any_ip)
    both.each(learn(ROUTER))
    for step in steps:
        if callable(step):
            both.each(attempt(step))
        else:
            both.send(**step)


@pytest.mark.parametrize("any_ip", [False, True])
@pytest.mark.parametrize(
    "odd",
    [
        {},
        *({"src": src} for src in (0, REMOTE, GUEST)),
        *({"ttl": ttl} for ttl in (0, 1, 255, 256)),
        *({"tos": tos} for tos in (1, 255)),
        *({"texts": (size,)} for size in (1459, 1460, 1461)),
        *({"texts": (size,), "gso_size": 1448, "csum_offset": 16} for size in (100, 9000, 65495, 65496)),
        {"csum_offset": 16},
        {"header": 60, "texts": (1, 2, 3), "csum_offset": 16, "gso_size": 3},
        *({"dst": dst} for dst in (REMOTE, ELSEWHERE, GATEWAY, ROUTER, 0xFFFFFFFF, 0x0A0002FF)),
    ],
    ids=str,
)
def test_one_thing_is_odd_where_all_is_known(odd: dict[str, Any], any_ip: bool) -> None:
    both = Both(any_ip=any_ip)
    for _ in range(2):
        both.send()
        both.send(**odd)


def test_the_way_leads_through_the_router_and_another_once_that_has_changed() -> None:
    both = Both()
    both.each(learn(ROUTER))
    both.send(dst=REMOTE)  # no route
    both.each(lambda rig: rig.interface.ipv4.routes.add_default(ROUTER))
    for _ in range(2):
        ((frame, *_),) = both.send(dst=REMOTE)
        assert frame[:6] == MACS[ROUTER]


def test_an_address_that_became_a_broadcast_is_no_neighbour_any_more() -> None:
    both = Both(any_ip=True)
    both.each(lambda rig: rig.interface.ipv4.routes.add_default(ROUTER))
    both.each(learn(ROUTER))
    both.each(learn(ELSEWHERE))
    for _ in range(2):  # not on our link: whoever says that it has the address
        ((frame, *_),) = both.send(dst=ELSEWHERE)
        assert frame[:6] == MACS[ROUTER]
    both.each(lambda rig: rig.interface.add_address(0x0A000301, 24))
    for _ in range(2):
        frames = both.send(dst=ELSEWHERE)
        assert [frame[:6] for frame, *_ in frames][-1:] == [b"\xff" * 6]


def test_a_smaller_path_is_heeded() -> None:
    both = Both()
    both.send(texts=(1400,))

    def narrow(rig: Rig) -> None:
        ipv4 = rig.interface.ipv4
        ipv4.output.path_mtus.too_big(GUEST, 1000, 1440, rig.now)
        ipv4.output.forget(GUEST)

    both.each(narrow)
    assert not both.send(texts=(1400,))
    assert len(both.send(texts=(900,))) == 1


def test_a_full_queue_takes_no_more() -> None:
    both = Both()
    both.send()
    for _ in range(OUTGOING_LIMIT + 3):
        both.put()
    both.compare()
    assert both.rigs[0].count("ethernet.queue_full") == 3
    assert len(both.send()) == OUTGOING_LIMIT
