"""A root file system of fuse-overlayfs. Mounted by the shim, which is not in the container's pid namespace."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux import signals
from rootless.linux.libc import MS_NODEV, close_on_exec_from, die_with_parent, mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers.base import RootfsMount

_UNSAFE = frozenset(":,\\")
_MOUNT_OPTIONS = "rootmode=40000,allow_other,default_permissions"


def mount_fuse(root: RootfsMount, helper: str, guarded: bool) -> int:
    """Mount ``root`` and start the file system's process; its pid. ``guarded``: it dies with this process.

    The mount is made here and handed over as a descriptor, so the process needs no set-id helper and no name of the
    mount point, and whoever looks into the mount waits until it is served.
    """
    if ":" in root["upper"]:
        # The helper turns the descriptor's name into the path again, and takes that for two.
        raise RootlessError(f"cannot mount fuse-overlayfs: {root['upper']} has a colon", "move the data directory")
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        # Not 0: a map of the caller alone under its own id (keep-id) has none.
        owner = f"user_id={os.getuid()},group_id={os.getgid()}"
        mount("fuse-overlayfs", root["merged"], "fuse", MS_NODEV, f"fd={device},{owner},{_MOUNT_OPTIONS}")
    except OSError as error:
        raise RootlessError(f"cannot mount fuse-overlayfs: {error.strerror}", "is /dev/fuse accessible?") from error
    held: list[int] = []
    options = ["lowerdir=" + ":".join(_plain(path, held) for path in root["lower"])]
    if root["upper"]:
        options += [f"upperdir={_plain(root['upper'], held)}", f"workdir={_plain(root['work'], held)}"]
    arguments = [helper, "-f", "-o", ",".join([*options, *root["options"]]), f"/dev/fd/{device}"]
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            if guarded:
                die_with_parent(signals.SIGKILL, shim)
            os.setsid()
            signals.reset()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, 0)
            os.dup2(null, 1)
            os.dup2(null, 2)
            close_on_exec_from(3)
            for fd in (device, *held):
                os.set_inheritable(fd, True)
            os.execve(helper, arguments, {})
        finally:
            os._exit(127)
    for fd in (device, *held):
        os.close(fd)
    return pid


def _plain(path: str, held: list[int]) -> str:
    """The path, or a descriptor's name for it where it has a character that the helper interprets."""
    if _UNSAFE.isdisjoint(path):
        return path
    held.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{held[-1]}"
