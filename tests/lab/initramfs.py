"""The root file system of the QEMU guest: busybox, perl, the modules of a network card, and an init that ends in a shell.

It is written as a cpio archive in memory ("newc": per entry a header of thirteen hexadecimal numbers, the name, the content, each
padded to four bytes), so neither the cpio tool nor root is needed. The kernel is Debian's cloud kernel, taken from where apt
installed it or from `.cache/kernel`, where tests/lab/install.sh unpacks it. Everything the guest does with its network, DHCP
included, is left to the tests: init only loads the modules and brings the links up. Perl, which every Debian has, is there for sockets
that no tool of busybox makes: UDP ones.
"""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.netns import REPOSITORY

MODULES = ("virtio_pci", "virtio_net", "virtio_rng", "af_packet")
PROGRAMS = ("perl",)  # with the libraries that they are linked to
LINKED = re.compile(r"(/\S+) \(0x")  # in what ldd prints
DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")  # a module's own word, in its .modinfo section
ROOTS = (REPOSITORY / ".cache" / "kernel", Path("/"))
MAGIC = "070701"
TRAILER = "TRAILER!!!"
CONSOLE = (5, 1)  # major and minor number of /dev/console

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
ip link set lo up
ip link set eth0 up
cd /root
export PS1='guest# ' HOME=/root
setsid cttyhack sh
poweroff -f
"""

UDHCPC = """#!/bin/sh
# Called by udhcpc with what the lease says.
case $1 in bound|renew) ;; *) exit 0 ;; esac
ip addr flush dev $interface
ip addr add $ip/$mask dev $interface
ip route add default via $router
for server in $dns; do echo nameserver $server; done > /etc/resolv.conf
[ -z "$mtu" ] || ip link set $interface mtu $mtu
"""


@dataclass(frozen=True)
class Kernel:
    """image: what QEMU boots. modules: the folder of that release's modules."""

    image: Path
    modules: Path


def find_kernel() -> Kernel | None:
    """Debian's newest cloud kernel here with its modules, or None."""
    for root in ROOTS:
        for image in sorted((root / "boot").glob("vmlinuz-*-cloud-amd64"), reverse=True):
            release = image.name.removeprefix("vmlinuz-")
            for library in ("lib", "usr/lib"):
                modules = root / library / "modules" / release
                if (modules / "kernel").is_dir():
                    return Kernel(image, modules)
    return None


def build(kernel: Kernel, busybox: Path, programs: tuple[str, ...] = PROGRAMS) -> bytes:
    """The archive, gzipped. Raises FileNotFoundError where a program is not here, CalledProcessError where it is not dynamically linked."""
    added = _with_libraries(programs)
    folders = dict.fromkeys([*_FOLDERS, *(name for path in added for name in _folders_of(path))])
    archive = b"".join(_entry(name, stat.S_IFDIR | 0o755) for name in folders)
    archive += _entry("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE)
    archive += _entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    archive += _entry("init", stat.S_IFREG | 0o755, INIT.encode())
    archive += _entry("etc/udhcpc/default.script", stat.S_IFREG | 0o755, UDHCPC.encode())
    for path in added:
        archive += _entry(str(path).lstrip("/"), stat.S_IFREG | 0o755, path.read_bytes())
    for number, module in enumerate(in_load_order(kernel.modules)):
        archive += _entry(f"modules/{number:02}.ko", stat.S_IFREG | 0o644, module)
    return gzip.compress(archive + _entry(TRAILER, 0), 1)


def in_load_order(modules: Path) -> list[bytes]:
    """MODULES with all that they need, each after what it needs, unpacked; what is built in has no file and is left out."""
    files = {_name(path): path for path in (modules / "kernel").rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in files and name not in ordered:
            module = _unpacked(files[name])
            needed = DEPENDS.search(module)
            for other in needed[1].decode().split(",") if needed else ():
                add(other.replace("-", "_"))
            ordered[name] = module

    for name in MODULES:
        add(name)
    return list(ordered.values())


def _with_libraries(programs: tuple[str, ...]) -> list[Path]:
    """Where these are, and the files that the dynamic linker will want for them."""
    files = []
    for program in programs:
        path = shutil.which(program)
        if path is None:
            raise FileNotFoundError(program)
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True, timeout=10)
        files += [Path(path), *map(Path, LINKED.findall(linked.stdout))]
    return list(dict.fromkeys(files))


def _folders_of(path: Path) -> list[str]:
    """Those above it, the outermost first, without the root."""
    return [str(folder).lstrip("/") for folder in reversed(path.parents[:-1])]


_FOLDERS = ("bin", "dev", "etc", "etc/udhcpc", "modules", "proc", "root", "sys", "tmp", "var", "var/run")


def _entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    raw = name.encode() + b"\0"
    #  inode, mode, uid, gid, links, mtime, size, device of the archive (2), device itself (2), length of the name, checksum (unused)
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(raw), 0)
    head = (MAGIC + "".join(f"{number:08x}" for number in numbers)).encode() + raw
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def _name(path: Path) -> str:
    """A module's name from its path: one name is written with either `-` or `_`."""
    return path.name.partition(".ko")[0].replace("-", "_")


def _unpacked(module: Path) -> bytes:
    raw = module.read_bytes()
    return lzma.decompress(raw) if module.suffix == ".xz" else raw
