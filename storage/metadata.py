"""Owners and attributes of files, on file systems that may refuse both (NFS, FAT, FUSE)."""

from __future__ import annotations

import errno
import os

_NONE = (errno.EOPNOTSUPP, errno.ENOSYS)


def own(fd: int, uid: int, gid: int) -> None:
    """Give an open file its owner; one that has it already is left alone, as a change to the same may be refused."""
    there = os.fstat(fd)
    if (there.st_uid, there.st_gid) != (uid, gid):
        os.fchown(fd, uid, gid)


def own_entry(directory: int, name: str | bytes, uid: int, gid: int) -> None:
    """The same for an entry of a directory that must not be opened."""
    there = os.lstat(name, dir_fd=directory)
    if (there.st_uid, there.st_gid) != (uid, gid):
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)


def attributes(fd: int) -> list[str]:
    """The names of a file's extended attributes; none where the file system has none."""
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno in _NONE:
            return []
        raise
