"""Trying a root file system: mounted in namespaces of its own, changed a little, and gone with them."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.init.ops import Site
from rootless.init.rootfs import Rootfs
from rootless.linux.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers.base import RootfsMount


# For want of memory, descriptors, namespaces or space, or because the process of the file system was killed.
_PASSING = frozenset((
    errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOTCONN,
    errno.ECONNABORTED,
))  # fmt: skip


def attempt(mount: RootfsMount) -> str:
    """Mount, make a file, replace ``kept``, remove it; empty, or what failed. Runs as root of a user namespace.

    Raises OSError or RootlessError where the failure says nothing of the driver.
    """
    try:
        return _use(mount)
    except (OSError, RootlessError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            raise
        return str(error.strerror or error) if isinstance(error, OSError) else error.message


def _use(mount: RootfsMount) -> str:
    site = Site()
    helper = 0
    if mount["kind"] == "fuse-overlayfs":
        from rootless.init.fuse import mount_fuse

        helper = mount_fuse(mount, mount.get("helper", ""), True)
    try:
        rootfs = Rootfs(mount)
        rootfs.reach()
        rootfs.open(site)
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=rootfs.attach())
        if "gone" in os.listdir(root):
            return "a file that an upper layer hides is still seen"
        os.close(os.open("made", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=root))
        fd = os.open("kept", os.O_WRONLY | os.O_TRUNC, dir_fd=root)
        os.write(fd, b"changed")
        os.fchown(fd, 0, 0)
        os.close(fd)
        os.rename("made", "kept", src_dir_fd=root, dst_dir_fd=root)
        os.unlink("kept", dir_fd=root)
        return ""
    finally:
        if helper:
            # The mount goes with this namespace; its process has nothing left to serve.
            os.kill(helper, SIGKILL)
            os.waitpid(helper, 0)
