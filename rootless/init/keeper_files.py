"""chown(2) and its like for a container with a single id: done as far as they can be, and what was meant remembered.

The file is found as the caller would have found it: from the caller's root and directory, in the caller's mounts.
This process makes the caller's root its own for that, so that no link and no ``..`` leads elsewhere, and refuses the
links of a procfs, which could. Then the file is given to root, which the kernel lets the container's root do or not,
and gets the attribute of `storage.remembered`; nothing else is ever written.
"""

from __future__ import annotations

import errno
import os

from rootless.linux import unotify
from rootless.linux.path import O_PATH, RESOLVE_NO_MAGICLINKS, openat2
from storage import remembered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.unotify import Call

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_PATH_MAX, _PAGE = 4096, 4096
_FILE, _DIRECTORY, _TYPE = 0o100000, 0o040000, 0o170000
_STREAMS = {b"/dev/stdin": b"0", b"/dev/stdout": b"1", b"/dev/stderr": b"2"}
_DESCRIPTORS = (b"/dev/fd/", b"/proc/self/fd/")


def _stream(path: bytes) -> bytes:
    """The number of the caller's own descriptor that a path means by way of its procfs, as /dev/stdout does."""
    number = _STREAMS.get(path, b"")
    for prefix in _DESCRIPTORS:
        if path.startswith(prefix):
            number = path[len(prefix) :]
    return number if number.isdigit() and len(number) < 10 else b""


class Files:
    """The files of one container. ``proc``: a directory descriptor of the procfs in which its processes are.

    ``directory``: one of the host's, open, where the sidecar ``owners`` is.
    """

    __slots__ = ("_device", "_directory", "_home", "_proc", "_sidecar")

    def __init__(self, proc: int, directory: int) -> None:
        self._proc = proc
        self._directory = directory
        self._home = os.open("/", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._home)
        self._device = -1
        self._sidecar = -1

    def chown(self, listener: int, call: Call, name: str, only: tuple[int, int] | None) -> int | None:
        """Do the call ``name``; an errno, 0 for success, None where its caller does not wait any more.

        ``only``: the ids that the caller may give, None for all.
        """
        pid, arguments = call.pid, call.arguments
        number = arguments[0] & 0xFFFFFFFF
        start, pointer, flags = _AT_FDCWD, arguments[0], 0
        uid, gid = arguments[1] & 0xFFFFFFFF, arguments[2] & 0xFFFFFFFF
        if name == "fchownat":
            start, pointer, flags = number - (number >> 31 << 32), arguments[1], arguments[4]
            uid, gid = arguments[2] & 0xFFFFFFFF, arguments[3] & 0xFFFFFFFF
        elif name == "lchown":
            flags = _AT_SYMLINK_NOFOLLOW
        if flags & 0xFFFFFFFF & ~(_AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH):
            return errno.EINVAL
        if only and (uid not in (remembered.UNCHANGED, only[0]) or gid not in (remembered.UNCHANGED, only[1])):
            return errno.EPERM
        held: list[int] = []
        try:
            if name == "fchown":
                target = self._of_descriptor(pid, number, held)
                if self._is_handle(pid, number):
                    return errno.EBADF
                path = b""
            else:
                path = self._text(pid, pointer)
                root = self._open(f"{pid}/root", held)
                empty = not path and flags & _AT_EMPTY_PATH
                if not path and not empty:
                    return errno.ENOENT
                stream = _stream(path) if not flags & _AT_SYMLINK_NOFOLLOW else b""
                if stream:
                    base, path = self._of_descriptor(pid, int(stream), held), b""
                elif path.startswith(b"/"):
                    base = root
                elif start == _AT_FDCWD:
                    base = self._open(f"{pid}/cwd", held)
                else:
                    base = self._of_descriptor(pid, start & 0xFFFFFFFF, held, any_kind=bool(empty))
                target = base
            if not unotify.is_valid(listener, call):
                return None
            if path:
                target = self._find(root, base, path, not flags & _AT_SYMLINK_NOFOLLOW, held)
            return self._give(target, uid, gid)
        except OSError as error:
            return error.errno or errno.EIO
        finally:
            for fd in held:
                os.close(fd)

    def see_root(self, pid: int) -> None:
        """Take note of the file system that is the root of the process ``pid``: its alone are told in the sidecar."""
        if self._device < 0:
            held: list[int] = []
            try:
                self._device = os.fstat(self._open(f"{pid}/root", held)).st_dev
            except OSError:
                return
            finally:
                for fd in held:
                    os.close(fd)

    def _open(self, path: str, held: list[int]) -> int:
        fd = os.open(path, O_PATH | os.O_CLOEXEC, dir_fd=self._proc)
        held.append(fd)
        return fd

    def _of_descriptor(self, pid: int, number: int, held: list[int], any_kind: bool = True) -> int:
        """What the descriptor ``number`` of the process is open for."""
        try:
            fd = self._open(f"{pid}/fd/{number}", held)
        except FileNotFoundError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        if not any_kind and os.fstat(fd).st_mode & _TYPE != _DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return fd

    def _is_handle(self, pid: int, number: int) -> bool:
        """Whether a descriptor of the process was opened with O_PATH (proc_pid_fdinfo(5))."""
        fd = os.open(f"{pid}/fdinfo/{number}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            words = os.read(fd, 256).split()
        finally:
            os.close(fd)
        return b"flags:" in words and bool(int(words[words.index(b"flags:") + 1], 8) & O_PATH)

    def _text(self, pid: int, pointer: int) -> bytes:
        """The path at an address of the process. Raises OSError: EFAULT, ENAMETOOLONG."""
        fd = os.open(f"{pid}/mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        text = b""
        try:
            while len(text) < _PATH_MAX:
                address = pointer + len(text)
                # Up to the end of the page: what follows may not be there.
                part = os.pread(fd, _PAGE - address % _PAGE, address)
                end = part.find(b"\0")
                if end >= 0:
                    text += part[:end]
                    break
                text += part
                if not part:
                    raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        except (OSError, OverflowError):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None
        finally:
            os.close(fd)
        if len(text) >= _PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return text

    def _find(self, root: int, base: int, path: bytes, follow: bool, held: list[int]) -> int:
        """Open ``path`` as it is seen by a process with this root, from the directory ``base``."""
        flags = O_PATH if follow else O_PATH | os.O_NOFOLLOW
        try:
            os.fchdir(root)
            os.chroot(".")
            os.fchdir(base)
            fd = openat2(_AT_FDCWD, path, flags, 0, RESOLVE_NO_MAGICLINKS)
        finally:
            os.fchdir(self._home)
            os.chroot(".")
        held.append(fd)
        return fd

    def _give(self, target: int, uid: int, gid: int) -> int:
        """Make the open file root's, as far as ids were given, and remember whose it was to be."""
        os.fchdir(self._proc)
        path = f"self/fd/{target}"
        try:
            none = remembered.UNCHANGED
            os.chown(path, -1 if uid == none else 0, -1 if gid == none else 0)
            if uid != none or gid != none:
                self._remember(target, path, (uid, gid))
        finally:
            os.fchdir(self._home)
        return 0

    def _remember(self, target: int, path: str, owner: tuple[int, int]) -> None:
        status = os.fstat(target)
        if status.st_mode & _TYPE in (_FILE, _DIRECTORY):
            try:
                known = None
                if remembered.UNCHANGED in owner:
                    known = self._known(path)
                os.setxattr(path, remembered.ATTRIBUTE, remembered.encode(*remembered.over(owner, known or owner)))
                return
            except OSError as error:
                if error.errno in (errno.EDQUOT, errno.ENOSPC, errno.EIO, errno.EROFS):
                    raise
        if status.st_dev == self._device:
            self._write(remembered.line(status.st_ino, status.st_mode & _TYPE, owner))

    @staticmethod
    def _known(path: str) -> tuple[int, int] | None:
        try:
            return remembered.decode(os.getxattr(path, remembered.ATTRIBUTE))
        except OSError:
            return None

    def _write(self, line: bytes) -> None:
        if self._sidecar < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._sidecar = os.open("owners", flags, 0o600, dir_fd=self._directory)
        os.write(self._sidecar, line)
