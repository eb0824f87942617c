"""A real tree, described as :mod:`tests.support.treemodel` describes what an archive should become."""

from __future__ import annotations

import os
import stat

from tests.support.treemodel import Description


def describe(root: str, implied: set[str], owners: bool, hidden: bool = False, prefix: str = "") -> Description:
    """The tree below ``root``, as ``Model.describe`` describes it: all that is hidden anyway is left out."""
    status = os.lstat(root)
    opaque = "user.overlay.opaque" in os.listxattr(root)
    name = prefix or "/"
    mode = stat.S_IMODE(status.st_mode)
    known = name not in implied
    ids: tuple[int, ...] = (status.st_uid, status.st_gid) if owners and known else ()
    found: Description = {name: ("dir", mode if known else mode & 0o777, ids, opaque and not hidden, not known)}
    hidden = hidden or opaque
    with os.scandir(root) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            path = f"{prefix}/{entry.name}"
            if stat.S_ISDIR(status.st_mode):
                found |= describe(entry.path, implied, owners, hidden, path)
            elif stat.S_ISCHR(status.st_mode):
                if not hidden:
                    found[path] = ("hidden",)
            else:
                found[path] = _leaf(entry.path, status, owners)
    return found


def _leaf(path: str, status: os.stat_result, owners: bool) -> tuple[object, ...]:
    kind, text, note = "fifo", "", b""
    if stat.S_ISLNK(status.st_mode):
        kind, text = "->", os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        kind = "file"
        names = os.listxattr(path)
        if names and owners:
            note = os.getxattr(path, "user.note") if names == ["user.note"] else repr(names).encode()
        if 0 < status.st_size < 1 << 16:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            text = os.read(fd, 1 << 16).decode("utf-8", "replace")
            os.close(fd)
    ids = (status.st_uid, status.st_gid) if owners else ()
    return kind, text, stat.S_IMODE(status.st_mode), ids, int(status.st_mtime), status.st_nlink, note


def clear(root: str) -> None:
    """Remove what is in a directory that nobody else uses."""
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                clear(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)
