"""Calls into the C library: namespaces, mounts of the old kind, process attributes.

``_ctypes`` is used without the ``ctypes`` package, whose import costs more than two milliseconds.
"""

from __future__ import annotations

import _ctypes
import errno
import os
from _struct import pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import c_char as c_char
    from ctypes import c_char_p as c_char_p
    from ctypes import c_int as c_int
    from ctypes import c_long as c_long
    from ctypes import c_uint as c_uint
    from ctypes import c_ulong as c_ulong
    from ctypes import c_void_p as c_void_p
    from typing import NoReturn

    Path = str | bytes
else:

    def _simple(name: str, code: str) -> type:
        return type(name, (_ctypes._SimpleCData,), {"_type_": code})

    c_char, c_char_p, c_void_p = _simple("c_char", "c"), _simple("c_char_p", "z"), _simple("c_void_p", "P")
    c_int, c_uint = _simple("c_int", "i"), _simple("c_uint", "I")
    c_long, c_ulong = _simple("c_long", "l"), _simple("c_ulong", "L")

# namespaces(7)
CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP = 0x80, 0x20000, 0x2000000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
CLONE_FILES = 0x400

# mount(2), umount2(2)
MS_NODEV = 4
MS_MOVE = 0x2000
MS_REC, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 1 << 17, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

# prctl(2)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME = 1, 4, 8, 15
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 39, 47

# statfs(2): f_type of the file systems that are told apart
CGROUP2_MAGIC, DEVPTS_MAGIC, PROC_MAGIC = 0x63677270, 0x1CD1, 0x9FA0

CLOSE_RANGE_CLOEXEC = 4
_HIGHEST_FD = 0xFFFFFFFF
_KEYCTL_JOIN_SESSION_KEYRING = 1

# System calls that have another number on x86_64 than on the architectures with the generic table.
_X86_64 = os.uname().machine == "x86_64"
SYS_CLONE = 56 if _X86_64 else 220
SYS_PIVOT_ROOT = 155 if _X86_64 else 41
SYS_KEYCTL = 250 if _X86_64 else 219
SYS_SECCOMP = 317 if _X86_64 else 277


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = c_int


_HANDLE = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the process itself, which has libc
_SYSCALL = _ctypes.dlsym(_HANDLE, "syscall")


def function(name: str, *argtypes: type) -> Callable[..., int]:
    """The C function ``name`` with its argument types; it returns -1 on failure (see :func:`fail`)."""
    found = _Function(_ctypes.dlsym(_HANDLE, name))
    found.argtypes = argtypes
    return found


def system_call(*argtypes: type) -> Callable[..., int]:
    """syscall(2) for calls without a C function: the first argument is the number, ``argtypes`` are of the others."""
    found = _Function(_SYSCALL)
    found.argtypes = (c_long, *argtypes)
    return found


def fail(call: str, path: Path | None = None) -> NoReturn:
    """Raise the ``OSError`` of the last failed ``call``."""
    number = _ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}", path)


def buffer(size: int) -> tuple[bytearray, int]:
    """A writable buffer of ``size`` zero bytes and its address; the address holds while the buffer lives."""
    data = bytearray(size)
    return data, address_of(data)


def address_of(data: bytearray) -> int:
    """The address of the bytes of ``data``, which must not be resized while it is used."""
    return _ctypes.addressof((c_char * len(data)).from_buffer(data))


_unshare = function("unshare", c_int)
_setns = function("setns", c_int, c_int)
_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = function("umount2", c_char_p, c_int)
_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_sethostname = function("sethostname", c_char_p, c_ulong)
_setdomainname = function("setdomainname", c_char_p, c_ulong)
_personality = function("personality", c_ulong)
_fstatfs = function("fstatfs", c_int, c_void_p)
_getrlimit = function("getrlimit", c_int, c_void_p)
_setrlimit = function("setrlimit", c_int, c_void_p)
_close_range = system_call(c_uint, c_uint, c_uint)
_pivot_root = system_call(c_char_p, c_char_p)
_keyctl = system_call(c_int, c_char_p)
_clone = system_call(c_ulong, c_void_p, c_void_p, c_void_p, c_void_p)


def unshare(flags: int) -> None:
    """unshare(2): move the process into new namespaces (``CLONE_NEW*``)."""
    if _unshare(flags):
        fail("unshare")


def setns(fd: int, kind: int, path: Path | None = None) -> None:
    """setns(2): join the namespace ``fd`` of the kind ``CLONE_NEW*``; ``path`` is for the error alone."""
    if _setns(fd, kind):
        fail("setns", path)


def clone(flags: int) -> int:
    """clone(2) with the caller's stack, as fork(2) is: 0 in the child. For a process of one thread."""
    pid = _clone(SYS_CLONE, flags, None, None, None, None)
    if pid < 0:
        fail("clone")
    return pid


def mount(source: Path | None, target: Path, kind: str | None, flags: int, data: Path | None = None) -> None:
    """mount(2), for what the new mount calls cannot do on old kernels."""
    encode = os.fsencode
    if _mount(
        None if source is None else encode(source),
        encode(target),
        None if kind is None else kind.encode(),
        flags,
        None if data is None else encode(data),
    ):
        fail("mount", target)


def umount(target: Path, flags: int = MNT_DETACH) -> None:
    """umount2(2); detaches by default."""
    if _umount2(os.fsencode(target), flags):
        fail("umount2", target)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """pivot_root(2)."""
    if _pivot_root(SYS_PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old)):
        fail("pivot_root", new_root)


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """prctl(2) with whole-number arguments."""
    result = _prctl(option, first, second, 0, 0)
    if result < 0:
        fail("prctl")
    return result


def prctl_quiet(option: int, first: int) -> int:
    """prctl(2) whose failure is an answer: -1."""
    return _prctl(option, first, 0, 0, 0)


def die_with_parent(signal: int, parent: int) -> None:
    """Ask for ``signal`` at the death of the process ``parent``, and end at once if that has happened already.

    The kernel forgets the wish when the credentials change (PR_SET_PDEATHSIG in prctl(2)): call it again then.
    ``parent`` is 0 for a parent outside the process's pid namespace.
    """
    prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os._exit(137)


def set_process_name(name: str) -> None:
    """Set the name that ps(1) shows for the process (15 bytes)."""
    data = bytearray(name.encode()[:15] + b"\0")
    prctl(PR_SET_NAME, address_of(data))


def sethostname(name: str) -> None:
    """sethostname(2)."""
    data = os.fsencode(name)
    if _sethostname(data, len(data)):
        fail("sethostname", name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    data = os.fsencode(name)
    if _setdomainname(data, len(data)):
        fail("setdomainname", name)


def personality(persona: int) -> None:
    """personality(2)."""
    if _personality(persona) < 0:
        fail("personality")


def file_system_type(fd: int) -> int:
    """The magic number of the file system that holds ``fd`` (``f_type`` of fstatfs(2))."""
    data, address = buffer(256)
    if _fstatfs(fd, address):
        fail("fstatfs")
    return int(unpack_from("l", data)[0])


def getrlimit(resource: int) -> tuple[int, int]:
    """(soft, hard) of a resource limit; RLIM_INFINITY is 2**64-1."""
    data, address = buffer(16)
    if _getrlimit(resource, address):
        fail("getrlimit")
    soft, hard = unpack_from("QQ", data)
    return soft, hard


def setrlimit(resource: int, soft: int, hard: int) -> None:
    """setrlimit(2)."""
    data = bytearray(pack("QQ", soft, hard))
    if _setrlimit(resource, address_of(data)):
        fail("setrlimit")


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from ``first`` on close-on-exec (close_range(2), Linux 5.11)."""
    if _close_range(436, first, _HIGHEST_FD, CLOSE_RANGE_CLOEXEC):
        fail("close_range")


def close_range(first: int, last: int = _HIGHEST_FD) -> None:
    """Close the descriptors ``first`` to ``last``, both included."""
    if 0 <= first <= last and _close_range(436, first, last, 0):
        fail("close_range")


def new_session_keyring() -> None:
    """Leave the caller's session keyring for a new empty one; without effect where the kernel has no keyrings."""
    if _keyctl(SYS_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None) < 0 and _ctypes.get_errno() != errno.ENOSYS:
        fail("keyctl")
