from __future__ import annotations

import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.needs import need_commands
from tests.nat.inspection.oracles import Nginx, first_bytes_of, http_server_host
from usernat.fuzz.strategies.http_head import head, hostile_http_head, valid_http_head
from usernat.nat.inspection import LIMIT, read_http_name
from usernat.policy.decision import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GET = b"GET / HTTP/1.1"
HOST = b"Host: pypi.org"


# -- what real clients send -----------------------------------------------------------------------------------------------


def of_curl(*options: str) -> bytes:
    need_commands("curl")
    command = ["curl", "-s", "--resolve", "pypi.org:PORT:127.0.0.1", *options, "http://pypi.org:PORT/simple/"]
    return first_bytes_of(command, enough=b"\r\n\r\n")


def of_python() -> bytes:
    sent = bytearray()

    class Socket:
        def sendall(self, data: bytes) -> None:
            sent.extend(data)

    connection = HTTPConnection("pypi.org", 80)
    connection.sock = Socket()
    connection.request("POST", "/upload", body=b"1=2", headers={"User-Agent": "x"})
    return bytes(sent)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(of_curl, id="curl"),
        pytest.param(lambda: of_curl("-0"), id="curl, HTTP/1.0"),
        pytest.param(lambda: of_curl("-X", "OPTIONS", "--request-target", "*"), id="curl, OPTIONS"),
        pytest.param(lambda: of_curl("--data", "x=1"), id="curl, POST"),
        pytest.param(lambda: of_curl("--request-target", "http://pypi.org/simple/", "-H", "Host: pypi.org"), id="curl, to a proxy"),
        pytest.param(of_python, id="http.client"),
    ],
)  # fmt: skip
def test_the_request_of_a_real_client_has_its_name_once_the_head_is_whole_and_not_before(
    data: Callable[[], bytes],
) -> None:
    request = data()
    end = request.index(b"\r\n\r\n") + 4
    assert {read_http_name(request[:length]) for length in range(end)} == {None}
    assert read_http_name(request[:end]) == "pypi.org"
    assert (
        read_http_name(memoryview(request + b"\0\n body \r and GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"))
        == "pypi.org"
    )


@given(valid_http_head(), st.data())
def test_no_name_before_the_end_and_the_name_from_there_on(
    made: tuple[bytes, bytes], data: st.DataObject
) -> None:
    request, name = made
    assert read_http_name(request[: data.draw(st.integers(0, len(request) - 1))]) is None
    assert read_http_name(request + data.draw(st.binary())) == name.decode().lower()


# -- what is no request ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        b"\0",
        b"\x16",
        b"\x80",
        b" ",
        b"\n",
        b"\r\r",
        b"\r\n\r\n\r\n",
        b"(",
        b"GET\t",
        b"SSH-2.0-OpenSSH_9.2p1\r",
        b"HELO mail.example.test\r\n",
        b"GET /\r\n",  # HTTP/0.9
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET / http/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / x HTTP/1.1\r\n",
        b"GET /\xc3\xbc HTTP/1.1\r\n",
        b"GET /a\tb HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",  # HTTP/2 with prior knowledge
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\rH",
        b"GET / HTTP/1.1\r\nHost: pypi.org\n",
        b"GET / HTTP/1.1\r\nHost: pypi.org\rX",
        b"GET / HTTP/1.1\r\nHost: pypi.org\r\r",
        b"GET / HTTP/1.1\r\nX: \0",
        b"M" * 25,
    ],
)
def test_what_can_not_become_a_request_is_told_at_once(start: bytes) -> None:
    assert read_http_name(start) == UNREADABLE
    assert read_http_name(start + b"Host: pypi.org\r\n\r\n") == UNREADABLE


def test_empty_lines_before_a_request() -> None:
    for start in (b"", b"\r", b"\r\n", b"\r\n\r", b"\r\n\r\n"):
        assert read_http_name(start) is None
    assert read_http_name(b"\r\n\r\n" + head(GET, HOST)) == "pypi.org"
    assert read_http_name(b"\r\n\r\n\r\n" + head(GET, HOST)) == UNREADABLE


def test_a_head_has_a_largest_size() -> None:
    room = LIMIT - len(head(GET, HOST, b"X: "))
    assert read_http_name(head(GET, HOST, b"X: " + b"y" * room)) == "pypi.org"
    assert read_http_name(head(GET, HOST, b"X: " + b"y" * room)[:-1]) is None
    assert read_http_name(head(GET, HOST, b"X: " + b"y" * (room + 1))) == UNREADABLE


@pytest.mark.parametrize(
    "filler", [b" ", b"\t", b"a", b":", b"a:\r\n", b"a.", b"\r\n", b"G", b"/", b"http://"]
)
@pytest.mark.parametrize(
    "before", [b"", b"GET ", b"GET http://", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost:"]
)
@pytest.mark.parametrize("after", [b"\x7f\r\n\r\n", b"\r\n\r\n", b""])
def test_no_look_takes_long(before: bytes, filler: bytes, after: bytes) -> None:
    """Nor does a regular expression that has to give up after 16 KiB."""
    data = (before + filler * LIMIT)[: LIMIT - len(after)] + after
    begun = time.process_time()
    read_http_name(data)
    assert time.process_time() - begun < 0.2  # seconds; measured: 0.006 with 4,000 fields, one look of many


# -- which host -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ([HOST], "pypi.org"),
        ([b"A: b", b"hOsT:PyPI.org:80", b"C:"], "pypi.org"),
        ([b"Host:   pypi.org  "], "pypi.org"),
        ([b"Host:\tpypi.org"], UNREADABLE),
        ([b"Host: pypi.org\t"], UNREADABLE),
        ([b"Host: pypi.org:8080"], "pypi.org"),
        ([b"X-Host: evil.test", HOST], "pypi.org"),
        ([], UNREADABLE),
        ([b"Host:"], UNREADABLE),
        ([b"X-Host: pypi.org"], UNREADABLE),
        ([HOST, HOST], UNREADABLE),
        ([HOST, b"host: evil.test"], UNREADABLE),
        ([b"Host : pypi.org"], UNREADABLE),
        ([b"Host\t: pypi.org"], UNREADABLE),
        ([b"Host:", b" pypi.org"], UNREADABLE),
        ([HOST, b" .evil.test"], UNREADABLE),
        ([HOST, b"\tx"], UNREADABLE),
        ([HOST, b"X"], UNREADABLE),
        ([HOST, b": x"], UNREADABLE),
        ([HOST, b"X\xc3: x"], UNREADABLE),
        ([HOST, b"X: a\x85Host: evil.test"], UNREADABLE),
        ([HOST, b"X: a\x0bHost: evil.test"], UNREADABLE),
        ([HOST, "X: a\u2028Host: evil.test".encode()], UNREADABLE),
        ([HOST, b"X: a\x1cHost: evil.test"], UNREADABLE),
        ([b"Host: pypi.org, evil.test"], UNREADABLE),
        ([b"Host: pypi.org evil.test"], UNREADABLE),
        ([b"Host: pypi.org\tevil.test"], UNREADABLE),
        ([b"Host: pypi.org."], UNREADABLE),
        ([b"Host: pypi.org:"], UNREADABLE),
        ([b"Host: pypi.org:080"], UNREADABLE),
        ([b"Host: pypi.org:0"], UNREADABLE),
        ([b"Host: pypi.org:+80"], UNREADABLE),
        ([b"Host: pypi.org:65536"], UNREADABLE),
        ([b"Host: pypi.org:80:80"], UNREADABLE),
        ([b"Host: pypi.org:80@evil.test"], UNREADABLE),
        ([b"Host: evil.test@pypi.org"], UNREADABLE),
        ([b"Host: http://pypi.org"], UNREADABLE),
        ([b"Host: pypi.org/x"], UNREADABLE),
        ([b"Host: pypi.org#x"], UNREADABLE),
        ([b"Host: pypi%2eorg"], UNREADABLE),
        ([b"Host: b\xc3\xbccher.example"], UNREADABLE),
        ([b"Host: 192.0.2.1"], UNREADABLE),
        ([b"Host: 3221225985"], UNREADABLE),
        ([b"Host: [2001:db8::1]:80"], UNREADABLE),
        ([b"Host: *"], UNREADABLE),
    ],
)
def test_which_host_fields_count(fields: list[bytes], name: str) -> None:
    for line in (GET, b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1"):
        assert read_http_name(head(line, *fields)) == name
    with_target = read_http_name(head(b"GET http://pypi.org HTTP/1.1", *fields))
    assert with_target == (UNREADABLE if fields == [b"Host: pypi.org:8080"] else name)


@pytest.mark.parametrize(
    ("line", "host", "name"),
    [
        (b"GET http://pypi.org/", b"pypi.org", "pypi.org"),
        (b"GET HTTP://PyPI.org?x", b"pypi.org", "pypi.org"),
        (b"GET http://pypi.org:80/", b"pypi.org", "pypi.org"),
        (b"GET http://pypi.org/", b"pypi.org:80", "pypi.org"),
        (b"GET http://pypi.org:81/", b"pypi.org:81", "pypi.org"),
        (b"CONNECT pypi.org:443", b"pypi.org:443", "pypi.org"),
        (b"GET /http://evil.test/", b"pypi.org", "pypi.org"),
        (b"GET http://evil.test/", b"pypi.org", UNREADABLE),
        (b"GET http://pypi.org:81/", b"pypi.org", UNREADABLE),
        (b"GET http://pypi.org:/", b"pypi.org", UNREADABLE),
        (b"GET http://evil.test@pypi.org/", b"pypi.org", UNREADABLE),
        (b"GET http://pypi.org\\@evil.test/", b"pypi.org", UNREADABLE),
        (b"GET http://pypi.org#@evil.test/", b"pypi.org", UNREADABLE),
        (b"GET http:///pypi.org/", b"pypi.org", UNREADABLE),
        (b"GET http:pypi.org/", b"pypi.org", UNREADABLE),
        (b"GET https://pypi.org/", b"pypi.org", UNREADABLE),
        (b"GET pypi.org/", b"pypi.org", UNREADABLE),
        (b"GET pypi.org:80", b"pypi.org:80", UNREADABLE),
        (b"GET *", b"pypi.org", UNREADABLE),
        (b"GET \\\\evil.test/", b"pypi.org", UNREADABLE),
        (b"CONNECT evil.test:443", b"pypi.org:443", UNREADABLE),
        (b"CONNECT pypi.org:443", b"pypi.org:25", UNREADABLE),
        (b"CONNECT pypi.org:443", b"pypi.org", UNREADABLE),
        (b"CONNECT /", b"pypi.org", UNREADABLE),
        (b"connect /", b"pypi.org", UNREADABLE),
        (b"connect evil.test:443", b"pypi.org", UNREADABLE),
    ],
)
def test_a_target_that_names_a_host_names_the_same_one(line: bytes, host: bytes, name: str) -> None:
    assert read_http_name(head(line + b" HTTP/1.1", b"Host: " + host)) == name


# -- the property that all this is for ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    yield server
    server.close()


def agrees(claimed: str | None, seen: str | None) -> bool:
    """Whether our reading may stand beside a server's. None: it has refused the request, or wants more."""
    if claimed:
        return seen is None or seen.lower() == claimed
    return seen is None or claimed == UNREADABLE


def without_port(host: str | None) -> str | None:
    """What an application makes of http.server's Host, which is raw."""
    return host and host.strip().partition(":")[0]


@given(hostile_http_head(), st.integers(0, 300))
def test_no_server_reads_another_host_than_we_do(nginx: Nginx, request_: bytes, end: int) -> None:
    """C39: what cannot be read fails closed; and whoever answers has read the same name."""
    claimed = read_http_name(request_)
    assert agrees(claimed, nginx.host(request_))
    if b"://" not in request_:  # http.server goes by the field whatever the target says
        assert agrees(claimed, without_port(http_server_host(request_)))
    early = read_http_name(request_[:end])
    assert early in (None, claimed, UNREADABLE)
    assert early != UNREADABLE or not claimed


@given(valid_http_head())
def test_the_servers_read_what_we_read_in_good_requests(nginx: Nginx, made: tuple[bytes, bytes]) -> None:
    """The oracles are not mute: where nothing is wrong, all see the name."""
    request, name = made
    assert nginx.host(request) == read_http_name(request) == name.decode().lower()
    assert (
        without_port(http_server_host(request.removeprefix(b"\r\n"))) or ""
    ).lower() == name.decode().lower()


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert read_http_name(data) in (None, UNREADABLE)
    assert read_http_name(b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n") == UNREADABLE
