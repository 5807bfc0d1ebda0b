from __future__ import annotations

import ssl
import time
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.lab.needs import need_commands
from tests.nat.inspection.oracles import NOT_READ, OpenSslServer, first_bytes_of, python_hello
from usernat.fuzz.strategies.client_hello import (
    NEEDED,
    cuts,
    extensions,
    handshake,
    hello,
    hostile_client_hello,
    in_records,
    named,
    valid_client_hello,
    vector,
)
from usernat.nat.inspection import LIMIT, read_tls_name
from usernat.nat.inspection.client_hello import HIDING, RECORDS_MAX
from usernat.policy.decision import UNREADABLE

NAME = b"pypi.org"
GOOD = hello([named(NAME), *NEEDED])
BODY = GOOD[4:]
OPENSSL = OpenSslServer()


def with_list(data: bytes) -> bytes:
    """A hello with this server_name extension."""
    return in_records(hello([*NEEDED, (0, data)]))


ENTRY = b"\0" + vector(NAME, 2)

# -- what real clients send -----------------------------------------------------------------------------------------------


@cache
def sent_by(client: str) -> bytes:
    if client == "python":
        return python_hello("pypi.org")
    if client == "python, TLS 1.2 only":
        return python_hello("pypi.org", maximum_version=ssl.TLSVersion.TLSv1_2)
    if client == "python, long":
        return python_hello("pypi.org", alpn=[f"protocol-{number:03}" for number in range(150)])
    if client == "curl":
        need_commands("curl")
        return first_bytes_of(
            ["curl", "-sk", "--resolve", "pypi.org:PORT:127.0.0.1", "https://pypi.org:PORT/"]
        )
    need_commands("openssl")
    options = {
        "openssl": [],
        "openssl, TLS 1.2 only": ["-tls1_2"],
        "openssl, TLS 1.3 only, key shares": [
            "-tls1_3",
            "-groups",
            "P-521:P-384:P-256:X25519:X448:ffdhe8192",
        ],
        "openssl, two records": ["-max_send_frag", "512", "-alpn", ",".join("x" * 200 for _ in range(4))],
        "openssl, 10 KB": ["-alpn", ",".join("x" * 250 for _ in range(40))],
    }[client]
    return first_bytes_of(
        ["openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", "pypi.org", *options]
    )


CLIENTS = [
    "python",
    "python, TLS 1.2 only",
    "python, long",
    "curl",
    "openssl",
    "openssl, TLS 1.2 only",
    "openssl, TLS 1.3 only, key shares",
    "openssl, two records",
    "openssl, 10 KB",
]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_hello_of_a_real_client_has_its_name_once_it_is_whole_and_not_before(client: str) -> None:
    data = sent_by(client)
    assert OPENSSL.read(data) == "pypi.org"
    assert read_tls_name(data) == "pypi.org"
    assert read_tls_name(memoryview(data + b"\x14\3\3\0\1\1 and whatever follows")) == "pypi.org"
    step = 1 if len(data) < 4000 else 7
    assert {read_tls_name(data[:end]) for end in range(0, len(data), step)} == {None}


def test_the_real_hellos_are_of_all_the_kinds_that_matter() -> None:
    assert len(sent_by("python, long")) > 1700
    assert len(sent_by("openssl, 10 KB")) > 10_000
    first = sent_by("openssl, two records")
    assert len(first) > 5 + int.from_bytes(first[3:5], "big")  # a second record is there
    assert b"\x03\x04" in sent_by("python")  # offers 1.3
    assert b"\x00\x2b\x00\x03\x02\x03\x04" in sent_by("openssl, TLS 1.3 only, key shares")


@pytest.mark.parametrize("name", [None, "127.0.0.1", "::1"])
def test_a_real_hello_without_a_name(name: str | None) -> None:
    assert read_tls_name(python_hello(name)) == UNREADABLE


@given(st.data())
def test_a_real_hello_in_records_cut_anywhere(data: st.DataObject) -> None:
    message = python_hello("files.pythonhosted.org")[5:]
    stream = in_records(message, data.draw(cuts(message)))
    assert read_tls_name(stream) == "files.pythonhosted.org"
    assert read_tls_name(stream[:-1]) is None


# -- records --------------------------------------------------------------------------------------------------------------


@given(valid_client_hello(), st.data())
def test_no_name_before_the_end_and_the_name_from_there_on(
    made: tuple[bytes, bytes], data: st.DataObject
) -> None:
    stream, name = made
    end = data.draw(st.integers(0, len(stream) - 1))
    assert read_tls_name(stream[:end]) is None
    assert read_tls_name(stream) == name.decode().lower()
    assert read_tls_name(bytearray(stream) + data.draw(st.binary())) == name.decode().lower()


@pytest.mark.parametrize(
    "start",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x80\x2e\x01\x03\x01",
        b"\x15",
        b"\x14",
        b"\x17",
        b"\0",
    ],
    ids=["ssh", "http", "SSLv2", "alert", "change cipher spec", "application data", "zero"],
)
def test_what_is_no_handshake_is_told_by_its_first_byte(start: bytes) -> None:
    assert read_tls_name(start[:1]) == UNREADABLE
    assert read_tls_name(start) == UNREADABLE


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x02",  # SSLv2 in a record
        b"\x16\x03\x01\x00\x00",  # an empty fragment
        b"\x16\x03\x01\x40\x01",  # one that is too long
        b"\x16\x03\x01\x00\x10\x02",  # a ServerHello
        b"\x16\x03\x01\x00\x01\x01\x15",  # an alert between two fragments
        b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00",  # an empty fragment in the middle
        b"\x16\x03\x01\x00\x01\x01\x16\x04",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfb",  # a hello that ends a byte before its record
        b"\x16\x03\x01\x02\x00\x01\x01\x00\x00",  # a hello of 64 KiB
    ],
)
def test_records_that_can_not_become_a_hello_are_not_waited_for(start: bytes) -> None:
    assert read_tls_name(start) == UNREADABLE
    assert read_tls_name(start[:-1]) is None


def test_a_second_message_in_the_record_of_the_hello_is_refused() -> None:
    other = hello([named(b"evil.test"), *NEEDED])
    assert read_tls_name(in_records(GOOD + other)) == UNREADABLE
    assert (
        read_tls_name(in_records(GOOD) + in_records(other)) == "pypi.org"
    )  # a server reads just the first of these as well


@pytest.mark.parametrize(("place", "value"), [(0, 20), (0, 21), (0, 23), (0, 24), (1, 2), (1, 4), (1, 0)])
def test_a_whole_record_of_another_kind(place: int, value: int) -> None:
    stream = bytearray(in_records(GOOD))
    stream[place] = value
    assert read_tls_name(stream) == UNREADABLE
    assert read_tls_name(in_records(GOOD)[:5] + GOOD) == "pypi.org"


def test_minor_versions_do_not_matter() -> None:
    for minor in (0, 1, 2, 3, 4, 255):
        assert read_tls_name(in_records(GOOD, minor=minor)) == "pypi.org"
    for minor in (1, 2, 3, 4):
        assert read_tls_name(in_records(hello([named(NAME)], minor=minor))) == "pypi.org"
    assert (
        read_tls_name(in_records(hello([named(NAME)], minor=0))) == UNREADABLE
    )  # SSL 3.0 knows no extensions


def test_a_hello_has_a_largest_size_and_a_largest_number_of_records() -> None:
    room = LIMIT - len(in_records(hello([named(NAME), (0x7777, b"")])))
    fitting = in_records(hello([named(NAME), (0x7777, bytes(room))]))
    assert len(fitting) == LIMIT
    assert read_tls_name(fitting) == "pypi.org"
    assert read_tls_name(in_records(hello([named(NAME), (0x7777, bytes(room + 1))]))) == UNREADABLE
    assert read_tls_name(in_records(GOOD, range(1, RECORDS_MAX))) == "pypi.org"
    assert read_tls_name(in_records(GOOD, range(1, RECORDS_MAX + 1))) == UNREADABLE


def test_a_hello_that_comes_byte_by_byte_costs_little() -> None:
    message = hello([named(NAME), (0x7777, bytes(15_000))])
    stream = in_records(message, range(1, RECORDS_MAX))
    begun = time.process_time()
    assert not any(read_tls_name(stream[:end]) for end in range(len(stream) - 100, len(stream)))
    assert (time.process_time() - begun) / 100 < 0.002  # seconds for one look; measured: 0.00008


# -- the hello and its extensions -----------------------------------------------------------------------------------------


def test_every_length_in_a_hello_is_exact() -> None:
    for place in range(len(BODY)):
        shorter = in_records(handshake(BODY[:place]))
        assert read_tls_name(shorter) == UNREADABLE, place
    assert read_tls_name(in_records(handshake(BODY + b"\0"))) == UNREADABLE


@pytest.mark.parametrize(
    "body",
    [
        BODY[:34] + vector(bytes(33), 1) + BODY[35:],  # session id
        BODY[:35] + b"\0\0" + BODY[35 + 2 + 12 :],  # no cipher suites
        BODY[:49] + b"\0" + BODY[51:],  # no compression methods
        BODY[:51],  # no extensions
        BODY[:51] + b"\0\0",
    ],
)
def test_vectors_out_of_bounds(body: bytes) -> None:
    assert BODY[35:37] == b"\0\x0c"
    assert BODY[49:51] == b"\1\0"
    assert read_tls_name(in_records(handshake(body))) == UNREADABLE


@pytest.mark.parametrize("rest", [b"\0", b"\0\x17\0", b"\0\x17\0\1", b"\0\x17\xff\xff" + bytes(40)])
def test_extensions_fill_their_vector(rest: bytes) -> None:
    body, written = BODY[:51], BODY[53:]
    assert read_tls_name(in_records(handshake(body + vector(written, 2)))) == "pypi.org"
    assert read_tls_name(in_records(handshake(body + vector(written + rest, 2)))) == UNREADABLE


@pytest.mark.parametrize("kind", sorted(HIDING))
def test_a_hidden_name_is_not_guessed_at(kind: int) -> None:
    assert read_tls_name(in_records(hello([named(NAME), *NEEDED, (kind, b"x")]))) == UNREADABLE
    assert read_tls_name(in_records(hello([(kind, b""), named(NAME), *NEEDED]))) == UNREADABLE


def test_two_names() -> None:
    assert read_tls_name(in_records(hello([named(NAME), named(NAME)]))) == UNREADABLE
    assert read_tls_name(in_records(hello([named(NAME), *NEEDED, named(b"evil.test")]))) == UNREADABLE
    assert read_tls_name(in_records(hello([named(NAME), NEEDED[0], NEEDED[0]]))) == UNREADABLE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"\0\3\0\0\0",
        vector(ENTRY + ENTRY, 2),
        vector(b"\1" + ENTRY[1:], 2),
        vector(b"\1" + ENTRY[1:] + ENTRY, 2),
        vector(ENTRY, 2) + b"\0",
        vector(ENTRY, 2)[:-1],
        vector(ENTRY + b"\0", 2),
        b"\0\x0b" + b"\0\0\7" + NAME,
        b"\0\x0a" + ENTRY,
        b"\0\x0c" + ENTRY,
    ],
)
def test_a_server_name_list_has_one_host_name_and_nothing_else(data: bytes) -> None:
    assert read_tls_name(with_list(vector(ENTRY, 2))) == "pypi.org"
    assert read_tls_name(with_list(data)) == UNREADABLE


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"PyPI.Org", "pypi.org"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"a_b.example", "a_b.example"),
        (b"x" * 63 + b".test", "x" * 63 + ".test"),
        (b"4u.7-eleven.com", "4u.7-eleven.com"),
        (b"localhost", "localhost"),
        (b"pypi.org.", UNREADABLE),
        (b"pypi..org", UNREADABLE),
        (b".pypi.org", UNREADABLE),
        (b"pypi.org\0", UNREADABLE),
        (b"pypi.org\n", UNREADABLE),
        (b"pypi.org\0.evil.test", UNREADABLE),
        (b"b\xc3\xbccher.example", UNREADABLE),
        (b"p\xd1\x83pi.org", UNREADABLE),
        (b"PYP\xc4\xb0.org", UNREADABLE),
        (b"pypi%2eorg", UNREADABLE),
        (b"pypi.org:443", UNREADABLE),
        (b"*.pypi.org", UNREADABLE),
        (b"x" * 64 + b".test", UNREADABLE),
        (b"a." * 126 + b"ab", UNREADABLE),
        (b"a." * 126 + b"b", "a." * 126 + "b"),
        (b"a." * 126 + b"b.", UNREADABLE),
        (b"\xe2\x84\xaa.test", UNREADABLE),
        (b"r3---sn-x.example", "r3---sn-x.example"),
        (b"192.0.2.1", UNREADABLE),
        (b"127.1", UNREADABLE),
        (b"2130706433", UNREADABLE),
        (b"0x7f000001", UNREADABLE),
        (b"a.0x", UNREADABLE),
        (b"2001:db8::1", UNREADABLE),
        (b"[2001:db8::1]", UNREADABLE),
    ],
)
def test_which_names_count(raw: bytes, name: str) -> None:
    assert read_tls_name(in_records(hello([named(raw), *NEEDED]))) == name


# -- the property that all this is for ------------------------------------------------------------------------------------


@given(hostile_client_hello(), st.integers(0, 400))
@example(in_records(GOOD), 400)
def test_openssl_never_reads_another_name_than_we_do(stream: bytes, end: int) -> None:
    """C39: what cannot be read fails closed; and whoever reads it takes the same name from it."""
    claimed = read_tls_name(stream)
    seen = OPENSSL.read(stream)
    if claimed:
        assert seen in (claimed, NOT_READ) or seen.lower() == claimed
    if seen != NOT_READ:
        assert claimed is not None  # no server is satisfied while we wait for more
    early = read_tls_name(stream[:end])
    assert early in (None, claimed) or (early == UNREADABLE and claimed == UNREADABLE)


@given(st.data())
def test_openssl_reads_what_we_read_in_good_hellos(data: st.DataObject) -> None:
    """The oracle is not mute: where nothing is wrong, both see the name."""
    message = hello(data.draw(extensions(b"PyPI.org")))
    assert OPENSSL.read(in_records(message)) == "PyPI.org"
    assert read_tls_name(in_records(message)) == "pypi.org"


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert read_tls_name(data) in (None, UNREADABLE)
    assert read_tls_name(b"\x16\x03\x01" + vector(b"\1" + vector(data, 3), 2)) == UNREADABLE
