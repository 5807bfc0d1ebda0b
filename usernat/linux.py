"""The Linux system calls that Python 3.11 has no name for: namespaces, mounts, process control.

Each function is the system call of its name, and raises OSError with its errno. Loaded only where namespaces are asked for.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000  # of the children to come, not of the caller
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Put the calling thread into new namespaces (`CLONE_NEW…`). A user namespace needs a process of one thread."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Mount a file system of that kind, bind a path (`MS_BIND`), or change how mounts propagate (`MS_SLAVE`)."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _checked(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


def detach_mount(target: str) -> None:
    """Take the mount out of the tree at once; it goes when its last user goes."""
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this process `number` when the thread that made it ends. Survives exec."""
    _checked(_prctl(_PR_SET_PDEATHSIG, number), "prctl(PR_SET_PDEATHSIG)")


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, so that it can find and reap them."""
    _checked(_prctl(_PR_SET_CHILD_SUBREAPER, 1), "prctl(PR_SET_CHILD_SUBREAPER)")


def _prctl(option: int, argument: int) -> int:
    zero = ctypes.c_ulong(0)
    result: int = _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero)
    return result
