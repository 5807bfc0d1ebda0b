"""iPXE's TCP: a machine without any disk boots through the gateway, and fetches over a link with faults what our DHCP server named.

What it fetches is a script in which each line is run only if the line before it was: it compares the variable `n` with one random text
and sets it to the next. Whatever is lost, doubled, damaged or out of place breaks the chain; the last value comes back as the path of
a second request. iPXE's shell, on the serial port, is asked for DHCP alone: by itself it would wait for an IPv6 router first.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.lab.console import GuestConsole
from tests.lab.needs import lacking, need_commands
from tests.lab.netns import ENVIRONMENT, end
from usernat import Config, UserNat
from usernat.fuzz.faultylink import Faults, FaultyLink, Weather
from usernat.links.qemu import QemuLink

if TYPE_CHECKING:
    from collections.abc import Iterator

ROMS = Path("/usr/lib/ipxe/qemu")
LINKS = 800  # of the chain, each of some 420 bytes
BOOT_SECONDS, DHCP_SECONDS, FETCH_SECONDS = 30.0, 40.0, 60.0
PROMPT = "iPXE> "
GATEWAY = "10.0.2.2"


class Web(ThreadingHTTPServer):
    """On the host's 127.0.0.1. asked: the paths that were, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.url = f"http://{GATEWAY}:{self.server_address[1]}"
        self.asked: list[str] = []
        self.values = [Random(f"ipxe {number}").randbytes(100).hex() for number in range(LINKS + 1)]
        chain = (
            f"iseq ${{n}} {one} && set n {next_one} || goto broken" for one, next_one in pairwise(self.values)
        )
        self.script = "\n".join(
            (
                *("#!ipxe", f"set n {self.values[0]}", *chain, f"chain {self.url}/whole/${{n}}", "exit"),
                *(":broken", f"chain {self.url}/broken"),
            )
        ).encode()


class Pages(BaseHTTPRequestHandler):
    """The script, and a short one that ends the chain."""

    server: Web

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.script if self.path == "/boot" else b"#!ipxe\necho that was all\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Machine:
    """QEMU with a network card and nothing to boot from; its shell is iPXE's."""

    def __init__(self, web: Web) -> None:
        ours, theirs = socket.socketpair()
        self.web = web
        self.link = FaultyLink(QemuLink(ours), Faults(), Random(1))
        self.nat = UserNat(Config(host_loopback=True, boot_file=f"{web.url}/boot"), self.link)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *("qemu-system-x86_64", "-accel", "tcg", "-M", "q35,graphics=off", "-m", "64"),
                    *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-boot", "n"),
                    *("-netdev", f"socket,id=net0,fd={theirs.fileno()}"),
                    *("-device", "virtio-net-pci,netdev=net0"),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=ENVIRONMENT,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._console = GuestConsole(self._process.stdout.fileno(), self._process.stdin.fileno())
        self.nat.start()

    def boot(self) -> None:
        """Up to iPXE's prompt."""
        self._console.expect("Press Ctrl-B for the iPXE command line", BOOT_SECONDS)
        self._console.send("\x02")
        self._console.expect(PROMPT, BOOT_SECONDS)

    def run(self, command: str, seconds: float) -> str:
        """Type a command, each key once the one before was seen (the firmware's keyboard drops what comes faster); what it prints."""
        for key in command:
            self._console.send(key)
            self._console.expect(re.escape(key), BOOT_SECONDS)
        self._console.send("\n")
        return self._console.expect(PROMPT, seconds).decode()

    def close(self) -> None:
        """Switch it off."""
        end(self._process)
        self.nat.stop()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One that has its lease."""
    need_commands("qemu-system-x86_64")
    if not (ROMS / "efi-virtio.rom").exists():
        lacking("iPXE's ROMs (Debian: ipxe-qemu)")
    web = Web()
    with web, closing(Machine(web)) as made:
        serving = threading.Thread(target=web.serve_forever, daemon=True)
        serving.start()
        try:
            made.boot()
            said = made.run("ifconf -c dhcp net0", DHCP_SECONDS)
            assert "ok" in said
            yield made
        finally:
            web.shutdown()
            serving.join()


WEATHERS = {
    "fair": Faults(),
    "loss": Faults(loss=0.03),
    "all": Faults(loss=0.02, duplication=0.05, reordering=0.05),
}


@pytest.mark.parametrize("weather", WEATHERS)
def test_boot_file_is_fetched_whole(machine: Machine, weather: str) -> None:
    """RFC 2132 §9.5 brings the URL. Some 340 kB from our sender to iPXE's receiver."""
    link, web = machine.link, machine.web
    web.asked.clear()
    link.inward, link.outward = (Weather(WEATHERS[weather], Random(seed)) for seed in (1, 2))
    said = machine.run("chain ${filename}", FETCH_SECONDS)
    assert web.asked == ["/boot", f"/whole/{web.values[-1]}"], said
    assert "that was all" in said
    if WEATHERS[weather].loss:
        assert link.outward.counters.lost > 0
