"""Copying a directory of the image into an empty volume or tmpfs, with owners, modes, times and attributes.

Both sides are held by descriptors; no symbolic link is followed, and nothing that exists is overwritten.
"""

from __future__ import annotations

import errno
import os

from rootless.linux.path import openat2

_TYPE, _REGULAR, _DIRECTORY, _LINK, _FIFO = 0o170000, 0o100000, 0o040000, 0o120000, 0o010000
_CHUNK = 1 << 26
_DEEPEST = 512
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def fill_volume(root: int, path: str, volume: int) -> None:
    """Copy the directory ``path`` of the image into ``volume`` if that is empty; an absent one is no error.

    ``root`` and ``volume`` are open directories; ``path`` is resolved inside ``root``.
    """
    with os.scandir(volume) as entries:
        if next(entries, None) is not None:
            return
    try:
        source = openat2(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    copy_directory(source, volume)
    os.close(source)


def copy_directory(source: int, destination: int, depth: int = 0) -> None:
    """Copy the content and the attributes of one open directory to another."""
    if depth > _DEEPEST:
        raise OSError(errno.ELOOP, "copy: directories are nested too deeply")
    with os.scandir(source) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        _copy(source, destination, name, depth)
    _attributes(source, destination, os.fstat(source))


def _copy(source: int, destination: int, name: str, depth: int) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = status.st_mode & _TYPE
    try:
        if kind == _DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=destination)
        elif kind == _LINK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=destination)
        elif kind == _FIFO:
            os.mkfifo(name, 0o600, dir_fd=destination)
        elif kind != _REGULAR:
            return
    except FileExistsError:
        return
    if kind in (_LINK, _FIFO):
        if _differs(os.stat(name, dir_fd=destination, follow_symlinks=False), status):
            os.chown(name, status.st_uid, status.st_gid, dir_fd=destination, follow_symlinks=False)
        if kind == _FIFO:
            os.chmod(name, status.st_mode & 0o7777, dir_fd=destination)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=destination, follow_symlinks=False)
        return
    reader = os.open(name, _OPEN, dir_fd=source)
    try:
        if kind == _DIRECTORY:
            writer = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=destination)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            writer = os.open(name, flags, 0o600, dir_fd=destination)
        try:
            if kind == _DIRECTORY:
                copy_directory(reader, writer, depth + 1)
            else:
                _content(reader, writer, status.st_size)
                _attributes(reader, writer, os.fstat(reader))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _differs(there: os.stat_result, wanted: os.stat_result) -> bool:
    """Whether two files have not the same owner and group: a file system may refuse a change even to the same."""
    return (there.st_uid, there.st_gid) != (wanted.st_uid, wanted.st_gid)


def _content(reader: int, writer: int, size: int) -> None:
    try:
        while size > 0 and (count := os.copy_file_range(reader, writer, min(size, _CHUNK))):
            size -= count
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    while os.sendfile(writer, reader, None, _CHUNK):
        pass


def _attributes(source: int, destination: int, status: os.stat_result) -> None:
    if _differs(os.fstat(destination), status):
        os.fchown(destination, status.st_uid, status.st_gid)
    os.fchmod(destination, status.st_mode & 0o7777)
    try:
        names = os.listxattr(source)
    except OSError:
        names = []
    for name in names:
        if name.startswith(("user.overlay.", "trusted.")):
            continue
        try:
            os.setxattr(destination, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENODATA):
                raise
    os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns))
