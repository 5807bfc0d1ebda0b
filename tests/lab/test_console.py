"""The console driver against shells on a local pty: no guest needed, every trick of a terminal included."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import signal
import struct
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab.console import ConsoleClosedError, ConsoleTimeoutError, GuestConsole
from tests.lab.needs import need_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = {"sh": ["sh", "-i"], "bash": ["bash", "--norc", "-i"], "busybox": ["busybox", "sh", "-i"]}
LIMIT = 100_000


@pytest.fixture(params=sorted(SHELLS))
def console(request: pytest.FixtureRequest) -> Iterator[GuestConsole]:
    """A shell on a terminal of 80 columns that echoes."""
    need_commands(SHELLS[request.param][0])
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.environ.update(PS1="guest$ ", TERM="vt100")
        # That no shell stands in between is the point.
        os.execvp(SHELLS[request.param][0], SHELLS[request.param])
    try:
        yield GuestConsole(terminal, terminal, limit=LIMIT)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_output_and_status(console: GuestConsole) -> None:
    assert console.exec("echo hello", 5) == ("hello\n", 0)
    assert console.exec("false", 5) == ("", 1)
    assert console.exec("echo some; (exit 42)", 5) == ("some\n", 42)


def test_state_lasts_from_one_command_to_the_next(console: GuestConsole) -> None:
    console.exec("cd /; word=kept", 5)
    assert console.exec("pwd; echo $word", 5) == ("/\nkept\n", 0)


def test_pipes_and_subshells(console: GuestConsole) -> None:
    assert console.exec("printf 'b\\na\\n' | sort | (cat; exit 3)", 5) == ("a\nb\n", 3)
    assert console.exec("echo $(echo $(echo deep))", 5) == ("deep\n", 0)
    assert console.exec("(cd /; pwd) && { echo braces; }", 5) == ("/\nbraces\n", 0)


def test_quotes_of_every_kind(console: GuestConsole) -> None:
    assert console.exec("""echo "it's" 'a "test"' \\$HOME #comment""", 5) == ('it\'s a "test" $HOME\n', 0)


@pytest.mark.parametrize("length", [*range(60, 100, 3), 150, 500, 1500, 5000])
def test_wrapped_lines(console: GuestConsole, length: int) -> None:
    """Whatever column the echo wraps at, neither marker is found in it and the output is whole."""
    word = "w" * length
    assert console.exec(f"echo {word}", 5) == (f"{word}\n", 0)


def test_output_that_shows_the_command_itself(console: GuestConsole) -> None:
    """What is typed for one command is printed by a later one: its markers are no markers any more."""
    console.exec("set -o history 2>/dev/null; echo one", 5)
    output, status = console.exec("history 2>/dev/null; fc -l 2>/dev/null; echo two", 5)
    assert output.endswith("two\n")
    assert status == 0


def test_output_without_newline(console: GuestConsole) -> None:
    assert console.exec("printf end", 5) == ("end", 0)
    assert console.exec("echo next", 5) == ("next\n", 0)


def test_binary_output(console: GuestConsole) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in range(256) if byte not in b"\r\n")
    output, status = console.exec(f"printf '{octal}'", 5)
    assert output.encode(errors="surrogateescape") == bytes(
        byte for byte in range(256) if byte not in b"\r\n"
    )
    assert status == 0


def test_random_bytes_do_not_end_a_command(console: GuestConsole) -> None:
    output, status = console.exec("head -c 20000 /dev/urandom; echo; echo last", 5)
    assert output.endswith("\nlast\n")
    assert status == 0


def test_time_out_names_what_came_and_leaves_a_usable_console(console: GuestConsole) -> None:
    began = time.monotonic()
    with pytest.raises(ConsoleTimeoutError, match="before"):
        console.exec("echo before; sleep 60", 0.5)
    assert time.monotonic() - began < 4
    assert console.exec("echo after", 5) == ("after\n", 0)


def test_time_out_under_endless_output(console: GuestConsole) -> None:
    with pytest.raises(ConsoleTimeoutError):
        console.exec("yes", 0.5)
    assert console.exec("echo after", 5) == ("after\n", 0)


def test_command_that_waits_for_input_times_out(console: GuestConsole) -> None:
    with pytest.raises(ConsoleTimeoutError):
        console.exec("cat", 0.5)
    assert console.exec("echo after", 5) == ("after\n", 0)


@pytest.mark.parametrize("command", ["echo 'open", "if true", ")", "set -o nonsense", "readonly r=1; r=2"])
def test_errors_that_end_a_line_have_a_status(console: GuestConsole, command: str) -> None:
    assert console.exec(command, 5).status != 0
    assert console.exec("echo after", 5) == ("after\n", 0)


def test_huge_output_keeps_its_end(console: GuestConsole) -> None:
    output, status = console.exec("seq 1 200000; (exit 7)", 20)
    assert status == 7
    assert output.endswith("199999\n200000\n")
    assert len(output) <= LIMIT
    assert console.dropped > 1_000_000
    assert console.exec("echo small", 5) == ("small\n", 0)
    assert console.dropped == 0


def test_prompt_without_newline(console: GuestConsole) -> None:
    console.exec("ask() { printf 'your %s? ' name; read name; echo \"hello, $name\"; }", 5)
    console.send("ask\n")
    assert console.expect(r"your name\? $", 5).endswith(b"your name? ")
    console.send("guest\n")
    assert console.expect(r"hello, .*\n", 5).endswith(b"hello, guest\r\n")


def test_late_output_of_an_earlier_command_is_not_taken_for_a_later_ones(console: GuestConsole) -> None:
    console.exec("(sleep 0.3; echo late) & echo early", 5)
    assert console.exec("sleep 0.6; echo own", 5).output.endswith("own\n")


def test_many_commands(console: GuestConsole) -> None:
    for number in range(30):
        assert console.exec(f"echo {number}; (exit {number})", 5) == (f"{number}\n", number)


def test_content_survives(console: GuestConsole) -> None:
    text = "".join(f"{number} line\n" for number in range(5000))
    output, _ = console.exec("i=0; while [ $i -lt 5000 ]; do echo $i line; i=$((i+1)); done", 20)
    assert hashlib.sha256(output.encode()).digest() == hashlib.sha256(text.encode()).digest()


def test_commands_longer_than_any_line(console: GuestConsole) -> None:
    word = "'" * 600 + "w" * 20_000
    output, status = console.exec(f'printf "{word}" | wc -c', 20)
    assert (output.strip(), status) == ("20600", 0)


def test_commands_of_several_lines(console: GuestConsole) -> None:
    assert console.exec("for i in 1 2; do\n  echo $i\ndone\ncat <<END\nhere\nEND", 5) == ("1\n2\nhere\n", 0)


def test_shell_that_ends(console: GuestConsole) -> None:
    with pytest.raises(ConsoleClosedError):
        console.exec("exit 0", 5)
