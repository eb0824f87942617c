"""Who the programs of a container with a single id believe to be.

All of them are the one user. What a program sets by setuid(2) and its like is kept here and told to it by getuid(2), so
that those who look whether it worked go on. It gives them no less power, and files they make are root's.

An id is that of a process, and of those that it starts: whose parent ends first is root again, as nobody remembers then
who it came from.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    Three = list[int]

_UNCHANGED = 0xFFFFFFFF
_MANY = 4096
_DEEPEST = 64
_LENGTH = 4096


class Ids:
    """Real, effective and saved user and group ids of a process (credentials(7))."""

    __slots__ = ("gids", "uids")

    def __init__(self, uids: Three, gids: Three) -> None:
        self.uids = uids
        self.gids = gids

    def is_root(self) -> bool:
        """Whether it believes to be root."""
        return self.uids[1] == 0


class Table:
    """The ids of those processes that have other ones than root's. ``proc``: a directory descriptor of the procfs."""

    __slots__ = ("_known", "_proc")

    def __init__(self, proc: int) -> None:
        self._proc = proc
        self._known: dict[int, tuple[bytes, Ids]] = {}

    def of(self, pid: int) -> Ids:
        """The ids of the process that the thread ``pid`` is of; of a new one those of who has started it."""
        if not self._known:
            return Ids([0, 0, 0], [0, 0, 0])
        process, parent = self._family(pid)
        start = self._start(process)
        found = self._found(process, start)
        for _ in range(_DEEPEST):
            if found or parent <= 1:
                break
            found = self._found(parent, self._start(parent))
            parent = self._family(parent)[1]
        ids = Ids(list(found.uids), list(found.gids)) if found else Ids([0, 0, 0], [0, 0, 0])
        if found and start:
            self._known[process] = start, ids
        return ids

    def keep(self, pid: int, ids: Ids) -> None:
        """Remember the ids of the process that the thread ``pid`` is of."""
        if len(self._known) >= _MANY:
            self._known = {key: known for key, known in self._known.items() if self._start(key) == known[0]}
        process = self._family(pid)[0]
        start = self._start(process)
        if start and len(self._known) < 4 * _MANY:
            self._known[process] = start, ids

    def has(self, pid: int, capability: int) -> bool:
        """Whether the thread ``pid`` has a capability in effect."""
        for line in self._read(f"{pid}/status").split(b"\n"):
            if line.startswith(b"CapEff:"):
                return bool(int(line[7:], 16) >> capability & 1)
        return False

    def _found(self, process: int, start: bytes) -> Ids | None:
        known = self._known.get(process)
        return known[1] if known and start and known[0] == start else None

    def _family(self, pid: int) -> tuple[int, int]:
        """Process and parent of a thread; (pid, 0) of one that has ended."""
        found = {}
        for line in self._read(f"{pid}/status").split(b"\n", 12):
            key, _, value = line.partition(b":")
            found[key] = value
        try:
            return int(found[b"Tgid"]), int(found[b"PPid"])
        except (KeyError, ValueError):
            return pid, 0

    def _start(self, process: int) -> bytes:
        """When the process was started (field 22 of proc_pid_stat(5)); empty if it has ended."""
        fields = self._read(f"{process}/stat").rpartition(b")")[2].split()
        return fields[19] if len(fields) > 19 else b""

    def _read(self, path: str) -> bytes:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                return os.read(fd, _LENGTH)
            finally:
                os.close(fd)
        except OSError:
            return b""


def change(ids: Ids, name: str, arguments: tuple[int, ...], privileged: bool) -> int:
    """Do what the call ``name`` of setuid(2), setreuid(2), setresuid(2) and setgroups(2) does; an errno, 0 for success.
    """
    if name == "setgroups":
        return 0 if privileged else errno.EPERM
    three = ids.gids if name.endswith("gid") else ids.uids
    real, effective, saved = three
    numbers = [argument & _UNCHANGED for argument in arguments]
    kind = name[3:-3]
    if kind == "":
        number = numbers[0]
        if number == _UNCHANGED:
            return errno.EINVAL
        if not privileged and number not in (real, saved):
            return errno.EPERM
        three[:] = [number] * 3 if privileged else [real, number, saved]
    elif kind == "re":
        first, second = numbers[:2]
        allowed = (
            privileged
            or (first in (_UNCHANGED, real, effective) and second in (_UNCHANGED, real, effective, saved))
        )
        if not allowed:
            return errno.EPERM
        new = effective if second == _UNCHANGED else second
        renewed = first != _UNCHANGED or (second not in (_UNCHANGED, real))
        three[:] = [real if first == _UNCHANGED else first, new, new if renewed else saved]
    else:
        if not privileged and any(number not in (_UNCHANGED, real, effective, saved) for number in numbers[:3]):
            return errno.EPERM
        three[:] = [old if new == _UNCHANGED else new for old, new in zip(three, numbers, strict=False)]
    return 0


def asked(ids: Ids, name: str) -> int:
    """What getuid(2), geteuid(2), getgid(2) and getegid(2) return."""
    three = ids.gids if name.endswith("gid") else ids.uids
    return three[1] if name.startswith("gete") else three[0]
