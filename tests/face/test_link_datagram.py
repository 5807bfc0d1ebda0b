"""The datagram link: who the guest is, and what UDP's delayed errors mean."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from usernat.links.datagram import DatagramLink
from usernat.stack.device import Frame

if TYPE_CHECKING:
    from pathlib import Path

FRAME = b"f" * 60


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5)
    return sock


def test_the_first_sender_is_the_guest_and_others_are_strangers() -> None:
    ours, guest, stranger = udp(), udp(), udp()
    link = DatagramLink(ours)
    link.send([Frame([FRAME])])  # nobody to send to yet
    assert link.counters.refused == 1
    guest.sendto(FRAME, ours.getsockname())
    assert link.receive(64) == [(FRAME, False)]
    stranger.sendto(b"x" * 60, ours.getsockname())
    assert link.receive(64) == []
    assert link.counters.stranger == 1
    link.send([Frame([FRAME[:14], FRAME[14:]])])
    assert guest.recv(100) == FRAME
    for sock in (link, guest, stranger):
        sock.close()


def test_a_named_peer_is_the_guest() -> None:
    ours, guest, stranger = udp(), udp(), udp()
    link = DatagramLink(ours, peer=guest.getsockname())
    stranger.sendto(b"x" * 60, ours.getsockname())
    guest.sendto(FRAME, ours.getsockname())
    assert link.receive(64) == [(FRAME, False)]
    link.send([Frame([FRAME])])
    assert guest.recv(100) == FRAME
    for sock in (link, guest, stranger):
        sock.close()


def test_qemu_dgram_over_unix_paths(tmp_path: Path) -> None:
    ours, guest = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    ours.bind(str(tmp_path / "gateway"))
    guest.bind(str(tmp_path / "guest"))
    link = DatagramLink(ours)
    guest.sendto(FRAME, str(tmp_path / "gateway"))
    assert link.receive(64) == [(FRAME, False)]
    link.send([Frame([FRAME])])
    assert guest.recv(100) == FRAME
    link.close()
    guest.close()


def test_a_udp_port_that_is_closed_for_a_while_does_not_end_the_link() -> None:
    ours, guest = udp(), udp()
    address = guest.getsockname()
    ours.connect(address)
    link = DatagramLink(ours)
    guest.close()
    for _ in range(4):  # the ICMP error of one comes back with the next call
        link.send([Frame([FRAME])])
        time.sleep(0.01)
    assert link.receive(64) == []
    assert link.counters.refused >= 1
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    again.bind(address)
    again.settimeout(5)
    link.receive(64)
    link.send([Frame([FRAME])])
    assert again.recv(100) == FRAME
    link.close()
    again.close()


def test_a_frame_too_long_for_a_datagram_is_refused_and_counted() -> None:
    ours, guest = udp(), udp()
    link = DatagramLink(ours, peer=guest.getsockname())
    link.send([Frame([bytes(65549)])])
    assert link.counters.refused == 1
    link.close()
    guest.close()
