"""The container's terminal: a pseudo-terminal of its own devpts. See pts(4), ioctl_tty(2)."""

from __future__ import annotations

import fcntl
import os
from _struct import pack

from rootless.errors import RootlessError
from rootless.linux.libc import DEVPTS_MAGIC, file_system_type
from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_TIOCSCTTY, _TIOCSWINSZ, _TIOCSPTLCK, _TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441
_TYPE, _CHARACTER = 0o170000, 0o020000


def open_terminal(devpts: int, size: tuple[int, int]) -> tuple[int, int]:
    """(master, slave) of a new terminal of the mount ``devpts``; ``size`` is (rows, columns), (0, 0) for unknown.

    The slave is got from the master, never by a name that the image could have prepared (CVE-2025-52565).
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = openat2(devpts, "ptmx", flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
    if file_system_type(master) != DEVPTS_MAGIC:
        raise RootlessError("cannot make a terminal: /dev/pts is not a devpts")
    fcntl.ioctl(master, _TIOCSPTLCK, pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, flags)
    if os.fstat(slave).st_mode & _TYPE != _CHARACTER or file_system_type(slave) != DEVPTS_MAGIC:
        raise RootlessError("cannot make a terminal: its other end is not a terminal")
    if any(size):
        fcntl.ioctl(master, _TIOCSWINSZ, pack("HHHH", size[0], size[1], 0, 0))
    return master, slave


def take_control(fd: int) -> None:
    """Make the terminal ``fd`` the controlling one of this session, which the process leads."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)
