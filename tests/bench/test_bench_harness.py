"""The harness that measures: that a row brings figures, that its load counts what it should, that what is missing is said. No speed is asserted."""

from __future__ import annotations

import socket
import struct
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest

from bench import report, sections
from bench.__main__ import select
from bench.load import datagrams, names
from bench.marks import MARKS, verdicts
from bench.micro import micro_rows
from bench.micro.growth import Growth
from bench.micro.headers import BY_HAND, CODECS, COMPILED, INTERPRETED, SAMPLE, builder, reader
from bench.micro.packets import UP
from bench.micro.row import MicroRow
from bench.results import OURS, Line
from bench.rows import guest_rows
from bench.run import Plan, run_micro

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rows.row import Row

QUICK = Plan(rounds=1, seconds=0.1, say=lambda _: None)


def rows() -> list[Row]:
    return [*guest_rows(), *micro_rows()]


@pytest.mark.parametrize(
    "name", ["receive-tcp", "transmit-tcp", "receive-udp", "transmit-udp", "transmit-tcp-offload"]
)
def test_a_packet_is_measured(name: str) -> None:
    row = next(row for row in micro_rows() if row.name == name)
    run_micro([row], QUICK)
    (line,) = row.lines.values()
    assert not line.failures
    assert line.samples[OURS][0] > 0


def test_growth_is_measured() -> None:
    row = Growth(UP, many=30)
    run_micro([row], QUICK)
    assert not any(line.failures for line in row.lines.values())
    assert row.lines["ratio"].samples[OURS][0] > 0


def test_every_variant_of_a_header_reads_and_builds_the_same() -> None:
    for codec, form in CODECS.values():
        built = set()
        for variant in (OURS, INTERPRETED, COMPILED, BY_HAND):
            build, record = builder(variant, codec, form)
            built.add(bytes(build(record)))
        assert len(built) == 1
        interpreted, compiled = (
            reader(variant, codec, form, record=True)(SAMPLE) for variant in (INTERPRETED, COMPILED)
        )
        assert interpreted == compiled


def test_a_header_read_by_hand_is_what_the_codec_cuts_up() -> None:
    """The mark holds one beside the other, so what is by hand must not do less than read all of it."""
    for codec, form in CODECS.values():
        values = reader(OURS, codec, form, record=False)(SAMPLE)
        assert reader(OURS, codec, form, record=True)(SAMPLE) == values
        assert struct.calcsize(form) == codec.size
        by_hand = reader(BY_HAND, codec, form, record=False)(SAMPLE)
        assert struct.pack(form, *by_hand) == codec.write(codec.read(SAMPLE))


@pytest.mark.parametrize("name", ["read-ipv4", "record-tcp", "build-udp", "checksum-64"])
def test_what_one_call_takes_is_measured(name: str) -> None:
    row = next(row for row in micro_rows() if row.name == name)
    run_micro([row], QUICK)
    (line,) = row.lines.values()
    assert not line.failures
    assert all(line.samples[variant][0] > 0 for variant in row.names)


def test_a_row_that_fails_keeps_the_others() -> None:
    class Failing(MicroRow):
        def measure(self, variant: str, seconds: float) -> dict[str, float]:
            if variant == "bad":
                raise OSError("no such thing")
            return {"a": 1.0}

    row = Failing("x", {"a": Line("x", "x", "s")}, ("bad", OURS))
    run_micro([row], QUICK)
    assert row.lines["a"].result(OURS) == 1.0
    assert row.lines["a"].failures == {"bad": "no such thing"}


def test_each_mark_is_of_a_line_and_against_lines_that_exist() -> None:
    lines = {line.key: line for row in rows() for line in row.lines.values()}
    names_of = {line.key: row.names for row in rows() for line in row.lines.values()}
    for key, marks in MARKS.items():
        assert key in lines
        for mark in marks:
            assert not mark.line or mark.line in lines
            assert set(mark.others) <= set(names_of[key])


def test_rows_have_names_of_their_own_and_a_section() -> None:
    every = rows()
    assert len({row.name for row in every}) == len(every)
    for row in every:
        for line in row.lines.values():
            line.add(OURS, 1.0)
    shown = {line.key for section in sections.sections(every) for line in section.lines}
    assert shown == {line.key for row in every for line in row.lines.values()}


@pytest.mark.parametrize(
    ("ours", "theirs", "less", "passed"),
    [(8, 1, False, True), (7, 1, False, False), (8, 1, True, True), (9, 1, True, False)],
)
def test_a_verdict(ours: float, theirs: float, less: bool, passed: bool) -> None:
    line = Line(
        "tcp-up-1500", "", "", less=less, samples={OURS: [ours], "pasta": [theirs], "raw loopback": [ours]}
    )
    assert verdicts(line, {})[0].passed is passed


def test_the_best_peer_counts_and_a_missing_one_is_no_verdict() -> None:
    line = Line("tcp-up-1500", "", "", samples={OURS: [8.0], "pasta": [1.0], "slirp4netns": [2.0]})
    first, second = verdicts(line, {})
    assert first.passed is False
    assert first.reached == 4.0
    assert second.passed is None
    assert "no figure" in str(second)


def test_a_ratio_says_how_many_times_as_good_we_are() -> None:
    assert Line("", "", "", samples={OURS: [8.0], "a": [2.0]}).ratio("a") == 4
    assert Line("", "", "", less=True, samples={OURS: [8.0], "a": [2.0]}).ratio("a") == 0.25


def test_the_page_names_what_did_not_run() -> None:
    row = next(row for row in guest_rows() if row.name == "tcp-up-1500")
    row.lines["rate"].add(OURS, 9.0)
    row.lines["rate"].fail("pasta", "pasta not installed")
    lines = {line.key: line for line in row.lines.values()}
    page = report.page(
        sections.sections([row]), lines, {"kernel": "Linux"}, rounds=3, seconds=3, picture=False
    )
    assert "pasta: pasta not installed: tcp-up-1500" in page
    assert "| TCP guest to host, MTU 1500 | Gbit/s | 9.00 |" in page


def test_rows_are_selected_by_name_beginning_group_and_pattern() -> None:
    def chosen(*names: str) -> list[str]:
        return [row.name for row in select(rows(), names, {"micro": {"checksum-64"}})]

    assert chosen("tcp-up-1500") == ["tcp-up-1500"]
    assert chosen("receive-tcp") == ["receive-tcp"]
    assert chosen("udp") == ["udp-up-64", "udp-down-64", "udp-up-1200", "udp-down-1200"]
    assert chosen("micro") == ["checksum-64"]
    assert chosen("qemu-*-1500") == ["qemu-up-1500", "qemu-down-1500"]
    with pytest.raises(Exception, match="no row is called nonsense"):
        chosen("nonsense")


@pytest.mark.parametrize("way", ["up", "down"])
def test_datagrams_without_loss_are_counted(way: str) -> None:
    port = _serving(datagrams.serve)
    result = datagrams.ask(way, "127.0.0.1", port, 64, 16, 0.05)
    assert result["lost"] == 0
    assert result["arrived"] > 0
    assert result["arrived"] % 4 == 0
    assert 0.05 <= result["seconds"] < 10


def test_a_lost_datagram_voids_the_run() -> None:
    """A receiver that misses some sends no receipt for them."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        dice = Random(1)

        def receive() -> None:
            arrived = 0
            far.settimeout(1)
            while True:
                try:
                    far.recv(100)
                except OSError:
                    return
                if dice.random() < 0.05:
                    continue
                arrived += 1
                if arrived % 4 == 0:
                    far.send(datagrams.RECEIPT.pack(arrived))

        thread = threading.Thread(target=receive)
        thread.start()
        result = datagrams.pump(near, 64, 16, 0.5)
        thread.join()
    assert result["lost"] > 0


def test_names_are_answered() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", _serving(names.serve)))
        sock.send(names.query(70001))
        answer = sock.recv(512)
    assert names.HEADER.unpack_from(answer) == (70001 & 0xFFFF, 0x8180, 1, 1, 0, 0)
    assert answer.endswith(names.ANSWER)


def _serving(serve: Callable[[socket.socket], None]) -> int:
    """The port of a server of bench/load, in a thread that ends with the process."""
    sock = datagrams.bound("127.0.0.1", 0)
    threading.Thread(target=serve, args=(sock,), daemon=True).start()
    port: int = sock.getsockname()[1]
    return port
