"""`usernat demo` works here, can be read, and fails when what the guest sees is not what is there."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.face.runner import environment
from usernat.demo import show as demo
from usernat.demo.describe import Describer
from usernat.demo.exchange import ExchangeLink
from usernat.demo.inprocess import visit_in_process
from usernat.demo.servers import FILE_SIZE, DemoServers
from usernat.links.memory import memory_pair
from usernat.namespace.guest import usable
from usernat.stack.device import Frame

PIECES = (
    "DHCP DISCOVER",
    "DHCP ACK 10.0.2.15",
    "ARP who has 10.0.2.2",
    "ICMP echo reply",
    "DNS A files.demo.test.: 10.0.2.2",
    "[SYN,ACK] seq 0 ack 1",
    "more like these, with",
    "10,000,000 bytes in",
    "All of it worked.",
)


def test_the_demo_works_in_time_and_reads_well_in_a_pipe() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "usernat", "demo"],
        capture_output=True,
        text=True,
        env={**environment(), "COLUMNS": "80"},
        timeout=60,
        check=False,
    )
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert [piece for piece in PIECES if piece not in done.stdout] == []
    assert done.stderr == ""
    assert seconds < 15
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\n") < 120
    which = "A Linux kernel as the guest" if usable() is None else "No kernel guest on this machine"
    assert which in done.stdout


def judged(monkeypatch: pytest.MonkeyPatch, **wrong: object) -> tuple[bool, str]:
    """The verdict on a guest that saw something else, without a kernel guest."""
    monkeypatch.setattr(demo, "_kernel_guest_unusable", lambda: "not asked for here")
    monkeypatch.setattr(
        demo, "visit_in_process", lambda *arguments: {**visit_in_process(*arguments), **wrong}
    )
    out = io.StringIO()
    return demo.show(Console(file=out, width=80)), out.getvalue()


def test_without_a_kernel_guest_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    worked, text = judged(monkeypatch)
    assert worked
    assert "No kernel guest on this machine: not asked for here." in text


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"size": FILE_SIZE - 1}, {"resolved": "192.0.2.1"}])
def test_what_the_guest_saw_is_checked(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object]) -> None:
    worked, text = judged(monkeypatch, **wrong)
    assert not worked
    assert "✗" in text
    assert "Something failed" in text


def test_a_guest_that_gets_nowhere_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DemoServers, "url", "http://10.0.2.2:1/nobody-listens")
    monkeypatch.setattr(demo, "_kernel_guest_unusable", lambda: "not asked for here")
    out = io.StringIO()
    assert not demo.show(Console(file=out, width=80))
    assert "The guest failed: NameNotFound" in out.getvalue() or "refused" in out.getvalue()


@given(st.binary(max_size=200))
def test_any_frame_can_be_described(frame: bytes) -> None:
    assert Describer().describe(frame).text


@pytest.mark.parametrize("proto", [1, 6, 17, 99])
@given(body=st.binary(max_size=120), source=st.sampled_from([53, 67, 68, 4000]))
def test_any_packet_can_be_described(proto: int, body: bytes, source: int) -> None:
    payload = struct.pack("!HH", source, 53) + body
    header = struct.pack(
        "!BBHHHBBHII", 0x45, 0, 20 + len(payload), 0, 0, 64, proto, 0, 0x0A00020F, 0x0A000202
    )
    assert Describer().describe(bytes(12) + b"\x08\x00" + header + payload).text


def test_bulk_is_counted_and_the_rest_shown() -> None:
    out = io.StringIO()
    inner, other = memory_pair()
    link = ExchangeLink(inner, Console(file=out, width=80))
    for number in range(100):
        tcp = struct.pack("!HHIIBBHHH", 4000, 80, number * 1000, 1, 0x50, 0x10, 100, 0, 0) + bytes(1000)
        ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, 0x0A000202, 0x0A00020F)
        link.send([Frame([bytes(12) + b"\x08\x00" + ip + tcp])])
    link.finish()
    lines = out.getvalue().splitlines()
    assert len(lines) == 8
    assert lines[-1].strip() == "⋮ 93 more like these, with 93,000 bytes of data"
    inner.close()
    other.close()
