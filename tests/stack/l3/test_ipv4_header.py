"""The IPv4 header: the compiled reader against construct, and the fast writer against both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import internet_checksum, ipv4
from usernat.stack.l3.ipv4_header import IPV4, IPV4_DECLARATION, write_header

BYTE, WORD, ADDRESS = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))


@given(st.binary(min_size=20, max_size=40))
def test_the_codec_reads_what_construct_reads(data: bytes) -> None:
    parsed = IPV4_DECLARATION.parse(data)
    record = IPV4.read(data)
    assert record is not None
    flat = {**parsed, **parsed.version_ihl, **parsed.flags_offset}
    assert all(flat[name] == value for name, value in record._asdict().items())
    assert IPV4.write(record) == data[:20]


@given(st.binary(max_size=19))
def test_a_truncated_header_is_none(data: bytes) -> None:
    assert IPV4.read(data) is None


@pytest.mark.rfc("791", "3.1-c", "3.1-d")
@given(BYTE, WORD, WORD, st.integers(0, 0x7FFF), BYTE, BYTE, ADDRESS, ADDRESS)
def test_the_writer_agrees_with_the_declaration(
    tos: int, length: int, ident: int, flags: int, ttl: int, proto: int, src: int, dst: int
) -> None:
    header = write_header(tos, length, ident, flags, ttl, proto, src, dst)
    assert internet_checksum(header) == 0
    record = IPV4.read(header)
    assert record is not None
    assert (record.version, record.ihl, record.reserved) == (4, 5, False)
    assert (record.tos, record.total_length, record.identification, record.ttl) == (tos, length, ident, ttl)
    assert (record.proto, record.src, record.dst) == (proto, src, dst)
    assert (record.df << 14 | record.mf << 13 | record.fragment_offset) == flags
    assert IPV4.write(record) == header


def test_str() -> None:
    record = IPV4.read(ipv4(b"12345678", tos=0x10, flags=0x2000, offset=16))
    assert str(record) == (
        "IPv4 10.0.2.15 > 10.0.2.2 proto 17 ttl 64 tos 0x10 id 0x0001 offset 16 MF length 28"
    )
