"""The host that an HTTP/1 request names, from the first bytes of a connection (RFC 9112, RFC 9110 §7.2).

    request-line CRLF *( field-name ":" OWS field-value OWS CRLF ) CRLF

Servers differ in what they forgive: a bare LF, a folded line, a second Host, a space before the colon. A guest that finds two readers who
disagree shows the allowed name to one and another to the other, so all of that is UNREADABLE here. That goes for bytes beyond ASCII too: read as
Latin-1 or as UTF-8, some of them end a line for a reader who uses Python's str.splitlines().

Where the target names a host itself (absolute-form, CONNECT), it must be that of the Host field: RFC 9112 §3.2.2 has servers go by the target, and
not all do. Only the first request of a connection is read.

Nothing is remembered from one call to the next; each costs a few passes of C over `LIMIT` bytes at most, and the last a millisecond where the
head has thousands of fields.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from usernat.nat.inspection.host_name import LIMIT, host_name
from usernat.policy.decision import HTTP_PORT, UNREADABLE

if TYPE_CHECKING:
    from usernat.stack.device import Buffer

EMPTY_LINES_MAX = 2  # before the request, left by clients of old behind a body (RFC 9112 §2.2)
METHOD_MAX = 24  # bytes; the longest registered one, UPDATEREDIRECTREF, has 17

_CRLF = b"\r\n"
_END = b"\r\n\r\n"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 §5.6.2
_METHOD_BEGUN = re.compile(_TOKEN + rb"{0,%d}(?: |\Z)" % METHOD_MAX)
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"+) ([!-~]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"(" + _TOKEN + rb"+):([\t -~]*)")  # nothing before the colon, no fold
_ABSOLUTE = re.compile(rb"http://([^/?]*)(?:[/?].*)?", re.IGNORECASE)
_AUTHORITY = re.compile(
    rb"([^:]+)(?::([1-9][0-9]{0,4}))?"
)  # no userinfo, no IPv6: `host_name` refuses their characters


class _Authority(NamedTuple):
    """Whom a target or a Host field names. port: None where it is not said."""

    name: str
    port: int | None


def read_http_name(data: Buffer) -> str | None:
    """The name of the host in the request at the beginning of `data`.

    None: more bytes are needed. UNREADABLE: there is none, it is malformed or ambiguous, or the head is longer than `LIMIT`. Never raises.
    """
    start = bytes(memoryview(data)[:LIMIT])
    request = _without_empty_lines(start)
    end = request.find(_END)
    head = request if end < 0 else request[: end + 2]
    line, crlf, fields = head.partition(_CRLF)
    first = _REQUEST_LINE.fullmatch(line)
    possible = first is not None if crlf else _may_begin(line)
    if not possible or not _lines_are_plain(head):
        return UNREADABLE
    if first is None or end < 0:
        return None if len(start) < LIMIT else UNREADABLE
    return _claimed(first[1].upper(), first[2], fields.split(_CRLF)[:-1])


def _without_empty_lines(start: bytes) -> bytes:
    """What follows the empty lines that may stand before a request. One more is a request line that is none."""
    for _ in range(EMPTY_LINES_MAX):
        start = start.removeprefix(_CRLF)
    return start


def _may_begin(head: bytes) -> bool:
    """Whether this can be how a request begins: what speaks another language is not waited for."""
    return head in (b"", b"\r") or (head[:1] != b" " and _METHOD_BEGUN.match(head) is not None)


def _lines_are_plain(head: bytes) -> bool:
    """Whether each CR stands before an LF and the other way round; of the last CR the LF may not have come. And no NUL."""
    lines = head.count(_CRLF)
    carriage_returns = head.count(b"\r") - head.endswith(b"\r")
    return head.count(b"\n") == lines == carriage_returns and b"\0" not in head


def _claimed(method: bytes, target: bytes, fields: list[bytes]) -> str:
    """The name, of a whole head."""
    host = _only_host(fields)
    if host is None:
        return UNREADABLE
    if method != b"CONNECT" and (target.startswith(b"/") or (method, target) == (b"OPTIONS", b"*")):
        return host.name
    named = _authority_of(method, target)
    if named is None or named.name != host.name or _port(named, method) != _port(host, method):
        return UNREADABLE
    return host.name


def _authority_of(method: bytes, target: bytes) -> _Authority | None:
    """Whom a target in authority-form or absolute-form names (RFC 9112 §3.2)."""
    if method == b"CONNECT":
        return _authority(target)
    absolute = _ABSOLUTE.fullmatch(target)
    return None if absolute is None else _authority(absolute[1])


def _port(authority: _Authority, method: bytes) -> int | None:
    """The port meant where none is said: that of http, and none at all for CONNECT, which has to say it."""
    return HTTP_PORT if authority.port is None and method != b"CONNECT" else authority.port


def _only_host(fields: list[bytes]) -> _Authority | None:
    """What the one Host field names; None where another field is malformed, or there is not exactly one (RFC 9112 §3.2)."""
    host = None
    for line in fields:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        name, value = field.groups()
        if name.lower() == b"host":
            if host is not None:
                return None
            host = value.strip(b" ")  # a tab is white space too, but not to every server
    return None if host is None else _authority(host)


def _authority(raw: bytes) -> _Authority | None:
    """A name with a port or without."""
    found = _AUTHORITY.fullmatch(raw)
    if found is None:
        return None
    name, port = host_name(found[1]), None if found[2] is None else int(found[2])
    return None if name == UNREADABLE or (port is not None and port > 0xFFFF) else _Authority(name, port)
