"""The load: iperf3, one stream, from the guest to a server on the host's loopback, or back."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.lab.netns import end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Place

PORT = 5201
SPARE_SECONDS = 5.0


@contextmanager
def server(host: Place) -> Iterator[None]:
    """iperf3's server on 127.0.0.1 in the host place. Raises OSError where it does not start."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    listening = host.start("iperf3", "-s", "-B", "127.0.0.1", **silent)
    while not host.run("ss", "-Hltn", "sport", "=", f":{PORT}").stdout:
        if listening.poll() is not None:
            raise OSError(f"iperf3's server ended with status {listening.returncode}")
        time.sleep(0.05)
    try:
        yield
    finally:
        end(listening)


def throughput(guest: Place, address: str, *, down: bool, seconds: int) -> float:
    """Bits per second that arrived. AssertionError with iperf3's words where it fails."""
    way = ["-R"] if down else []
    done = guest.run(
        "iperf3", "-c", address, "-t", str(seconds), "-J", *way, timeout=seconds + SPARE_SECONDS, check=False
    )
    report = json.loads(done.stdout or "{}")
    if "error" in report or done.returncode:
        raise AssertionError(f"iperf3: {report.get('error') or done.stderr}")
    return float(report["end"]["sum_received"]["bits_per_second"])
