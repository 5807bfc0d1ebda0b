"""The audit: records of the gateway as JSON lines, and counted for a summary.

One object a line, in UTF-8; keys and their order are fixed:

    {"time": "2026-01-31T12:00:00.000000+00:00", "event": "decision", "guest": "10.0.2.15", "mac": "52:54:00:12:34:56", "protocol": "tcp",
     "guest_port": 40000, "destination": "203.0.113.7", "port": 443, "name": "pypi.org", "names": ["pypi.org"], "rule": "rule 3: allow pypi.org",
     "verdict": "allow", "logged": [], "bytes_up": 0, "bytes_down": 0, "unrecorded": 0}

`event` is "decision", or "end" when an allowed flow is over, which has the payload bytes from the guest and to it. `protocol` is tcp, udp, icmp, or dns
for a query (destination null) or an address in an answer. `name` is what the flow was judged by, `names` all under which the guest has found the address.
What is allowed is always there, bounded by the limits on new flows; refusals are up to a hundred a second, and `unrecorded` counts those left out since the record
before. The size is bounded by whoever rotates the file (it is opened for appending).
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from usernat.config import ConfigError
from usernat.nat.audit import DECIDED, ENDED
from usernat.policy.decision import DNS, ICMP, TCP, UDP
from usernat.stack.addr import format_ip, format_mac

if TYPE_CHECKING:
    from usernat.nat.audit import Record

log = logging.getLogger(__name__)

PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp", DNS: "dns"}
_BUFFER = 1 << 16  # bytes


def as_dict(record: Record) -> dict[str, Any]:
    """The record in the form above, without the time."""
    request = record.request
    return {
        "event": record.event,
        "guest": format_ip(request.guest),
        "mac": format_mac(request.guest_mac) if request.guest_mac else None,
        "protocol": PROTOCOLS[request.protocol],
        "guest_port": request.guest_port,
        "destination": format_ip(request.destination) if request.destination else None,
        "port": request.port,
        "name": record.name or None,
        "names": list(request.names),
        "rule": record.verdict.reason,
        "verdict": record.word,
        "logged": list(record.verdict.logged),
        "bytes_up": record.up,
        "bytes_down": record.down,
        "unrecorded": record.unrecorded,
    }


class AuditFile:
    """Writes records to a file: call it with each. Raises ConfigError where the file cannot be opened; a disk that is full later costs records, not the loop."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._file = Path(path).open("ab", buffering=_BUFFER)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise ConfigError(f"cannot write the audit to {path}: {error.strerror}") from error
        self.lost = 0  # records

    def __call__(self, record: Record) -> None:
        """Takes one record."""
        line = {"time": datetime.now(UTC).isoformat(timespec="microseconds"), **as_dict(record)}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            if not self.lost:
                log.warning("the audit is incomplete: %s", error)
            self.lost += 1

    def close(self) -> None:
        """Write the rest."""
        with suppress(OSError):
            self._file.close()


class SummaryLine(NamedTuple):
    """protocol, where: as for people. verdict: allow or deny. rule: which decided. flows: how many. up, down: payload bytes of those that have ended."""

    protocol: str
    where: str
    verdict: str
    rule: str
    flows: int
    up: int
    down: int


_Line = tuple[str, str, str, str]


class AuditSummary:
    """Counts records by where they lead: call it with each. `most` lines are kept; what is beyond is counted under "others"."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._flows: Counter[_Line] = Counter()
        self._up: Counter[_Line] = Counter()
        self._down: Counter[_Line] = Counter()

    def __call__(self, record: Record) -> None:
        """Takes one record."""
        key = self._key(record)
        if record.unrecorded:
            self._flows["any", "others", "deny", "not recorded, too many"] += record.unrecorded
        if record.event == DECIDED:
            self._flows[key] += 1
        elif record.event == ENDED:
            self._up[key] += record.up
            self._down[key] += record.down

    def lines(self) -> list[SummaryLine]:
        """The most frequent first."""
        return [
            SummaryLine(*key, flows, self._up[key], self._down[key])
            for key, flows in self._flows.most_common()
        ]

    def _key(self, record: Record) -> _Line:
        request = record.request
        where = record.name if request.protocol == DNS else record.name or format_ip(request.destination)
        if request.port and request.protocol != DNS:
            where = f"{where}:{request.port}"
        key = (PROTOCOLS[request.protocol], where, record.word, record.verdict.reason)
        if key in self._flows or len(self._flows) < self._most:
            return key
        return (key[0], "others", key[2], "")
