"""Deletion of directory trees, however deep, by file descriptor and without following a link."""

from __future__ import annotations

import os

from storage import atomic, reserve
from storage.errors import NotFoundError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.layout import Layout

    DeleteTree = Callable[[str], None]
    """Removes a tree with files of the user's subordinate ids; passed in by the engine, which can enter a namespace."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _open_own(name: str, parent: int) -> int:
    """Open a directory, if need be after giving its owner (us) all rights."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.fchmod(fd, 0o700)
        return fd
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            # chmod follows links and fchmod refuses O_PATH: the magic link leads to this very directory.
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        return os.open(name, _DIRECTORY, dir_fd=parent)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _empty_into(name: str, top: int, fresh: list[str]) -> None:
    """Remove directory ``name`` of ``top``: its files are unlinked, its directories moved up to ``top``."""
    fd = _open_own(name, top)
    try:
        with os.scandir(fd) as entries:
            inside = [(entry.name, _is_directory(entry)) for entry in entries]
        for child, is_directory in inside:
            if not is_directory:
                os.unlink(child, dir_fd=fd)
                continue
            try:
                os.rmdir(child, dir_fd=fd)
            except OSError:
                moved = f".{os.urandom(8).hex()}"
                os.close(_open_own(child, fd))
                os.rename(child, moved, src_dir_fd=fd, dst_dir_fd=top)
                fresh.append(moved)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top)


def delete(path: str) -> bool:
    """Delete the tree at ``path`` as far as our own rights reach; return whether nothing of it is left.

    Directories are flattened first, so neither depth nor the number of open files matters.
    """
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return True
    except OSError:
        try:
            os.unlink(path)
        except OSError:
            return not os.path.lexists(path)
        return True
    try:
        with os.scandir(top) as entries:
            inside = [(entry.name, _is_directory(entry)) for entry in entries]
        directories = [name for name, is_directory in inside if is_directory]
        for name, is_directory in inside:
            try:
                if not is_directory:
                    os.unlink(name, dir_fd=top)
            except OSError:
                continue  # what is left keeps the directory from being removed
        while directories:
            try:
                _empty_into(directories.pop(), top, directories)
            except OSError:
                continue
        os.rmdir(path)
    except OSError:
        return not os.path.lexists(path)
    finally:
        os.close(top)
    return True


def to_trash(layout: Layout, path: str) -> str:
    """Move ``path`` out of sight and return where it is now, for ``empty``. It is deleted for every reader at once.

    Needs no space on the disk. Raises ``NotFoundError`` if there is no such path.
    """
    trash = layout.new_trash()

    def move() -> None:
        try:
            os.rename(path, trash)
        except FileNotFoundError:
            raise NotFoundError(f"cannot delete {path}: it is gone") from None

    reserve.deleting(layout, move, f"cannot delete {path}")
    return trash


def settle(layout: Layout, place: str) -> None:
    """Have it on disk that what was moved from ``place`` is in the trash, before a file of it goes: else it could come
    back after a power cut, and be taken to be whole. Raises ``StorageError``."""
    atomic.sync_directory(layout.trash)
    atomic.sync_directory(place)


def empty(path: str, delete_tree: DeleteTree | None = None) -> bool:
    """Delete ``path``, with the help of ``delete_tree`` where that is needed; return whether it is gone."""
    if delete(path):
        return True
    if delete_tree is None:
        return False
    try:
        delete_tree(path)
    except OSError as error:
        raise os_error(f"cannot delete {path}", error) from error
    return not os.path.lexists(path)
