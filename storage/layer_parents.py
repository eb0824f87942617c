"""Directories that a layer has no entry for, though it has entries in them.

In a stack of directories the topmost one decides over owner, mode and times: ``tmp/x`` without ``tmp/`` would turn the
/tmp of the layer below from 1777 into 0755. Such a directory gets the metadata of the nearest lower layer's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from storage import sys as calls
from storage.archive.xattrs import is_steering
from storage.metadata import attributes, own

_RESOLVE = calls.RESOLVE_BENEATH | calls.RESOLVE_NO_SYMLINKS | calls.RESOLVE_NO_MAGICLINKS
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_AT_MOST = 20_000  # directories of one layer; a real one has a handful


def complete_parents(
    tree_of: Callable[[str], str], diff_ids: list[str], records: Mapping[str, Mapping[str, object]]
) -> None:
    """Give every implicit directory of the new layers ``records`` the metadata of the one below it.

    ``diff_ids``: the image's layers, base first. ``tree_of`` names the directory of each. Base first too, so that a
    chain of implicit directories gets it from the lowest.
    """
    lower: list[int] = []
    try:
        for diff_id in dict.fromkeys(diff_ids):
            implicit = records[diff_id]["implicit"] if diff_id in records else ()
            try:
                root = os.open(tree_of(diff_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:  # not unpacked: another process removed it, or it was not asked for
                continue
            lower.append(root)
            if isinstance(implicit, list) and len(lower) > 1:
                for path in implicit[:_AT_MOST]:
                    _complete(root, lower[-2::-1], os.fsencode(path))
    finally:
        for fd in lower:
            os.close(fd)


def _open(root: int, path: bytes) -> int:
    return calls.openat2(root, path or b".", _OPEN, _RESOLVE)


def _complete(root: int, below: list[int], path: bytes) -> None:
    """Copy the metadata of the topmost directory ``path`` of ``below`` (topmost first), if there is one."""
    try:
        target = _open(root, path)
    except OSError:
        return  # a later entry of the layer put something else in its place
    try:
        for lower in below:
            try:
                source = _open(lower, path)
            except OSError:
                continue  # absent, or something else (a whiteout, a symlink) in that layer
            try:
                _copy(source, target)
            finally:
                os.close(source)
            return
    finally:
        os.close(target)


def _copy(source: int, target: int) -> None:
    status = os.fstat(source)
    own(target, status.st_uid, status.st_gid)
    for name in attributes(source):
        if not is_steering(os.fsencode(name)):
            os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
