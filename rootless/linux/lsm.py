"""What a process asks of the kernel's security modules for its next program: a profile of AppArmor, a label of SELinux.

Both are asked for by writing to files below ``attr`` in the process's own directory of a procfs. The procfs is given as
a descriptor that was opened before anything of an image was visible, nothing mounted over it is followed, and the file
must be procfs's own: a write that ends elsewhere would leave the program unconfined (CVE-2025-52881).
"""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.linux.libc import PROC_MAGIC, file_system_type
from rootless.linux.path import O_PATH, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2

_OWN = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV


def open_proc() -> int:
    """The procfs of the caller, for the other functions; close-on-exec. Raises ``RootlessError`` if /proc is none."""
    fd = os.open("/proc", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if file_system_type(fd) != PROC_MAGIC:
        os.close(fd)
        raise RootlessError("cannot set a security label: /proc is not a procfs")
    return fd


def write_attribute(proc: int, name: str, text: str) -> None:
    """Write ``text`` to ``self/attr/NAME`` of the procfs ``proc``; an ``OSError`` is the security module's answer."""
    fd = openat2(proc, f"self/attr/{name}", os.O_WRONLY, 0, _OWN)
    try:
        if file_system_type(fd) != PROC_MAGIC:
            raise RootlessError("cannot set a security label: the file is not procfs's own")
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def label_next_program(proc: int, apparmor: str, selinux: str) -> None:
    """Have the next execve(2) of this process put the program into the AppArmor profile and the SELinux label given.

    Empty ones are left as they are. The process's ids and capabilities must not change between this and the execve.
    Raises ``RootlessError``: the program must not be started then.
    """
    if apparmor:
        _write(proc, "apparmor/exec", f"exec {apparmor}", f"enter the AppArmor profile {apparmor}")
    if selinux:
        _write(proc, "exec", selinux, f"take the SELinux label {selinux}")


def label_this_process(proc: int, apparmor: str) -> None:
    """Enter the AppArmor profile at once, for a process that executes no other program. Raises ``RootlessError``."""
    if apparmor:
        _write(proc, "apparmor/current", f"changeprofile {apparmor}", f"enter the AppArmor profile {apparmor}")


def _write(proc: int, name: str, text: str, what: str) -> None:
    try:
        write_attribute(proc, name, text)
    except OSError as error:
        reasons = {errno.ENOENT: "it is not loaded", errno.EINVAL: "the kernel does not know it"}
        reason = reasons.get(error.errno or 0) or os.strerror(error.errno or errno.EIO)
        raise RootlessError(f"cannot {what}: {reason}") from None
