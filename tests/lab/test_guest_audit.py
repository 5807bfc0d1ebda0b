"""The audit of a real guest: a JSON object a line for each decision and each end, sums that are right to the byte, and a table for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.lab.guest import ADDRESS, USERNAT
from tests.lab.servers import peers
from tests.lab.servers.places import OTHER
from tests.lab.world import PEERS, WWW
from usernat.policy import NetworkPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.policed import Record, Suspect
    from tests.lab.world import World

ALLOW, DENY = NetworkPolicy.allow_all(), NetworkPolicy.deny_all()
KEYS = [
    *(
        "time",
        "event",
        "guest",
        "mac",
        "protocol",
        "guest_port",
        "destination",
        "port",
        "name",
        "names",
        "rule",
    ),
    *("verdict", "logged", "bytes_up", "bytes_down", "unrecorded"),
]
CURL = "curl -sS --max-time 5 -o /dev/null"


def end_of(where: str, port: int) -> Callable[[Record], bool]:
    return lambda record: (record["event"], record["destination"], record["port"]) == ("end", where, port)


def test_every_decision_is_a_line_with_all_its_fields(policed: Suspect) -> None:
    policed.gateway.obey(DENY.allow_domain("www.lab.test"))
    began = datetime.now(UTC)
    policed.run(f"{CURL} http://www.lab.test/")
    policed.refused(f"{CURL} http://{OTHER}:8080/")
    policed.refused(f"ping -c 1 -W 1 {PEERS}")
    policed.guest.call("datagrams.error_after_sending", PEERS, peers.ECHO)
    records = policed.gateway.audited_until(end_of(WWW, 80))
    records += policed.gateway.audited()
    assert all(list(record) == KEYS for record in records)
    assert all(began <= datetime.fromisoformat(record["time"]) <= datetime.now(UTC) for record in records)
    assert {record["guest"] for record in records} == {ADDRESS}
    decided = [record for record in records if record["event"] == "decision" and record["protocol"] != "dns"]
    rule = "rule 1: allow www.lab.test"
    assert [
        tuple(record[key] for key in ("protocol", "destination", "port", "name", "rule", "verdict"))
        for record in decided
    ] == [
        ("tcp", WWW, 80, "www.lab.test", rule, "allow"),
        ("tcp", OTHER, 8080, None, "default: deny", "deny"),
        ("icmp", PEERS, 0, None, "default: deny", "deny"),
        ("udp", PEERS, peers.ECHO, None, "default: deny", "deny"),
    ]
    (mac,) = {record["mac"] for record in decided}
    assert f"link/ether {mac} " in policed.run("ip link show tap0")
    assert all(record["guest_port"] > 0 for record in decided)
    queries = [record for record in records if record["protocol"] == "dns"]
    assert {(record["name"], record["destination"], record["verdict"]) for record in queries} == {
        ("www.lab.test", None, "allow")
    }


@pytest.mark.parametrize("policy", [ALLOW, DENY.allow_domain("www.lab.test")], ids=["held", "read"])
def test_bytes_of_a_flow_that_has_ended(policed: Suspect, policy: NetworkPolicy) -> None:
    """What curl counts is what the audit says, both ways, also of a flow whose first bytes were read."""
    policed.gateway.obey(policy)
    wanted = "%{size_request} %{size_header} %{size_download} %{local_port}"
    counted = policed.run(f"{CURL} -w '{wanted}' http://www.lab.test/bytes/1234567")
    up, header, down, port = map(int, counted.split())
    *_, end = policed.gateway.audited_until(end_of(WWW, 80))
    assert down == 1_234_567
    assert (end["bytes_up"], end["bytes_down"], end["guest_port"]) == (up, header + down, port)
    assert (end["verdict"], end["protocol"]) == ("allow", "tcp")


def test_bytes_up(policed: Suspect) -> None:
    policed.gateway.obey(ALLOW)
    size = 500_000
    assert policed.guest.call("streams.echoes", 3, size) == 3
    ends: list[Record] = []
    while len(ends) < 3:
        ends += filter(end_of(PEERS, peers.ECHO), policed.gateway.audited_until(end_of(PEERS, peers.ECHO)))
    assert [(end["bytes_up"], end["bytes_down"]) for end in ends] == [(size, size)] * 3


def test_the_audit_of_a_whole_run_and_its_table(world: World, tmp_path: Path) -> None:
    """`usernat run -v --policy --audit`: when the command has ended so has every flow, and the table has the same sums as the file."""
    policy, audit = tmp_path / "policy.toml", tmp_path / "audit.jsonl"
    policy.write_text(DENY.allow_domain("www.lab.test", port=80).to_toml())
    audit.write_text('{"event": "of an earlier run"}\n')
    fetch = "curl -sS -o /dev/null -w '%{size_request} %{size_header} %{size_download}\\n' http://www.lab.test/bytes/"
    done = world.host.run(
        *(*USERNAT, "run", "-v", "--policy", str(policy), "--audit", str(audit), "--"),
        *("sh", "-c", f"{fetch}5000; {fetch}70000; curl -sS http://{OTHER}/; ping -c 1 -W 1 {PEERS}; exit 3"),
        check=False,
    )
    assert done.returncode == 3, done.stderr
    counted = [list(map(int, line.split())) for line in done.stdout.splitlines()[:2]]
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert lines[0] == {"event": "of an earlier run"}
    ends = [line for line in lines if line["event"] == "end" and line["protocol"] == "tcp"]
    assert [(end["bytes_up"], end["bytes_down"]) for end in ends] == [
        (up, header + down) for up, header, down in counted
    ]
    up, down = (sum(end[key] for end in ends) for key in ("bytes_up", "bytes_down"))
    rows = [line.split() for line in done.stderr.splitlines()]
    (row,) = [row for row in rows if row[:3] == ["allow", "tcp", "www.lab.test:80"]]
    assert row[-3:] == ["2", f"{up:,}", f"{down:,}"]
    assert [row[-3:] for row in rows if row[:3] == ["deny", "tcp", f"{OTHER}:80"]] == [["1", "0", "0"]]
    assert [row[-3:] for row in rows if row[:3] == ["deny", "icmp", PEERS]] == [["1", "0", "0"]]
