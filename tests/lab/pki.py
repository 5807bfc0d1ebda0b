"""A certificate authority of the lab's own, made by openssl: a root, an intermediate and a server certificate.

The server's certificate names many hosts, so that ServerHello and Certificate together are about 3,900 bytes: more than two
segments of 1,460 bytes, which is where a gateway that mixes up its sequence numbers falls over (regression C14).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DAYS = "2"
HOST = "www.lab.test"
PADDING_NAMES = 105  # of 20 bytes each: what lifts the chain to about 3,900 bytes


@dataclass(frozen=True)
class Authority:
    """root: what a client trusts. chain: server certificate and intermediate. key: the server's. All PEM files."""

    root: Path
    chain: Path
    key: Path


def make_authority(folder: Path) -> Authority:
    """Make all of it in a folder. Raises CalledProcessError where openssl fails."""
    names = ",".join(f"DNS:host-{number:04}.lab.test" for number in range(PADDING_NAMES))
    _certificate(folder, "root", "/CN=usernat lab root", "basicConstraints=critical,CA:TRUE", signer=None)
    _certificate(
        folder, "middle", "/CN=usernat lab intermediate", "basicConstraints=critical,CA:TRUE", signer="root"
    )
    _certificate(
        folder, "server", f"/CN={HOST}", f"subjectAltName=DNS:{HOST},IP:203.0.113.80,{names}", signer="middle"
    )
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "server.pem").read_bytes() + (folder / "middle.pem").read_bytes())
    return Authority(root=folder / "root.pem", chain=chain, key=folder / "server.key")


def _certificate(folder: Path, name: str, subject: str, extension: str, signer: str | None) -> None:
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-sha256",
        "-days",
        DAYS,
        "-subj",
        subject,
    ]
    argv += ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-addext", extension]
    if signer:
        argv += ["-CA", f"{signer}.pem", "-CAkey", f"{signer}.key"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=60)
