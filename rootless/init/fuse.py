"""A root file system of fuse-overlayfs. Mounted by the shim, which is not in the container's pid namespace."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux import signals
from rootless.linux.libc import MS_NODEV, close_on_exec_from, die_with_parent, mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers.base import RootfsMount

_MOUNT_OPTIONS = "rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"


def mount_fuse(root: RootfsMount, helper: str) -> int:
    """Mount ``root`` and start the file system's process; its pid.

    The mount is made here and handed over as a descriptor, so the process needs no set-id helper and no name of the
    mount point, and whoever looks into the mount waits until it is served.
    """
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        mount("fuse-overlayfs", root["merged"], "fuse", MS_NODEV, f"fd={device},{_MOUNT_OPTIONS}")
    except OSError as error:
        raise RootlessError(f"cannot mount fuse-overlayfs: {error.strerror}", "is /dev/fuse accessible?") from error
    options = ["lowerdir=" + ":".join(_escape(path) for path in root["lower"])]
    if root["upper"]:
        options += [f"upperdir={_escape(root['upper'])}", f"workdir={_escape(root['work'])}"]
    arguments = [helper, "-f", "-o", ",".join([*options, *root["options"]]), f"/dev/fd/{device}"]
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent(signals.SIGKILL, shim)
            signals.reset()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, 0)
            os.dup2(null, 1)
            os.dup2(null, 2)
            close_on_exec_from(3)
            os.set_inheritable(device, True)
            os.execve(helper, arguments, {})
        finally:
            os._exit(127)
    os.close(device)
    return pid


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
