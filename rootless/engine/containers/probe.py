"""Trying a root file system: mounted in namespaces of its own, changed a little, and gone with them."""

from __future__ import annotations

import os

from rootless.init.ops import Site
from rootless.init.rootfs import Rootfs
from rootless.linux.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers.base import RootfsMount


def attempt(mount: RootfsMount) -> str:
    """Mount, make a file, replace ``kept``, remove it; empty, or what failed. Runs as root of a user namespace."""
    site = Site()
    helper = 0
    if mount["kind"] == "fuse-overlayfs":
        from rootless.init.fuse import mount_fuse

        helper = mount_fuse(mount, mount.get("helper", ""))
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
