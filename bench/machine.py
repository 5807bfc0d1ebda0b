"""What a reader has to know of the machine and the programs: kinds and versions, nothing that names it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from tests.lab.netns import ENVIRONMENT

GIB = 1 << 30
VERSIONS = {
    "slirp4netns": ("slirp4netns", "--version"),
    "passt/pasta": ("dpkg-query", "-W", "-f", "${Version}", "passt"),
    "gvproxy": ("gvproxy", "-version"),
    "QEMU": ("qemu-system-x86_64", "--version"),
    "iperf3": ("iperf3", "--version"),
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "-v"),
}
VERSION = re.compile(r"\d+\.[\w.~+-]*\w")


def facts() -> dict[str, str]:
    """By their names."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    found = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
    }
    return found | {name: version for name, command in VERSIONS.items() if (version := _version(command))}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(command: tuple[str, ...]) -> str:
    """The first thing that looks like a version in what a program says; empty where it is not here."""
    try:
        said = subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=10
        )
    except OSError:
        return ""
    found = VERSION.search(said.stdout + said.stderr)
    return found[0] if found else ""
