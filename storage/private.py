"""Files of the store belong to its user, and to nobody else: whether one does."""

from __future__ import annotations

import os
import stat


def wrong(path: str, mode: int) -> str:
    """What is wrong with the owner and permission bits of a file or directory; empty: nothing.

    ``mode``: 0o600 or 0o700. A directory may have a set-group-ID bit, which it gets from the one that it is in.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    kind = stat.S_IFDIR if mode & 0o100 else stat.S_IFREG
    if stat.S_IFMT(status.st_mode) != kind:
        return "it is not a directory" if kind == stat.S_IFDIR else "it is not a file"
    if status.st_uid != os.geteuid():
        return f"it belongs to uid {status.st_uid}"
    found = stat.S_IMODE(status.st_mode)
    if found not in (mode, mode | stat.S_ISGID) or (found != mode and kind == stat.S_IFREG):
        return f"its mode is {found:04o}, not {mode:04o}"
    return ""
