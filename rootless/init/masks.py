"""The paths that a container's program may not see, or not change."""

from __future__ import annotations

import errno
import os

from rootless.init.ops import attach
from rootless.linux.mountapi import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
    new_mount,
    open_tree,
)
from rootless.linux.path import open_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless.init.ops import Site

_DIRECTORY, _TYPE = 0o040000, 0o170000


def _present(site: Site, paths: list[str]) -> Iterator[tuple[str, int]]:
    """Those of the paths that the container has, each with a descriptor of it."""
    for path in paths:
        try:
            target = open_inside(site.root, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                continue
            raise
        yield path, target


def mask(site: Site, paths: list[str]) -> None:
    """Hide each path: a file behind /dev/null, a directory behind an empty read-only tmpfs. Absent ones are skipped."""
    for path, target in _present(site, paths):
        directory = os.fstat(target).st_mode & _TYPE == _DIRECTORY
        mount = _empty(site) if directory else open_tree(site.open_null())
        attach(mount, target, path)
        os.close(mount)


def _empty(site: Site) -> int:
    """A mount of one empty read-only tmpfs, the same for all masks: each mount of it is a copy."""
    if site.empty < 0:
        restrict = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        site.empty = new_mount("tmpfs", [("size", "4k"), ("nr_inodes", "1"), ("mode", "755")], restrict)
        return os.dup(site.empty)
    return open_tree(site.empty)


def make_read_only(site: Site, paths: list[str]) -> None:
    """Make each path, and what is mounted below it, read-only. Absent paths are skipped."""
    for path, target in _present(site, paths):
        mount = open_tree(target, recursive=True)
        mount_setattr(mount, MOUNT_ATTR_RDONLY, recursive=True)
        attach(mount, target, path)
        os.close(mount)
