"""The command line's manners: help with examples, one clear line for each mistake, exit status 2 for wrong usage."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from usernat import __version__

if TYPE_CHECKING:
    from tests.face.conftest import CommandLine


@pytest.mark.parametrize(
    ("arguments", "examples"),
    [
        (
            ["--help"],
            [
                "usernat demo",
                "usernat run -- curl http://example.com/",
                "usernat serve --qemu unix:/tmp/guest.sock",
            ],
        ),
        (["demo", "--help"], ["usernat demo"]),
        (
            ["run", "--help"],
            ["usernat run --host-loopback -- psql -h 10.0.2.2", "--capture out.pcap -- make test"],
        ),
        (["serve", "--help"], ["usernat serve --qemu tcp:127.0.0.1:5555", "-netdev stream,id=n0,server=off"]),
    ],
)
def test_help_has_examples(usernat: CommandLine, arguments: list[str], examples: list[str]) -> None:
    status, out, _ = usernat(*arguments)
    assert status == 0
    assert all(example in out for example in examples)


@pytest.mark.parametrize("command", ["run", "serve"])
def test_the_options_of_the_contract_are_all_there(usernat: CommandLine, command: str) -> None:
    _, out, _ = usernat(command, "--help")
    options = ("--subnet", "--mtu", "--host-loopback", "--dns", "--policy", "--capture", "-v")
    assert [option for option in options if f" {option} " not in out.replace(",", " ")] == []


def test_version(usernat: CommandLine) -> None:
    assert usernat("--version")[:2] == (0, f"usernat {__version__}\n")


def test_no_arguments_is_wrong_usage_and_shows_the_help(usernat: CommandLine) -> None:
    status, out, err = usernat()
    assert status == 2
    assert out == ""
    assert "usernat demo" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "No such command 'fly'"),
        (["--fly"], "No such option"),
        (["run"], "Missing argument 'CMD [ARG]...'"),
        (["run", "--fly", "--", "true"], "No such option"),
        (["run", "--mtu", "x", "--", "true"], "'x' is not a valid integer"),
        (["run", "--mtu", "67", "--", "true"], "mtu must be 68 to 65520 bytes, not 67"),
        (["run", "--mtu", "65521", "--", "true"], "mtu must be 68 to 65520 bytes"),
        (["run", "--subnet", "10.0.2.5/24", "--", "true"], "the network is 10.0.2.0/24"),
        (["run", "--subnet", "nonsense", "--", "true"], "not an IPv4 network: 'nonsense'"),
        (["run", "--dns", "nonsense", "--", "true"], "not a resolver: 'nonsense'"),
        (["run", "--dns", "1.1.1.1", "--dns", "8.8.8.8:0", "--", "true"], "not a resolver: '8.8.8.8:0'"),
        (["serve"], "Missing option '--qemu'"),
        (["serve", "--qemu", "nonsense"], "not an address to listen on: 'nonsense'"),
        (["serve", "--qemu", "unix:/no/such/place"], "cannot listen on unix:/no/such/place: No such file"),
        (["serve", "--qemu", "tcp:127.0.0.1:0", "--mtu", "1"], "mtu must be 68 to 65520 bytes"),
        (["serve", "--qemu", "tcp:127.0.0.1:0", "--boot-file", "\N{SNOWMAN}"], "ASCII characters"),
        (
            ["serve", "--qemu", "tcp:127.0.0.1:0", "--static", "10.0.2.2"],
            "not an address of a guest: 10.0.2.2",
        ),
        (
            ["serve", "--qemu", "tcp:127.0.0.1:0", "--capture", "/no/such/c.pcap"],
            "cannot write the capture file",
        ),
        (["demo", "extra"], "unexpected extra argument (extra)"),
    ],
)
def test_each_mistake_is_one_clear_line_and_status_2(
    usernat: CommandLine, arguments: list[str], words: str
) -> None:
    status, out, err = usernat(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.startswith("usernat: ")
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_clear_line(usernat: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        status, _, err = usernat("serve", "--qemu", f"tcp:127.0.0.1:{other.getsockname()[1]}")
    assert status == 2
    assert "Address already in use" in err
    assert err.count("\n") == 1


def test_the_documented_defaults(usernat: CommandLine) -> None:
    _, out, _ = usernat("run", "--help")
    assert "[default: 10.0.2.0/24]" in out
    assert "[default: 1500]" in out
