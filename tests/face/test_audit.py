"""The audit as files and sums, and the hooks of `UserNat` with a real guest."""

from __future__ import annotations

import json
import select
import socket
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from usernat import Config, ConfigError, UserNat
from usernat.audit import AuditFile, AuditSummary
from usernat.cli.report import show_summary
from usernat.guest import Guest
from usernat.links.memory import memory_pair
from usernat.nat.audit import DECIDED, ENDED, Record
from usernat.policy import FlowRequest, NetworkPolicy, Verdict
from usernat.policy.decision import ALLOW, DENY, DNS, ICMP, TCP
from usernat.policy.matchers import Group
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from pathlib import Path

    from usernat.nat.asking import Question

GUEST, SERVER = parse_ip("10.0.2.15"), parse_ip("203.0.113.7")
MAC = bytes.fromhex("525400123456")
WEB = FlowRequest(GUEST, MAC, TCP, SERVER, 443, 40000, ("a.test", "b.test"), claimed="b.test")
YES, NO = Verdict(ALLOW, "rule 1: allow b.test", logged=("rule 0",)), Verdict(DENY, "default: deny")


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_are_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditFile(path)
    audit(Record(DECIDED, WEB, YES))
    audit(Record(ENDED, WEB, YES, 100, 2000))
    audit(Record(DECIDED, FlowRequest(GUEST, b"", DNS, 0, 53, 1, ("bücher.test",)), NO))
    first, second, third = lines(path)  # written at once, without being closed
    when = datetime.fromisoformat(str(first.pop("time")))
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60
    assert first == {
        "event": "decision",
        "guest": "10.0.2.15",
        "mac": "52:54:00:12:34:56",
        "protocol": "tcp",
        "guest_port": 40000,
        "destination": "203.0.113.7",
        "port": 443,
        "name": "b.test",
        "names": ["a.test", "b.test"],
        "rule": "rule 1: allow b.test",
        "verdict": "allow",
        "logged": ["rule 0"],
        "bytes_up": 0,
        "bytes_down": 0,
        "unrecorded": 0,
    }
    assert (second["event"], second["bytes_up"], second["bytes_down"]) == ("end", 100, 2000)
    assert [third[key] for key in ("mac", "protocol", "destination", "name", "verdict")] == [
        None,
        "dns",
        None,
        "bücher.test",
        "deny",
    ]
    audit.close()
    AuditFile(path).close()
    assert len(lines(path)) == 3  # appended to, never cut


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot write the audit to .*: Is a directory$"):
        AuditFile(tmp_path)


def test_a_disk_that_is_full_costs_records_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditFile("/dev/full")
    for _ in range(3):
        audit(Record(DECIDED, WEB, YES))
    assert audit.lost == 3
    assert len(caplog.records) == 1
    audit.close()


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (WEB, "b.test"),
        (WEB._replace(claimed=None), ""),  # two names, and none was read
        (WEB._replace(claimed=None, names=("a.test",)), "a.test"),
        (FlowRequest(GUEST, b"", DNS, SERVER, 53, 1, ("a.test", "cdn.test")), "a.test"),
        (FlowRequest(GUEST, MAC, ICMP, SERVER, 0, 1), ""),
    ],
)
def test_the_name_of_a_record(request_: FlowRequest, name: str) -> None:
    assert Record(DECIDED, request_, YES).name == name


def test_the_summary_counts_by_where_it_leads(capsys: pytest.CaptureFixture[str]) -> None:
    summary = AuditSummary()
    for _ in range(2):
        summary(Record(DECIDED, WEB, YES))
        summary(Record(ENDED, WEB, YES, 10, 1500))
    summary(Record(DECIDED, WEB._replace(names=(), claimed=None), NO))
    assert [tuple(line) for line in summary.lines()] == [
        ("tcp", "b.test:443", "allow", "rule 1: allow b.test", 2, 20, 3000),
        ("tcp", "203.0.113.7:443", "deny", "default: deny", 1, 0, 0),
    ]
    show_summary(summary)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].split() == ["verdict", "what", "where", "rule", "times", "bytes", "up", "bytes", "down"]
    assert "3,000" in shown[1]
    show_summary(None)
    assert capsys.readouterr().err == ""


def test_the_summary_counts_what_was_not_recorded() -> None:
    summary = AuditSummary()
    summary(Record(DECIDED, WEB, YES, unrecorded=7))
    assert summary.lines()[0] == ("any", "others", "deny", "not recorded, too many", 7, 0, 0)


def test_the_summary_is_bounded() -> None:
    summary = AuditSummary(most=10)
    for port in range(1, 100):
        summary(Record(DECIDED, WEB._replace(port=port), YES))
    found = summary.lines()
    assert len(found) == 11
    assert (found[0].where, found[0].flows) == ("others", 89)


def test_usernat_asks_and_accounts_and_changes_its_policy() -> None:
    records: list[Record] = []
    questions: list[Question] = []
    asked = threading.Event()

    def ask(question: Question) -> None:
        questions.append(question)
        asked.set()

    def allow_when_asked() -> None:
        while asked.wait(20) and questions:
            asked.clear()
            questions[-1].allow()
            if len(questions) == 2:
                return

    ours, theirs = memory_pair()
    policy = NetworkPolicy.deny_all().rule("ask", Group("loopback"))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        UserNat(Config(), ours, policy=policy, audit=records.append, ask=ask, ask_timeout=20) as nat,
        Guest(theirs) as guest,
    ):
        port = server.getsockname()[1]
        guest.dhcp()
        threading.Thread(target=allow_when_asked, daemon=True).start()
        stream = guest.connect("10.0.2.2", port)
        peer, _ = server.accept()
        peer.settimeout(0)
        with peer:
            stream.sendall(b"hello")
            # a guest in this process lives only while it is called
            assert guest.run_until(lambda: readable(peer), 5)
            assert peer.recv(100) == b"hello"
        stream.close()
        guest.run_until(lambda: nat.counters()["flows.open"] == 0, 5)
        again = guest.connect("10.0.2.2", port)
        nat.policy = NetworkPolicy.deny_all()
        assert nat.counters()["flows.open"] == 1
        nat.end_flows()
        assert nat.counters()["flows.open"] == 0
        again.close()
        with pytest.raises(ConnectionRefusedError):
            guest.connect("10.0.2.2", port)
        guest.run_until(lambda: any(record.event == ENDED for record in records), 5)
    assert len(questions) == 2
    ended = next(record for record in records if record.event == ENDED)
    assert (ended.up, ended.down, ended.verdict.reason) == (5, 0, "rule 1: ask group loopback")
    assert [record.word for record in records if record.event == DECIDED] == ["allow", "allow", "deny"]
