"""The errors of the storage library.

::

    StorageError
    ├── NotFoundError             a named object is not there
    ├── NameInUseError            the name belongs to another object
    ├── DamagedError              a file of the store does not hold what it should
    ├── NoSpaceError              disk, inodes or quota are used up
    ├── InvalidReferenceError     not an image reference        (storage.reference)
    ├── InvalidDocumentError      not a valid manifest, …       (storage.oci)
    └── JSONError                 not a JSON document           (storage.jsonfast)
"""

from __future__ import annotations

import errno
import os


class StorageError(Exception):
    """The store cannot do what was asked.

    ``message`` is one line; ``hint`` names the command or setting that mends it (empty: there is none).
    """

    exit_code = 125

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFoundError(StorageError):
    """A named object is not in the store."""


class NameInUseError(StorageError):
    """The name belongs to another object."""


class DamagedError(StorageError):
    """A file of the store does not hold what it should; ``path`` is the file."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message, "see what is damaged with `rootless system check`")
        self.path = path


class NoSpaceError(StorageError):
    """The disk, its inodes or the user's quota are used up."""


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    errno.ENOSPC: "free some space, for example with `rootless system prune`",
    errno.EDQUOT: "your disk quota is used up: free some space, for example with `rootless system prune`",
    errno.EROFS: "the file system is mounted read-only: use another store with --root",
    errno.ENOLCK: "the file system has no locks: use a store on a local disk with --root",
    errno.EOPNOTSUPP: "the file system lacks what is needed here: use a store on a local disk with --root",
    errno.EMFILE: "raise the limit of open files with `ulimit -n`",
}


def os_error(message: str, error: OSError) -> StorageError:
    """Return the ``StorageError`` for a failed system call: ``message`` and the reason, with a hint where one helps."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    kind = NoSpaceError if error.errno in _NO_SPACE else StorageError
    return kind(f"{message}: {reason}", _HINTS.get(error.errno or 0, ""))


def shown(value: object, limit: int = 64) -> str:
    """Return ``value`` quoted for a message: control characters escaped, cut after ``limit`` characters."""
    text = value if isinstance(value, str) else str(type(value).__name__)
    cut = text[:limit]
    quoted = ascii(cut) if not cut.isprintable() else f'"{cut}"'
    return quoted if len(text) <= limit else f"{quoted[:-1]}…{quoted[-1]}"
