"""What `--publish`, `Config.publish` and `UserNat.publish` take, and what they say of what cannot be."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.face.cables import descriptors
from usernat import Config, ConfigError, UserNat
from usernat.cli.options import make_config
from usernat.cli.run import run
from usernat.cli.serve import serve
from usernat.config import parse_forward
from usernat.links.memory import memory_pair
from usernat.nat.forward import Forward
from usernat.policy.decision import TCP, UDP
from usernat.publish import try_forwards
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = parse_ip("127.0.0.1")


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8080:80", Forward(TCP, LOCAL, 8080, 80)),
        ("8080:80/tcp", Forward(TCP, LOCAL, 8080, 80)),
        ("0.0.0.0:53:5353/udp", Forward(UDP, 0, 53, 5353)),
        ("192.0.2.1:0:80", Forward(TCP, parse_ip("192.0.2.1"), 0, 80)),
    ],
)
def test_what_a_forward_looks_like(text: str, forward: Forward) -> None:
    assert parse_forward(text) == forward
    assert parse_forward(str(forward)) == forward
    assert Config(publish=[text]).forwards == Config(publish=[forward]).forwards == (forward,)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "80", "80:", ":80", "a:80", "80:b", "80:80/", "80:80/icmp", "80:80/UDP", "-1:80", " 1:80", "1:2:3"),
        *("localhost:1:2", "1.2.3.4.5:1:2", "::1:80:80", "[::1]:1:2", "1.2.3.4:1:2:3", "٣:80", "1:80\n", "80:0"),
        *("65536:80", "80:65536", "99999999999:80", "256.0.0.1:1:2"),
    ],
)  # fmt: skip
def test_what_is_no_forward(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(publish=[text])
    message = str(caught.value)
    assert message.startswith("not a forward: ")
    assert repr(text) in message
    assert "\n" not in message


def test_a_text_is_no_sequence_of_forwards() -> None:
    with pytest.raises(ConfigError, match="sequence"):
        Config(publish="80:80")


def test_numbers_that_are_no_ports() -> None:
    with pytest.raises(ConfigError):
        parse_forward(Forward(TCP, LOCAL, 70000, 80))


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_in_use_is_one_line_and_nothing_is_started(kind: str, tmp_path: Path) -> None:
    ours, theirs = memory_pair()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if kind == "tcp":
            taken.listen()
        before = descriptors()
        config = Config(publish=["0:1", "0:1/udp", f"{port}:80/{kind}"], capture=tmp_path / "x.pcap")
        with pytest.raises(ConfigError) as caught:
            UserNat(config, ours)
        assert str(caught.value) == f"cannot publish 127.0.0.1:{port}: Address already in use"
        assert descriptors() == before
    with UserNat(Config(), ours) as nat:  # the link is still good
        with pytest.raises(
            ConfigError, match=r"^cannot publish 192\.0\.2\.1:5: Cannot assign requested address"
        ):
            nat.publish("192.0.2.1:5:80")
        assert nat.counters()["forwards.published"] == 0
    theirs.close()


def test_a_port_that_is_not_ours_to_have_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may have every port, so the kernel's answer to others is given here."""
    bind = socket.socket.bind

    def privileged(sock: socket.socket, name: tuple[str, int]) -> None:
        if 0 < name[1] < 1024:
            raise PermissionError(13, "Permission denied")
        bind(sock, name)

    ours, theirs = memory_pair()
    before = descriptors()
    monkeypatch.setattr(socket.socket, "bind", privileged)
    for suffix in ("", "/udp"):
        with pytest.raises(ConfigError) as caught:
            UserNat(Config(publish=[f"80:80{suffix}"]), ours)
        assert str(caught.value) == "cannot publish 127.0.0.1:80: Permission denied"
    assert descriptors() == before
    ours.close()
    theirs.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_ports_can_be_tried_and_are_given_back(kind: str) -> None:
    before = descriptors()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if kind == "tcp":
            taken.listen()
        with pytest.raises(ConfigError) as caught:
            try_forwards(Config(publish=["0:1", "0:1/udp", f"{port}:80/{kind}"]).forwards)
        assert str(caught.value) == f"cannot publish 127.0.0.1:{port}: Address already in use"
    forwards = Config(publish=[f"{port}:80/{kind}"]).forwards
    try_forwards(forwards)
    try_forwards(forwards)
    assert descriptors() == before


def test_serve_says_so_before_any_guest_comes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(serve, ["--qemu", f"unix:{tmp_path}/guest", "-p", f"{port}:80"])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == f"cannot publish 127.0.0.1:{port}: Address already in use"


def test_the_command_line_has_it() -> None:
    for command in (run, serve):
        assert "-p, --publish [ADDR:]HOST:GUEST[/udp]" in CliRunner().invoke(command, ["--help"]).output
    config = make_config(
        subnet="10.0.2.0/24", mtu=1500, host_loopback=False, dns=(), publish=("1:2", "3:4/udp"), capture=None
    )
    assert config.forwards == (Forward(TCP, LOCAL, 1, 2), Forward(UDP, LOCAL, 3, 4))
