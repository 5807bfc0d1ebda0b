"""What a lab test needs of the machine. Where it is missing the test is skipped by its name, or fails if USERNAT_LAB=require.

`make test` sets that on Debian as root, where it has just installed all of it: there a skip would hide a defect.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from typing import NoReturn

import pytest

from tests.lab.netns import ENVIRONMENT, missing

PACKAGES = {
    "busybox": "busybox-static",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "ip": "iproute2",
    "openssl": "openssl",
    "passt": "passt",
    "perl": "perl-base",
    "ping": "iputils-ping",
    "qemu-system-x86_64": "qemu-system-x86",
    "slirp4netns": "slirp4netns",
    "ss": "iproute2",
    "tcpdump": "tcpdump",
}


def need_commands(*commands: str) -> None:
    """Skip or fail unless all of these are installed."""
    absent = [name for name in commands if not shutil.which(name, path=ENVIRONMENT["PATH"])]
    if absent:
        lacking(", ".join(f"{name} (Debian: {PACKAGES[name]})" for name in absent))


def need_namespaces() -> None:
    """Skip or fail unless namespaces and TAPs can be made here."""
    if what := _missing():
        lacking(what)


def lacking(what: str) -> NoReturn:
    """Skip, or fail where nothing may be missing. what: words that name it."""
    if os.environ.get("USERNAT_LAB") == "require":
        pytest.fail(f"missing here: {what}", pytrace=False)
    pytest.skip(f"missing here: {what}")


@cache
def _missing() -> str:
    return missing()
