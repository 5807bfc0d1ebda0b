from __future__ import annotations

from typing import Any

import pytest
from construct import ConstructError
from hypothesis import given
from hypothesis import strategies as st

from tests.nat.dhcp.kit import mac
from usernat.nat.dhcp import options as opt
from usernat.nat.dhcp.message import (
    BOOTREQUEST,
    DISCOVER,
    HEADER,
    MAX_MESSAGE,
    Header,
    HeaderLayout,
    Message,
    build_message,
    parse_message,
)

DISCOVER_OPTION = bytes((53, 1, 1))


def wire(options: bytes, *, file: bytes = b"", sname: bytes = b"", **changes: Any) -> bytes:
    head = Header(
        1, 1, 6, 0, 7, 0, 0, 0, 0, 0, 0, mac(1) + bytes(10), bytes(64), bytes(128), bytes((99, 130, 83, 99))
    )
    return (
        HEADER.write(head._replace(file=file.ljust(128, b"\0"), sname=sname.ljust(64, b"\0"), **changes))
        + options
    )


def parsed(data: bytes) -> Message:
    message = parse_message(data)
    assert isinstance(message, Message), message
    return message


@pytest.mark.rfc("2131", "2-c", "rob-a")
@pytest.mark.rfc("2132", "3.5-a", "3.8-a", "9.1-a", "9.3-a", "9.6-a")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "short"),
        (wire(b"")[:-1], "short"),
        (wire(DISCOVER_OPTION).ljust(MAX_MESSAGE + 1, b"\0"), "oversized"),
        (wire(DISCOVER_OPTION, cookie=b"BOOT"), "no_cookie"),
        (wire(DISCOVER_OPTION, htype=6), "bad_hardware"),
        (wire(DISCOVER_OPTION, hlen=7), "bad_hardware"),
        (wire(DISCOVER_OPTION, hlen=255), "bad_hardware"),
        (wire(DISCOVER_OPTION, chaddr=bytes(16)), "bad_hardware"),
        (wire(DISCOVER_OPTION, chaddr=b"\xff" * 16), "bad_hardware"),
        (wire(b""), "no_type"),
        (wire(bytes((255,))), "no_type"),
        (wire(bytes((53, 1, 0, 255))), "no_type"),
        (wire(bytes((53, 1, 9, 255))), "no_type"),
        (wire(bytes((53,))), "bad_option"),
        (wire(bytes((53, 1))), "bad_option"),
        (wire(bytes((53, 2, 1, 1, 255))), "bad_option"),
        (wire(bytes((53, 0, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((61, 200, 1, 2))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((50, 3, 1, 2, 3, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((50, 4, 1, 2, 3, 4, 50, 4, 1, 2, 3, 4, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((3, 0, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((6, 5, 1, 2, 3, 4, 5, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((57, 1, 2, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((52, 1, 4, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((52, 0, 255))), "bad_option"),
        (wire(DISCOVER_OPTION + bytes((52, 1, 1, 255)), file=bytes((61, 127, 0))), "bad_option"),
    ],
)
def test_c52_malformed_messages_are_named(data: bytes, why: str) -> None:
    """RFC 2131 rob-a, 2-c; RFC 2132 3.5-a, 3.8-a, 9.1-a, 9.3-a, 9.6-a."""
    assert parse_message(data) == why


def test_missing_end_is_forgiven_behind_a_whole_option() -> None:
    assert parsed(wire(DISCOVER_OPTION)).type == DISCOVER
    assert parsed(wire(bytes(9) + DISCOVER_OPTION + bytes(9))).type == DISCOVER


def test_nothing_behind_end_counts() -> None:
    message = parsed(wire(DISCOVER_OPTION + bytes((255, 50, 200))))
    assert message.options == {53: b"\1"}


@pytest.mark.rfc("2131", "4.1-g")
def test_split_options_are_joined() -> None:
    """RFC 2131 4.1-g, RFC 3396: instances of one option are joined in order."""
    message = parsed(
        wire(bytes((55, 2, 1, 3)) + DISCOVER_OPTION + bytes((61, 2, 1, 9, 55, 1, 6, 61, 1, 8, 255)))
    )
    assert message.options[55] == bytes((1, 3, 6))
    assert message.options[61] == bytes((1, 9, 8))


@pytest.mark.rfc("2131", "3.5-a")
def test_overloaded_fields_are_read_file_first() -> None:
    """RFC 2131 3.5-a: options, then file, then sname."""
    data = wire(
        DISCOVER_OPTION + bytes((52, 1, 3, 61, 1, 1, 255)),
        file=bytes((61, 2, 2, 3, 255)),
        sname=bytes((61, 1, 4, 255)),
    )
    assert parsed(data).options[61] == bytes((1, 2, 3, 4))


@pytest.mark.rfc("2132", "9.3-a")
@pytest.mark.parametrize(("overload", "expected"), [(1, b"\1\2"), (2, b"\1\3"), (3, b"\1\2\3")])
def test_overload_values(overload: int, expected: bytes) -> None:
    """RFC 2132 9.3-a."""
    options = DISCOVER_OPTION + bytes((61, 1, 1, 52, 1, overload, 255))
    data = wire(options, file=bytes((61, 1, 2, 255)), sname=bytes((61, 1, 3, 255)))
    assert parsed(data).options[61] == expected


def test_without_overload_file_and_sname_are_no_options() -> None:
    assert parsed(wire(DISCOVER_OPTION, file=bytes((61, 200)), sname=b"boot")).options == {53: b"\1"}


@pytest.mark.rfc("2131", "4.2-a")
@pytest.mark.rfc("2132", "9.14-a")
@pytest.mark.parametrize(("identifier", "by_mac"), [(b"", True), (b"\1", True), (b"\1\2", False)])
def test_client_identity(identifier: bytes, by_mac: bool) -> None:
    """RFC 2131 4.2-a, RFC 2132 9.14-a: an identifier shorter than two bytes is none."""
    message = Message(BOOTREQUEST, DISCOVER, 1, mac(1), options={opt.CLIENT_IDENTIFIER: identifier})
    assert (message.client == Message(BOOTREQUEST, DISCOVER, 1, mac(1)).client) is by_mac


@pytest.mark.rfc("2131", "2-a")
def test_an_identifier_cannot_pass_for_a_hardware_address() -> None:
    """RFC 2131 2-a: opaque, so the same bytes as a MAC address are another client."""
    by_mac = Message(BOOTREQUEST, DISCOVER, 1, mac(1))
    by_id = Message(BOOTREQUEST, DISCOVER, 1, mac(2), options={opt.CLIENT_IDENTIFIER: b"\1" + mac(1)})
    assert by_mac.client != by_id.client


@pytest.mark.rfc("2131", "rob-a")
@given(st.binary(max_size=700))
def test_any_bytes_give_a_message_or_a_reason(data: bytes) -> None:
    assert isinstance(parse_message(data), Message | str)


@pytest.mark.rfc("2131", "rob-a")
@given(st.binary(max_size=400))
def test_any_options_give_a_message_or_a_reason(options: bytes) -> None:
    assert isinstance(parse_message(wire(DISCOVER_OPTION + options)), Message | str)


field_bytes = st.lists(
    st.one_of(
        st.just(b"\0"),
        st.just(b"\xff"),
        st.binary(max_size=3),
        st.builds(opt.encoded, st.integers(1, 254), st.binary(max_size=9)),
    ),
    max_size=8,
).map(b"".join)


@given(field_bytes)
def test_the_reader_equals_the_declaration(field: bytes) -> None:
    """`split_options` by hand against `OptionField` by construct, truncated fields included."""
    expected: dict[int, bytes] = {}
    truncated = False
    try:
        for option in opt.OptionField.parse(field).options if field else []:
            if option.tag not in (opt.PAD, opt.END):
                expected[option.tag] = expected.get(option.tag, b"") + option.data
    except ConstructError:
        truncated = True
    options: dict[int, bytes] = {}
    assert opt.split_options(field, options) is not truncated
    if not truncated:
        assert options == expected


@pytest.mark.rfc("2132", "2-a")
@given(
    st.dictionaries(
        st.sampled_from((12, 43, 55, 60, 61, 77, 125)), st.binary(min_size=1, max_size=300), max_size=2
    )
)
def test_messages_survive_the_wire(options: dict[int, bytes]) -> None:
    """RFC 2132 2-a; options above 255 bytes in several instances (RFC 3396)."""
    message = Message(
        BOOTREQUEST,
        DISCOVER,
        0xDEADBEEF,
        mac(3),
        secs=4,
        flags=0x8000,
        ciaddr=5,
        options={53: b"\1", **options},
    )
    data = build_message(message, list(options.items()))
    assert parse_message(data) == message
    assert HeaderLayout.parse(data).xid == 0xDEADBEEF
    assert len(data) >= 300
