from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nat.dns.kit import ONE, TWO, S
from usernat.nat.dns.resolvers import ResolverList, host_resolvers
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from pathlib import Path

STUB = (parse_ip("127.0.0.1"), 53)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lab.test\n", ["127.0.0.53"]),
        ("nameserver 192.0.2.1\nnameserver 192.0.2.2\n", ["192.0.2.1", "192.0.2.2"]),
        (
            "# nameserver 192.0.2.9\n; x\n\tnameserver\t192.0.2.1  # comment\nnameserver 192.0.2.1\n",
            ["192.0.2.1"],
        ),
        ("nameserver 2001:db8::1\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n", ["192.0.2.1"]),
        ("nameserver 2001:db8::1\n", []),
        ("nameserver nonsense\nnameserver\nNAMESERVER 192.0.2.1\n", []),
        ("", ["127.0.0.1"]),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(20)), [f"192.0.2.{n}" for n in range(8)]),
    ],
)
def test_resolv_conf(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    assert host_resolvers(path) == [(parse_ip(address), 53) for address in expected]


def test_missing_or_binary_resolv_conf(tmp_path: Path) -> None:
    assert host_resolvers(tmp_path / "none") == [STUB]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0nameserver 1.2\n")
    assert host_resolvers(tmp_path / "binary") == [STUB]


def test_failed_resolvers_are_asked_last_for_a_while() -> None:
    resolvers = ResolverList((ONE, TWO), 30 * S)
    assert resolvers.order(0) == [ONE, TWO]
    resolvers.failed(ONE, 0)
    assert resolvers.order(1) == [TWO, ONE]
    resolvers.failed(TWO, 1)
    assert resolvers.order(2) == [ONE, TWO]
    assert resolvers.order(30 * S) == [ONE, TWO]
    resolvers.failed(ONE, 31 * S)
    resolvers.worked(ONE)
    assert resolvers.order(31 * S) == [ONE, TWO]
