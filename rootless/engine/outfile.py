"""Files that a command writes for its user: complete or not there at all, with the modes that his umask leaves."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cannot_write(where: str, error: OSError) -> RootlessError:
    """The error for a file of the user's that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return RootlessError(
        f"cannot write {where}: {os.strerror(error.errno) if error.errno else error}",
        "free some space, or write to another disk" if full else "",
    )


@contextmanager
def new_file(path: str, umask: int) -> Iterator[int]:
    """A descriptor of a file that takes the place of ``path`` on leaving, and is gone when that is by an error.

    What is no regular file, such as a pipe or a device, is written to as it is. Raises RootlessError.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        fd = _open(lambda: os.open(path, os.O_WRONLY | os.O_CLOEXEC), path)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    target = os.path.realpath(path)
    directory = _open(lambda: os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)
    try:
        yield from _unnamed(directory, os.path.basename(target), path, umask)
    finally:
        os.close(directory)


@contextmanager
def new_file_in(directory: int, base: str, path: str, umask: int) -> Iterator[int]:
    """As ``new_file``, for the name ``base`` in an open directory; what has that name is replaced, never followed.

    ``path`` is what errors call it.
    """
    yield from _unnamed(directory, base, path, umask)


def _unnamed(directory: int, base: str, path: str, umask: int) -> Iterator[int]:
    """A descriptor of a file without a name, which a killed writer leaves nothing of; at the end it is ``base``.

    Where the file system has no such files it has a name of its own from the beginning.
    """
    temporary = f".{base[:200]}.{os.urandom(4).hex()}"
    named = False
    with with_umask(umask):
        try:
            fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o644, dir_fd=directory)
        except OSError:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = _open(lambda: os.open(temporary, flags, 0o644, dir_fd=directory), path)
            named = True
    try:
        try:
            yield fd
            if not named:
                os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=directory)
                named = True
        finally:
            os.close(fd)
        os.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException as error:
        if named:
            os.unlink(temporary, dir_fd=directory)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise cannot_write(path, error) from None
        raise


def _open(opening: Callable[[], int], path: str) -> int:
    try:
        return opening()
    except OSError as error:
        raise cannot_write(path, error) from None


@contextmanager
def with_umask(umask: int) -> Iterator[None]:
    """Make files with the modes that ``umask`` leaves, for as long as this is open."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)
