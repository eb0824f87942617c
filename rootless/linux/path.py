"""Paths below a root that is not trusted: every step by openat2(2) inside it.

``root`` is a descriptor of a directory. Symbolic links are followed, absolute ones from ``root``; ``..`` stops there;
the magic links of /proc are refused (ELOOP). Nothing here can name a file outside.
"""

from __future__ import annotations

import errno
import os
from _struct import pack

from rootless.linux.libc import c_char_p, c_int, c_ulong, fail, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.libc import Path

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
O_PATH = os.O_PATH
_RETRIES = 128
_CHUNK = 1 << 16

_openat2 = system_call(c_int, c_char_p, c_char_p, c_ulong)


def openat2(directory: int, path: Path, flags: int, mode: int = 0, resolve: int = INSIDE) -> int:
    """openat2(2), close-on-exec. EAGAIN, the kernel's answer to a rename under its feet, is tried again."""
    how = pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for _ in range(_RETRIES):
        result = _openat2(437, directory, name, how, 24)
        if result >= 0:
            return result
        try:
            fail("openat2", path)
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, "openat2: the path keeps changing", path)


def open_inside(root: int, path: Path, flags: int = O_PATH, mode: int = 0) -> int:
    """Open ``path`` as it is seen from inside ``root``. An absolute path starts at ``root``."""
    return openat2(root, path, flags, mode)


def open_regular(root: int, path: Path) -> int | None:
    """Open a regular file inside ``root`` for reading, or ``None`` where there is none.

    FIFOs, devices and directories count as absent: the content of an image cannot block or feed the reader.
    """
    try:
        fd = openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.ENODEV):
            return None
        raise
    if os.fstat(fd).st_mode & 0o170000 != 0o100000:
        os.close(fd)
        return None
    return fd


def read_regular(root: int, path: Path, limit: int) -> bytes | None:
    """The first ``limit`` bytes of a regular file inside ``root``, or ``None`` where there is none."""
    fd = open_regular(root, path)
    if fd is None:
        return None
    try:
        parts = []
        while limit > 0:
            part = os.read(fd, min(limit, _CHUNK))
            if not part:
                break
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def make_directory(root: int, path: str, mode: int = 0o755, *, links: int = 8) -> int:
    """Open the directory ``path`` inside ``root``, making what is missing of it; an ``O_PATH`` descriptor.

    A dangling symbolic link on the way gets its target made, inside ``root`` too, at most ``links`` times.
    """
    try:
        return openat2(root, path, O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    current, done = os.dup(root), ""
    try:
        for part in path.split("/"):
            if part in ("", "."):
                continue
            following = _enter(root, current, done, part, mode, links)
            os.close(current)
            current, done = following, f"{done}/{part}"
    except BaseException:
        os.close(current)
        raise
    return current


def _enter(root: int, parent: int, above: str, part: str, mode: int, links: int) -> int:
    """Open ``above/part``, making it if it is missing; ``parent`` is ``above`` opened."""
    path = f"{above}/{part}"
    for _ in range(_RETRIES):
        try:
            return openat2(root, path, O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            if part == "..":
                raise
        try:
            os.mkdir(part, mode, dir_fd=parent)
        except FileExistsError:
            # A dangling link stands there, or another process was faster: then the next round opens it.
            try:
                target = os.readlink(part, dir_fd=parent)
            except OSError:
                continue
            if not links:
                raise OSError(errno.ELOOP, "mkdir: too many dangling symbolic links", path) from None
            if not target.startswith("/"):
                target = f"{above}/{target}"
            os.close(make_directory(root, target, mode, links=links - 1))
    raise OSError(errno.EAGAIN, "mkdir: the path keeps changing", path)


def make_file(root: int, path: str, mode: int = 0o644, *, links: int = 8) -> int:
    """Open the file ``path`` inside ``root``, making an empty one and its directories if missing; ``O_PATH``.

    Dangling symbolic links get their targets made, as in :func:`make_directory`.
    """
    try:
        return openat2(root, path, O_PATH)
    except FileNotFoundError:
        pass
    head, _, tail = path.rstrip("/").rpartition("/")
    if tail in ("", ".", ".."):
        raise OSError(errno.EISDIR, "open: not the name of a file", path)
    parent = make_directory(root, head or "/")
    try:
        target = _dangling(parent, tail)
    finally:
        os.close(parent)
    if target:
        if not links:
            raise OSError(errno.ELOOP, "open: too many dangling symbolic links", path)
        return make_file(root, target if target.startswith("/") else f"{head}/{target}", mode, links=links - 1)
    os.close(openat2(root, path, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY, mode))
    return openat2(root, path, O_PATH)


def _dangling(parent: int, name: str) -> str:
    """What the symbolic link ``name`` points to; empty if it is none."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return ""
