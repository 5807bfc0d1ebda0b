"""The guest's namespaces: what is in them of users, mounts, processes and network.

The user namespace owns the other three, so whatever capability the command has in there, it has none over the host's namespaces, nor over a
process outside. An ordinary user keeps its own user and group id, the only ones that the kernel lets it map, and loses all capabilities
when the command is executed. Root keeps every id that it had, each mapped to itself: the command has root's files, and root's capabilities over
its own namespaces alone. The right to write such a map is in the user namespace that is left, so a child writes it that stays behind there.
Root that was robbed of that right, as in some containers, maps itself alone, like everybody else.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from usernat import linux

_OWNED = linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWPID
_MAPS = ("uid_map", "gid_map")


def enter_namespaces(*, real_root: bool = False) -> None:
    """Put this process into new namespaces, and its children to come into a new PID namespace.

    real_root: make no user namespace, which takes CAP_SYS_ADMIN. The command then is root as the machine knows it, and can leave.
    Raises OSError that says what the machine does not allow.
    """
    try:
        if real_root:
            linux.unshare(_OWNED)
        elif os.geteuid() == 0:
            _unshare_with_all_ids()
        else:
            _unshare_with_own_id()
    except OSError as error:
        raise OSError(error.errno, _reason(error, real_root=real_root)) from error
    # Our mounts stay ours, while the host's mounts and unmounts still come through.
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_SLAVE)


def _reason(error: OSError, *, real_root: bool) -> str:
    if real_root:
        return f"cannot make network, mount and PID namespaces: {error.strerror}"
    hint = " (as root, --real-root does without the first)" if os.geteuid() == 0 else ""
    return f"cannot make user, network, mount and PID namespaces: {error.strerror}{hint}"


def show_own_processes() -> bool:
    """Mount a /proc of this process's PID namespace; False where that is not allowed.

    The kernel allows it to a user namespace only where the old /proc hides nothing, and containers like to hide some of it. The command then
    sees the processes of before with their ids of before, which name nothing that it could signal or enter.
    """
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError:
        return False
    return True


def _unshare_with_own_id() -> None:
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(_OWNED | linux.CLONE_NEWUSER)
    _map_own_id(uid, gid)


def _unshare_with_all_ids() -> None:
    uid, gid = os.geteuid(), os.getegid()
    own = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    go, told = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(told)
        _map_when_told(go, own)
    os.close(go)
    try:
        linux.unshare(_OWNED | linux.CLONE_NEWUSER)
        os.write(told, b"!")
    finally:
        os.close(told)
        os.waitpid(mapper, 0)
        os.close(own)
    _map_own_id(uid, gid)


def _map_when_told(go: int, keeper: int) -> None:
    """The mapper: give the keeper, known by its directory of /proc, all the ids of here; without the right to, do nothing."""
    try:
        if os.read(go, 1):
            for name in _MAPS:
                with contextlib.suppress(OSError):
                    _write_all(keeper, name, _identity(Path("/proc/self", name).read_text(encoding="ascii")))
    finally:
        os._exit(0)


def _identity(ranges: str) -> str:
    """The map of every id of this user namespace to itself. A range has to be within one of ours, so they are taken over singly."""
    lines = [line.split() for line in ranges.splitlines()]
    return "".join(f"{first} {first} {count}\n" for first, _, count in lines)


def _write_all(directory: int, name: str, text: str) -> None:
    """The kernel takes a map in one write, and only once."""
    file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(file, text.encode("ascii"))
    finally:
        os.close(file)


def _map_own_id(uid: int, gid: int) -> None:
    """Map what is not mapped yet."""
    for name, own in zip(_MAPS, (uid, gid), strict=True):
        path = Path("/proc/self", name)
        if path.read_text(encoding="ascii"):
            continue
        if name == "gid_map":
            # Giving up setgroups is the price of writing a gid map without privileges (user_namespaces(7)).
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        path.write_text(f"{own} {own} 1", encoding="ascii")
