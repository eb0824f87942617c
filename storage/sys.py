"""System calls that Python does not offer, checked: a failure is an OSError with the path's name.

Imported by code that unpacks, copies or publishes trees, never on the path of a plain start (ctypes costs
milliseconds to load).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

RESOLVE_NO_MAGICLINKS = 0x02  # openat2(2)
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

RENAME_NOREPLACE = 1  # renameat2(2)

AT_FDCWD = -100

_SYS_OPENAT2 = 437  # the same on every architecture
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_renameat2 = _libc.renameat2
_renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_syncfs = _libc.syncfs
_syncfs.argtypes = (ctypes.c_int,)
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW_SIZE = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
_NR_OPENAT2 = ctypes.c_long(_SYS_OPENAT2)


def _check(result: int, name: bytes | str = "") -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name if name else None)
    return result


def openat2(dirfd: int, path: bytes | str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` below ``dirfd`` with the RESOLVE_* rules of openat2(2); the descriptor is close-on-exec.

    Raises ValueError for a NUL in the path, OSError otherwise (ENAMETOOLONG from PATH_MAX on).
    """
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte")
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        fd = int(_syscall(_NR_OPENAT2, ctypes.c_int(dirfd), ctypes.c_char_p(name), ctypes.byref(how), _HOW_SIZE))
        # EAGAIN: a rename raced with the resolution, which the kernel then cannot vouch for.
        if fd >= 0 or ctypes.get_errno() not in (4, 11):
            return _check(fd, path)


def renameat2(old_dirfd: int, old: bytes | str, new_dirfd: int, new: bytes | str, flags: int) -> None:
    """renameat2(2) with RENAME_NOREPLACE."""
    _check(_renameat2(old_dirfd, os.fsencode(old), new_dirfd, os.fsencode(new), flags), new)


def rename_new(old: bytes | str, new_dirfd: int, new: bytes | str) -> None:
    """Rename a directory that has something in it to a name that nothing has. Raises FileExistsError.

    File systems on which no rename can be told that (NFS, FUSE) replace a directory by another only if it is empty.
    """
    try:
        renameat2(AT_FDCWD, old, new_dirfd, new, RENAME_NOREPLACE)
        return
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
    try:
        os.rename(old, new, dst_dir_fd=new_dirfd)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
        raise


def syncfs(fd: int) -> None:
    """Write everything of the file system that holds ``fd`` to its disk: syncfs(2)."""
    _check(_syncfs(fd))


def clone_file(destination_fd: int, source_fd: int) -> bool:
    """Share the source's blocks with the destination (reflink). False where the file system cannot."""
    try:
        fcntl.ioctl(destination_fd, _FICLONE, source_fd)
    except OSError:
        return False
    return True


def die_with_parent(signal_number: int = 9) -> None:
    """Have this process killed when its parent ends. To be called after the last change of ids: those clear it."""
    _check(_prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))
