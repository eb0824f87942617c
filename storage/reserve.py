"""A megabyte and an inode set aside so that a full disk can be emptied.

Deleting an image rewrites the index, and moving things to the trash may grow a directory. On a disk without a free
byte or inode both would fail and nothing could ever be removed; the reserve is spent on exactly these.

The bytes are given back by cutting the file, not by its removal: the monitors of running containers may be confined by
Landlock, whose rules hold the inodes that they name, and what is held is not freed. The inode is that of another file.
"""

from __future__ import annotations

import os

from storage.errors import NoSpaceError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from storage.layout import Layout

    Result = TypeVar("Result")

SIZE = 1 << 20
_LEAST = 1 << 14


def fill(layout: Layout) -> bool:
    """Set the reserve aside, or as much of it as there is space for; return whether there is any now.

    Called when something was deleted: cheap if the reserve was not touched.
    """
    try:
        os.close(os.open(layout.spare, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        if os.lstat(layout.reserve).st_size >= SIZE:
            return True
    except OSError:
        pass  # spent
    try:
        fd = os.open(layout.reserve, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        size = SIZE
        while size >= _LEAST:
            try:
                os.posix_fallocate(fd, 0, size)
                return True
            except OSError:
                size //= 2
    finally:
        os.close(fd)
    return False


def spend(layout: Layout) -> bool:
    """Give the reserve back to the file system; return whether there was any."""
    spent = False
    try:
        if os.lstat(layout.reserve).st_size:
            os.truncate(layout.reserve, 0)
            spent = True
    except OSError:
        pass
    try:
        os.unlink(layout.spare)
    except OSError:
        return spent
    return True


def deleting(layout: Layout, step: Callable[[], Result], message: str) -> Result:
    """Run a step of a deletion; when the disk is full, once more after spending the reserve.

    Raises ``StorageError`` that begins with ``message`` if the step raises ``OSError``.
    """
    try:
        try:
            return step()
        except NoSpaceError:
            if not spend(layout):
                raise
        except OSError as error:
            if not isinstance(os_error("", error), NoSpaceError) or not spend(layout):
                raise
        return step()
    except OSError as error:
        raise os_error(message, error) from error
