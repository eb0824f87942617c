"""Does a driver work for this store? Found by mounting two small layers, not by the kernel's version."""

from __future__ import annotations

import errno
import os
import stat

from storage.drivers.fuse_overlayfs import FuseOverlayfsDriver, find_helper
from storage.drivers.overlay import OverlayDriver
from storage.errors import os_error
from storage.layout import Layout
from storage.work import WorkDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers import Probe
    from storage.drivers.base import Driver


def overlay(layout: Layout, probe: Probe) -> str:
    """Try the kernel's overlay; returns an empty text, or why it does not work. Raises StorageError."""
    return _try(layout, probe, OverlayDriver(layout, ""))


def fuse_overlayfs(layout: Layout, probe: Probe) -> str:
    """Try fuse-overlayfs; returns an empty text, or why it does not work. Raises StorageError."""
    helper = find_helper()
    if not helper:
        return "fuse-overlayfs is not installed"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    return _try(layout, probe, FuseOverlayfsDriver(layout, "", helper))


def _try(layout: Layout, probe: Probe, driver: Driver) -> str:
    """Mount a lower layer with the files ``kept`` and ``gone`` below one that hides ``gone``."""
    with WorkDirectory(layout) as work:
        lower, top = f"{work.path}/lower", f"{work.path}/top"
        try:
            for directory in (lower, top):
                os.mkdir(directory, 0o755)
            for name in ("kept", "gone"):
                os.close(os.open(f"{lower}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            try:
                os.mknod(f"{top}/gone", stat.S_IFCHR, 0)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                return "the store's file system has no whiteouts (character devices 0:0)"
        except OSError as error:
            raise os_error(f"cannot try a storage driver in {work.path}", error) from error
        return probe(driver.prepare(work.path, [lower, top]))
