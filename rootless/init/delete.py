"""Removing a tree by descriptors: no symbolic link is followed, and no file system below it is entered."""

from __future__ import annotations

import errno
import os

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 100


def delete_directory(path: str) -> None:
    """Delete the directory ``path`` and all below it. An absent path is no error."""
    head, _, name = path.rstrip("/").rpartition("/")
    try:
        parent = os.open(head or "/", _OPEN)
    except FileNotFoundError:
        return
    try:
        top = _open(parent, name)
        try:
            device = os.fstat(top).st_dev
            while _empty(top, top, device, 0):
                pass
        finally:
            os.close(top)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    finally:
        os.close(parent)


def _open(parent: int, name: str) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, _OPEN, dir_fd=parent)


def _empty(directory: int, top: int, device: int, depth: int) -> bool:
    """Delete what is in ``directory``. Directories that lie too deep are moved up into ``top``: then ``True``."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    moved = False
    for name, is_directory in found:
        try:
            if not is_directory:
                _unlink(directory, name)
            elif depth < _DEEPEST:
                moved |= _remove(directory, name, top, device, depth + 1)
            else:
                inode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
                os.rename(name, f".deep.{inode}", src_dir_fd=directory, dst_dir_fd=top)
                moved = True
        except FileNotFoundError:
            continue
    return moved


def _unlink(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except PermissionError:
        # The directory's owner may open it up.
        os.fchmod(directory, 0o700)
        os.unlink(name, dir_fd=directory)


def _remove(parent: int, name: str, top: int, device: int, depth: int) -> bool:
    directory = _open(parent, name)
    try:
        if os.fstat(directory).st_dev != device:
            raise OSError(errno.EXDEV, "delete: another file system is mounted there", name)
        moved = _empty(directory, top, device, depth)
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=parent)
    except PermissionError:
        os.fchmod(parent, 0o700)
        os.rmdir(name, dir_fd=parent)
    return moved
