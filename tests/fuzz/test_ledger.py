"""The books of UDP find what a gateway must not do, and nothing else; the host's sockets of the machines do what a kernel does."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from usernat.fuzz.machines.frame_check import FrameError
from usernat.fuzz.machines.ledger import DatagramLedger
from usernat.fuzz.machines.run_sockets import RunDatagrams, RunHost
from usernat.fuzz.strategies import SCENE
from usernat.fuzz.strategies.ethernet import frame
from usernat.fuzz.strategies.ipv4 import datagram, seal
from usernat.fuzz.strategies.udp import segment

if TYPE_CHECKING:
    from collections.abc import Sequence

FAR, PORT = SCENE.outside[0], 7000
GUEST_PORT = 4000
ADDRESSED = FAR, PORT
CLIENT = 7  # the port of a forward's client, by which what it says begins


class End:
    """As a mapping of the gateway: the owner of a host socket."""

    guest, guest_port = SCENE.guest, GUEST_PORT

    def on_host(self, readable: bool, writable: bool, now: int) -> None:
        """Nothing."""


def books(*, runs: bool = True) -> tuple[DatagramLedger, RunHost, RunDatagrams]:
    ledger = DatagramLedger(SCENE.gateway)
    ledger.watched.add(ADDRESSED)
    host = RunHost(Random(1), ledger, runs=runs)
    return ledger, host, host.open_udp(End())


def said(
    data: bytes, src_port: int = GUEST_PORT, dst: int = FAR, dst_port: int = PORT, **fields: Any
) -> bytes:
    sealed = seal(segment(data, src_port, dst_port), 17, SCENE.guest, dst)
    return frame(datagram(sealed, 17, SCENE.guest, dst, **fields))


def test_what_came_may_leave_once_as_it_was() -> None:
    ledger, _, sock = books()
    ledger.entered(said(b"one", ttl=9), vouched=False)
    sock.send(b"one", FAR, PORT, 8, df=False)
    with pytest.raises(FrameError, match="not given, or twice"):
        sock.send(b"one", FAR, PORT, 8, df=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": b"two"},
        {"data": b"on"},
        {"ttl": 9},
        {"df": True},
    ],
)
def test_nothing_of_it_may_change(wrong: dict[str, Any]) -> None:
    ledger, _, sock = books()
    ledger.entered(said(b"one", ttl=9), vouched=False)
    with pytest.raises(FrameError):
        sock.send(**{"data": b"one", "address": FAR, "port": PORT, "ttl": 8, "df": False, **wrong})


def test_nor_may_it_leave_for_another_of_the_guests_ports() -> None:
    ledger, _, sock = books()
    ledger.entered(said(b"one", GUEST_PORT + 1, ttl=9), vouched=False)
    with pytest.raises(FrameError):
        sock.send(b"one", FAR, PORT, 8, df=False)


def test_what_has_a_wrong_sum_has_not_come_unless_somebody_vouches_for_it() -> None:
    wrong = bytearray(said(b"one", ttl=9))
    wrong[-1] ^= 1
    for vouched in (False, True):
        ledger, _, sock = books()
        ledger.entered(bytes(wrong), vouched=vouched)
        if vouched:
            sock.send(b"ond", FAR, PORT, 8, df=False)
        else:
            with pytest.raises(FrameError):
                sock.send(b"ond", FAR, PORT, 8, df=False)


@pytest.mark.parametrize("noise", [b"", bytes(14), bytes(60), said(b"x")[:30], said(b"x")[:41]])
def test_noise_is_nothing(noise: bytes) -> None:
    ledger, _, _ = books()
    ledger.entered(noise, vouched=True)
    ledger.entered(noise, vouched=False)


def to_guest(
    data: bytes, src: int = FAR, src_port: int = PORT, dst_port: int = GUEST_PORT
) -> tuple[Any, ...]:
    return src, SCENE.guest, 63, segment(data, src_port, dst_port)


def test_the_guest_is_given_what_was_brought_for_it_and_once() -> None:
    ledger, _, sock = books()
    for data in (b"one", b"two"):
        sock.arrive(data, FAR, PORT)
    while sock.readable():
        sock.receive()
    ledger.emitted(*to_guest(b"two"))
    ledger.emitted(*to_guest(b"one"))
    for again in (b"one", b"three"):
        with pytest.raises(FrameError):
            ledger.emitted(*to_guest(again))


def test_nor_is_it_given_to_another_port_or_before_it_has_come() -> None:
    ledger, _, sock = books()
    sock.arrive(b"one", FAR, PORT)
    with pytest.raises(FrameError):
        ledger.emitted(*to_guest(b"one"))
    sock.receive()
    with pytest.raises(FrameError):
        ledger.emitted(*to_guest(b"one", dst_port=GUEST_PORT + 1))
    ledger.emitted(*to_guest(b"one", src=SCENE.outside[1]))  # of whom nothing is known
    ledger.emitted(*to_guest(b"one"))


def test_a_client_of_a_forward_hears_what_was_said_to_it() -> None:
    ledger, host, _ = books()
    published = host.publish_udp(0, 80, End())
    words = CLIENT.to_bytes(2, "big") + b" says"
    published.arrive(words, FAR, CLIENT)
    published.receive()
    ledger.emitted(*to_guest(words, SCENE.gateway, 30_000, 80))
    ledger.entered(said(words, 80, SCENE.gateway, 30_000, ttl=64), vouched=False)
    with pytest.raises(FrameError, match="another client"):
        published.send(words, FAR, CLIENT + 1, 63, df=False)
    published.send(words, FAR, CLIENT, 63, df=False)
    with pytest.raises(FrameError):
        published.send(words, FAR, CLIENT, 63, df=False)


def test_the_counters_must_say_the_same() -> None:
    ledger, _, sock = books()
    counters = dict.fromkeys(
        [
            "nat.udp.forwarded",
            "nat.udp.delivered",
            "nat.udp.filtered",
            "nat.udp.guest_full",
            "forwards.udp.answered",
            "forwards.udp.delivered",
            "forwards.udp.bad_source",
            "forwards.udp.no_resources",
            "forwards.udp.guest_full",
            "forwards.udp.over_quota",
            "udp.sent",
        ],
        0,
    )
    ledger.check(counters)
    sock.send(b"to somebody", FAR, PORT + 1, 8, df=False)
    sock.arrive(b"from somebody", FAR, PORT + 1)
    sock.receive()
    ledger.emitted(*to_guest(b"from somebody", src_port=PORT + 1))
    right = {**counters, "nat.udp.forwarded": 1, "nat.udp.filtered": 1, "udp.sent": 1}
    ledger.check(right)
    for name in ("nat.udp.forwarded", "nat.udp.filtered", "udp.sent"):
        with pytest.raises(AssertionError):
            ledger.check({**right, name: 0})


# The host's sockets


def brought(sizes: Sequence[int], *, runs: bool = True) -> list[list[int]]:
    """What calls bring, where one origin has sent datagrams of these sizes."""
    _, _, sock = books(runs=runs)
    for number, size in enumerate(sizes):
        sock.arrive(bytes([number]) * size, FAR, PORT + 1)
    found = []
    while (received := sock.receive()) is not None:
        found.append(received[0])
    assert [bytes(data) for run in found for data in run] == [
        bytes([number]) * size for number, size in enumerate(sizes)
    ]
    return [[len(data) for data in run] for run in found]


@pytest.mark.parametrize("sizes", [[9] * 60, [9, 9, 4, 9, 9, 20, 0, 0, 9], [30_000] * 5, []])
def test_what_a_call_brings_could_have_been_cut_out_of_one(sizes: list[int]) -> None:
    for run in brought(sizes):
        assert run[:-1] == [run[0]] * (len(run) - 1)
        assert run[-1] <= run[0]
        assert sum(run) <= 65507
        assert len(run) == 1 or run[-1]
    assert all(len(run) == 1 for run in brought(sizes, runs=False))


def test_origins_are_kept_apart_and_many_come_at_once() -> None:
    _, _, sock = books()
    for number in range(40):
        sock.arrive(b"x", FAR, PORT + 1 + number // 20)
    most = 0
    while (received := sock.receive()) is not None:
        run, (_, port, _, _) = received
        assert port in {PORT + 1, PORT + 2}
        most = max(most, len(run))
    assert 2 <= most <= 20


@pytest.mark.parametrize("sizes", [[9], [9, 10], [9, 9, 0], [9, 4, 9], [9] * 65, [40_000, 40_000], [0, 0]])
def test_what_no_kernel_cuts_is_a_fault_of_who_sends_it(sizes: list[int]) -> None:
    _, _, sock = books()
    with pytest.raises(FrameError):
        sock.send_run([bytes(size) for size in sizes], FAR, PORT + 1, 64, df=False)


def test_a_run_leaves_as_its_datagrams_or_not_at_all() -> None:
    ledger, host, sock = books()
    run = [b"one", b"two", b"3"]
    assert not books(runs=False)[2].send_run(run, FAR, PORT + 1, 8, df=False)
    host.mtu = 30
    assert not sock.send_run(run, FAR, PORT + 1, 8, df=True)
    assert not host.record.datagrams
    for data in run:
        ledger.entered(said(data, ttl=9), vouched=False)
    assert sock.send_run(run, FAR, PORT, 8, df=False)
    assert host.record.datagrams == [(FAR, PORT, 8, False, data) for data in run]
