"""Waiting for changes of files without asking again and again: inotify(7)."""

from __future__ import annotations

import os

from rootless.linux.libc import c_char_p, c_int, c_uint, fail, function

IN_MODIFY, IN_ATTRIB, IN_MOVE_SELF = 0x2, 0x4, 0x800
CHANGED = IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF
"""Written to, renamed, or one name less (which changes the attributes)."""

_inotify_init1 = function("inotify_init1", c_int)
_inotify_add_watch = function("inotify_add_watch", c_int, c_char_p, c_uint)


def watcher() -> int:
    """A descriptor that is readable after a change, or -1 where the user has no watch left."""
    return _inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)


def watch(descriptor: int, fd: int) -> None:
    """Let ``descriptor`` (of :func:`watcher`) tell of changes of the open file ``fd``. Raises OSError."""
    if _inotify_add_watch(descriptor, f"/proc/self/fd/{fd}".encode(), CHANGED) < 0:
        fail("inotify_add_watch")


def drain(descriptor: int) -> None:
    """Forget the changes told so far."""
    try:
        while os.read(descriptor, 1 << 16):
            pass
    except BlockingIOError:
        return
