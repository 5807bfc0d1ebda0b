"""Captures are what Wireshark opens: read back by its own tshark."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.face.cables import StreamCable
from tests.stack.packets import GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC
from usernat.config import ConfigError
from usernat.links.capture import CaptureLink, PcapFile
from usernat.stack.device import Capabilities, Frame
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# An ARP request, and an ICMP echo request, as Ethernet frames.
ARP = bytes.fromhex(
    "ffffffffffff 5255aabbccdd 0806 0001080006040001 5255aabbccdd 0a00020f 000000000000 0a000202"
)
PING = bytes.fromhex(
    "52550a000202 5255aabbccdd 0800 45000024000140004001 22b8 0a00020f 0a000202 0800 f7fd 00010001"
) + bytes(8)


@pytest.fixture
def cable() -> Iterator[StreamCable]:
    made = StreamCable()
    yield made
    made.close()


def tshark(path: Path, *fields: str) -> list[list[str]]:
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed")
    options = [option for field in fields for option in ("-e", field)]
    done = subprocess.run(
        [program, "-n", "-r", str(path), "-T", "fields", *options], capture_output=True, text=True, check=True
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_tshark_reads_both_directions_and_offloaded_segments(cable: StreamCable, tmp_path: Path) -> None:
    path = tmp_path / "c.pcap"
    link = CaptureLink(cable.link, PcapFile(path))
    before = time.time()
    cable.put(ARP)
    link.receive(64)
    large = PING[:14] + bytes(65535)
    link.send([Frame([PING[:34], PING[34:]]), Frame([large], gso_size=1448, csum_start=34, csum_offset=16)])
    # While it is still being written.
    rows = tshark(path, "frame.len", "frame.cap_len", "eth.type", "frame.time_epoch")
    assert [row[:3] for row in rows] == [
        ["42", "42", "0x0806"],
        [str(len(PING)), str(len(PING)), "0x0800"],
        [str(len(large)), str(len(large)), "0x0800"],
    ]
    assert all(before - 1 <= float(row[3]) <= time.time() + 1 for row in rows)
    link.close()
    assert tshark(path, "arp.dst.proto_ipv4", "icmp.type")[:2] == [["10.0.2.2", ""], ["", "8"]]


def test_datagrams_that_the_device_cuts_apart_stand_there_one_by_one(
    cable: StreamCable, tmp_path: Path
) -> None:
    path = tmp_path / "c.pcap"
    link = CaptureLink(cable.link, PcapFile(path))
    rig = Interface(
        mac=GATEWAY_MAC,
        capabilities=Capabilities(tx_checksum=True, tx_udp_segmentation=True),
        rng=Random(1),
        now=0,
        addresses=((GATEWAY, 24),),
    )
    rig.ethernet.neighbours.learn(GUEST, GUEST_MAC, 0)
    rig.transmit(0)
    socket = rig.udp.bind(GATEWAY, 53)
    socket.send_all([b"x" * 100, b"x" * 100, b"x" * 7], GUEST, 4000, src=GATEWAY, src_port=53, ttl=9)
    frames = rig.transmit(0)
    assert len(frames) == 1
    link.send(frames)
    link.close()
    rows = tshark(path, "frame.len", "udp.length", "udp.dstport", "ip.len", "ip.ttl")
    assert rows == [[str(42 + n), str(8 + n), "4000", str(28 + n), "9"] for n in (100, 100, 7)]


def test_many_pieces_and_long_batches_are_written_whole(cable: StreamCable, tmp_path: Path) -> None:
    path = tmp_path / "c.pcap"
    file = PcapFile(path)
    file.record([([b"x"] * 60, 60)] * 500)
    file.close()
    assert len(tshark(path, "frame.len")) == 500
    assert path.stat().st_size == 24 + 500 * 76


def test_one_file_for_guest_after_guest(tmp_path: Path) -> None:
    file = PcapFile(tmp_path / "c.pcap")
    for _ in range(2):
        cable = StreamCable()
        link = CaptureLink(cable.link, file, owns=False)
        cable.put(ARP)
        link.receive(64)
        link.close()
        cable.unplug()
    file.close()
    assert len(tshark(tmp_path / "c.pcap", "frame.len")) == 2


def test_a_full_disk_ends_the_capture_with_one_warning_and_nothing_else(
    cable: StreamCable, caplog: pytest.LogCaptureFixture
) -> None:
    link = CaptureLink(cable.link, PcapFile("/dev/full"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cable.put(ARP)
            assert link.receive(64) == [(ARP, False)]
            link.send([Frame([PING])])
    assert cable.take() == [PING] * 3
    assert len([record for record in caplog.records if "capture ends" in record.message]) <= 1
    assert link._file._descriptor == -1
    link.close()


def test_a_file_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write the capture file .*/no/c\.pcap: No such file"):
        PcapFile(tmp_path / "no" / "c.pcap")
