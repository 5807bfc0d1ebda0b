"""Heads of HTTP/1 requests: such as clients send, and such as two servers read in two ways."""

from __future__ import annotations

from hypothesis import strategies as st

from usernat.fuzz.strategies.mutate import damaged

NAMES = st.sampled_from([b"pypi.org", b"a.b.example.test", b"PyPI.org", b"xn--bcher-kva.example"])
OTHER = b"evil.test"
PATHS = st.sampled_from([b"/", b"/simple/?q=http://evil.test/", b"//evil.test/x", b"/a%2Fb"])
FIELDS = st.sampled_from(
    [b"User-Agent: curl/8.5", b"Accept: */*", b"X-Forwarded-Host: evil.test", b"Empty:", b"Connection: close"]
)


def head(line: bytes, *fields: bytes, end: bytes = b"\r\n") -> bytes:
    """The head of these lines, and the empty one behind them."""
    return end.join([line, *fields, b"", b""])


@st.composite
def valid_http_head(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request, and the name of the host in it."""
    name = draw(NAMES)
    port = draw(st.sampled_from([b"", b":80"]))
    target = draw(st.one_of(PATHS, st.just(b"http://" + name + port + b"/x")))
    line = draw(st.sampled_from([b"GET", b"POST", b"PROPFIND"])) + b" " + target + b" HTTP/1.1"
    host = (
        draw(st.sampled_from([b"Host: ", b"host:", b"HOST:  "]))
        + name
        + port
        + draw(st.sampled_from([b"", b" "]))
    )
    fields = draw(st.permutations([host, *draw(st.lists(FIELDS, max_size=4))]))
    return draw(st.sampled_from([b"", b"\r\n"])) + head(line, *fields), name


def _host_values(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(
        [
            name,
            OTHER,
            b"",
            name + b".",
            name + b"..",
            name + b":080",
            name + b":",
            name + b":80x",
            name + b":99999",
            name + b"," + OTHER,
            name + b" " + OTHER,
            name + b"\t" + OTHER,
            name + b"@" + OTHER,
            name + b"/@" + OTHER,
            name + b"#" + OTHER,
            name + b"\\" + OTHER,
            b"http://" + name,
            b"pypi%2eorg",
            b"192.0.2.1",
            b"[::1]",
            b"127.1",
            name + b"\0",
            name + b"\xa0",
            name + b"\xc3\xbc",
        ]
    )


@st.composite
def _ambiguous(draw: st.DrawFn) -> bytes:
    """A request that may be taken to name several hosts."""
    name = draw(NAMES)
    ends = st.sampled_from(
        [b"\r\n"] * 6 + [b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b"\x0b", b"\x85", b"\r\n\r\n"]
    )
    colons = st.sampled_from([b": "] * 4 + [b" : ", b":", b"\t:", b" ", b"::", b"\0:", b":\x0b"])
    keys = st.sampled_from(
        [b"Host"] * 4 + [b"hOST", b" Host", b"Host\x00", b"X-Host", b"Ho st", b"Hos\xc5\xa5", b""]
    )
    authorities = st.one_of(_host_values(name), st.builds(lambda value: b"user@" + value, _host_values(name)))
    targets = st.one_of(
        PATHS,
        st.builds(
            lambda scheme, value: scheme + value + b"/",
            st.sampled_from([b"http://", b"HTTP://", b"https://", b"//", b""]),
            authorities,
        ),
        st.just(b"*"),
    )
    method = draw(st.sampled_from([b"GET"] * 4 + [b"OPTIONS", b"CONNECT", b"get", b"G,T", b""]))
    version = draw(
        st.sampled_from(
            [b" HTTP/1.1"] * 6 + [b" HTTP/1.0", b" HTTP/2.0", b" http/1.1", b" HTTP/1.10", b"", b"  HTTP/1.1"]
        )
    )
    made = (
        draw(st.sampled_from([b"", b"\r\n", b"\n", b"\r\n\r\n\r\n"]))
        + method
        + b" "
        + draw(targets)
        + version
        + draw(ends)
    )
    for _ in range(draw(st.integers(0, 3))):
        made += draw(keys) + draw(colons) + draw(_host_values(name)) + draw(ends)
    return made + b"\r\n"


def hostile_http_head() -> st.SearchStrategy[bytes]:
    """Bytes that should begin with a request, and are wrong or ambiguous."""
    whole = valid_http_head().map(lambda made: made[0])
    return st.one_of(_ambiguous(), damaged(whole))
