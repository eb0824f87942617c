"""The airlock: a program of a hundred bytes between this interpreter and a container's program.

While a process executes a program, its ``/proc/self/exe`` leads to that program's file, wherever it is. A program that
begins with ``#!/proc/self/exe`` would so be run by this very interpreter, by its file on the host, with libraries of
the image; they could keep that file open, and write to it once nobody executes it (CVE-2019-5736). No descriptor and no
mount is in the way of that, only the owner of the file. So where root of the container may change the interpreter, as
in an environment in the user's home (`rootless.idmaps.IdMap.may_change`), the process first executes the code below,
from sealed memory, and that executes the program: what leads back leads there.

The code is given the program's path in front of its arguments. It has one descriptor more than the program: a pipe,
which it marks close-on-exec first, and on which it tells the error number of an execve(2) that failed. Executed anew,
by ``#!/proc/self/exe``, it has no such descriptor and ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# fcntl(REPORT, F_SETFD, FD_CLOEXEC); execve(argv[0], argv + 1, environ); failed: write(REPORT, &result, 4); exit(126).
# REPORT is the number behind the code. Machine of elf(5), and the assembled code, a line for each of these calls.
_CODE = {
    "x86_64": (62, "8b3d50000000 be02000000 ba01000000 b848000000 0f05 85c0 7519"
                   "488b0424 488b7c2408 488d742410 488d14c6 b83b000000 0f05"
                   "50 8b3d1b000000 4889e6 ba04000000 b801000000 0f05"
                   "bf7e000000 b8e7000000 0f05"),
    "aarch64": (183, "a0020018 41008052 22008052 28038052 010000d4 e00000b5"
                     "e30340f9 e00740f9 e1430091 220c038b a81b8052 010000d4"
                     "e00300f9 00010018 e1030091 82008052 08088052 010000d4"
                     "c00f8052 c80b8052 010000d4"),
    "riscv64": (243, "17050000 03250506 93052000 13061000 93089001 73000000 63100502"
                     "83360100 03358100 93050101 93963600 3386d500 9308d00d 73000000"
                     "2330a100 17050000 03254502 93050100 13064000 93080004 73000000"
                     "1305e007 9308e005 73000000"),
}  # fmt: skip
_ADDRESS, _PAGE = 0x400000, 0x10000
_HEADER, _SEGMENT = 64, 56  # Elf64_Ehdr, Elf64_Phdr
_MFD_EXEC = 0x10
_REPORT_SIZE = 4
# Looked up before the process gets the personality of the container, which may call the machine another.
_HERE = _CODE.get(os.uname().machine)


class Airlock:
    """The code in memory, as ``program``, and the pipe that tells whether it could execute something.

    All descriptors are close-on-exec until :meth:`execute`. Made before limits are in force, however low these are.
    """

    __slots__ = ("program", "reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.program = _in_memory(_image(self.writer))

    def descriptors(self) -> set[int]:
        """Those that :meth:`execute` needs."""
        return {self.program, self.writer}

    def execute(
        self, path: str, arguments: Sequence[str | bytes], environment: dict[bytes, bytes] | dict[str, str]
    ) -> NoReturn:
        """Replace the process. Raises ``OSError`` where the code itself cannot be executed."""
        os.set_inheritable(self.writer, True)
        os.execve(self.program, [os.fsencode(word) for word in (path, *arguments)], environment)


def known() -> bool:
    """Whether there is code for this machine."""
    return _HERE is not None


def reported(reader: int) -> int:
    """Wait until the code has executed the program; the error number if it could not, else 0. Closes the pipe."""
    data = os.read(reader, _REPORT_SIZE)
    os.close(reader)
    return -int.from_bytes(data, "little", signed=True)


def _image(report: int) -> bytes:
    """An ELF file with the code for this machine as its only segment."""
    assert _HERE is not None
    machine, code = _HERE
    start = _HEADER + _SEGMENT
    body = bytes.fromhex(code) + pack("<i", report)
    size = start + len(body)
    header = pack(
        "<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, machine, 1, _ADDRESS + start, _HEADER, 0, 0, _HEADER,
        _SEGMENT, 1, 0, 0, 0,
    )  # fmt: skip
    return header + pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, _PAGE) + body


def _in_memory(image: bytes) -> int:
    """A file without a name that nobody can change any more. Raises ``OSError``."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("airlock", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.memfd_create("airlock", flags)  # Linux before 6.3, where all may be executed
    os.write(fd, image)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd
