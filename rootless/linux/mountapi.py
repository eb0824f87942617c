"""The mount calls that work on descriptors: fsopen(2), fspick(2), open_tree(2), move_mount(2), mount_setattr(2)…"""

from __future__ import annotations

import os
from _struct import pack

from rootless.linux.libc import c_char_p, c_int, c_uint, c_ulong, fail, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.libc import Path

AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = 0x1000, 0x8000, 0x100
_OPEN_TREE_CLONE, _CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CREATE, _FSCONFIG_RECONFIGURE = 0, 1, 6, 7
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = _FSPICK_CLOEXEC = 1
_FSPICK_EMPTY_PATH = 8

# Attributes of one mount: mount_setattr(2)
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME = 0x70, 0x10, 0x20
MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOSYMFOLLOW = 0x80, 0x200000
MOUNT_ATTR_IDMAP = 0x100000

_open_tree = system_call(c_int, c_char_p, c_uint)
_move_mount = system_call(c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = system_call(c_char_p, c_uint)
_fsconfig = system_call(c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = system_call(c_int, c_uint, c_uint)
_fspick = system_call(c_int, c_char_p, c_uint)
_mount_setattr = system_call(c_int, c_char_p, c_uint, c_char_p, c_ulong)


def open_tree(fd: int, path: Path = b"", *, clone: bool = True, recursive: bool = False) -> int:
    """A descriptor of the mount at ``path`` below ``fd`` (of ``fd`` itself when empty), by default of a detached copy.

    ``recursive`` takes the mounts below it as well. Symbolic links in ``path`` are not followed at its end.
    """
    flags = _CLOEXEC | AT_SYMLINK_NOFOLLOW
    if not path:
        flags |= AT_EMPTY_PATH
    if clone:
        flags |= _OPEN_TREE_CLONE
        if recursive:
            flags |= AT_RECURSIVE
    result = _open_tree(428, fd, os.fsencode(path), flags)
    if result < 0:
        fail("open_tree", path or None)
    return result


def move_mount(mount: int, target: int, path: Path | None = None) -> None:
    """Attach the detached mount ``mount`` on the directory or file ``target``; ``path`` is for the error alone."""
    if _move_mount(429, mount, b"", target, b"", _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH):
        fail("move_mount", path)


def mount_setattr(
    mount: int, attributes: int, *, clear: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Set and clear ``MOUNT_ATTR_*`` of the mount whose root is ``mount``, and its propagation (``MS_PRIVATE``…)."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    if _mount_setattr(442, mount, b"", flags, pack("QQQQ", attributes, clear, propagation, 0), 32):
        fail("mount_setattr")


def map_ids(mount: int, user_namespace: int, *, recursive: bool = False) -> None:
    """Show the files of the detached mount ``mount`` with other owners, by the map of a user namespace (a descriptor).

    An id that is stored is shown as the id of the initial user namespace that the map gives it (MOUNT_ATTR_IDMAP).
    """
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    if _mount_setattr(442, mount, b"", flags, pack("QQQQ", MOUNT_ATTR_IDMAP, 0, 0, user_namespace), 32):
        fail("mount_setattr")


def reconfigure(mount: int, options: list[tuple[str, str | None]]) -> None:
    """Change options of the file system itself that is mounted at ``mount``: the remount of fspick(2)."""
    context = _fspick(433, mount, b"", _FSPICK_CLOEXEC | _FSPICK_EMPTY_PATH)
    if context < 0:
        fail("fspick")
    try:
        for key, value in options:
            fsconfig(context, key, value)
        if _fsconfig(431, context, _FSCONFIG_RECONFIGURE, None, None, 0):
            fail("fsconfig reconfigure")
    finally:
        os.close(context)


def fsopen(kind: str) -> int:
    """A new, empty configuration of a file system of the given kind."""
    result = _fsopen(430, kind.encode(), _FSOPEN_CLOEXEC)
    if result < 0:
        fail("fsopen", kind)
    return result


def fsconfig(context: int, key: str, value: Path | None = None) -> None:
    """Set the option ``key`` to ``value`` (at most 255 bytes), or switch the flag ``key`` on."""
    if value is None:
        result = _fsconfig(431, context, _FSCONFIG_SET_FLAG, key.encode(), None, 0)
    else:
        result = _fsconfig(431, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
    if result:
        fail(f"fsconfig {key}", value)


def fsmount(context: int, attributes: int = 0, kind: str | None = None) -> int:
    """Create the file system of ``context``, close the context, and return the detached mount of it."""
    try:
        if _fsconfig(431, context, _FSCONFIG_CREATE, None, None, 0):
            fail("fsconfig create", kind)
        result = _fsmount(432, context, _FSMOUNT_CLOEXEC, attributes)
        if result < 0:
            fail("fsmount", kind)
    finally:
        os.close(context)
    return result


def new_mount(kind: str, options: list[tuple[str, str | None]], attributes: int = 0, source: str = "") -> int:
    """A detached mount of a new file system with the given options; ``source`` is what mount(8) shows for it."""
    context = fsopen(kind)
    try:
        fsconfig(context, "source", source or kind)
        for key, value in options:
            fsconfig(context, key, value)
    except OSError:
        os.close(context)
        raise
    return fsmount(context, attributes, kind)
