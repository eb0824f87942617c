"""``top``: the processes of a running container, read from the host's /proc; nothing runs in the container for it.

The columns are the AIX format descriptors of ps(1) and those that podman adds: ``hpid``, ``huser``, ``capeff`` …
"""

from __future__ import annotations

import os
import time

from rootless.engine.containers import view
from rootless.engine.containers.known import known
from rootless.engine.containers.status import status
from rootless.errors import RootlessError
from rootless.linux.path import read_regular
from rootless.runtime.processes import of_container
from rootless.security.capabilities import NAMES, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.engine.context import Engine
    from rootless.idmaps import IdMap, Row

_LIMIT = 1 << 22
_UNKNOWN = "?"
_OVERFLOW = "65534"
_TICKS = os.sysconf("SC_CLK_TCK")
_NANO = 1_000_000_000
_SECCOMP = {"0": "disabled", "1": "strict", "2": "filter"}
_EVERY = (1 << len(NAMES)) - 1
# Where in /proc/PID/stat, after the name, see proc_pid_stat(5).
_STATE, _TTY, _USER_TIME, _SYSTEM_TIME, _NICE, _START = 0, 4, 11, 12, 16, 19


class Accounts:
    """The users and groups of a container by their numbers on the host: named as its own files do, else numbered."""

    __slots__ = ("_groups", "_idmap", "_users")

    def __init__(self, passwd: bytes, group: bytes, idmap: IdMap) -> None:
        self._users = _table(passwd)
        self._groups = _table(group)
        self._idmap = idmap

    def user(self, outside: str) -> str:
        inside = _inside(self._idmap.uids, int(outside))
        return self._users.get(inside, inside)

    def group(self, outside: str) -> str:
        inside = _inside(self._idmap.gids, int(outside))
        return self._groups.get(inside, inside)


class Process:
    """A process of a container. Times are nanoseconds, sizes KiB; ids with ``host`` are those outside of it."""

    __slots__ = ("_accounts", "_stat", "_status", "_uptime", "command", "name", "pgid", "pid", "ppid")

    def __init__(self, number: int, level: int, known_pids: dict[int, int], accounts: Accounts, uptime: int) -> None:
        """Read the process ``number`` of the host, ``level`` pid namespaces deep. Raises OSError when it has ended."""
        directory = f"/proc/{number}"
        head, _, tail = _read(f"{directory}/stat").rpartition(b")")
        self._stat = tail.split()
        lines = _read(f"{directory}/status").decode(errors="replace").split("\n")
        self._status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        self._accounts, self._uptime = accounts, uptime
        self.name = os.fsdecode(head.partition(b"(")[2])
        words = _read(f"{directory}/cmdline").rstrip(b"\0").replace(b"\0", b" ")
        self.command = os.fsdecode(words) or f"[{self.name}]"
        numbers, groups = self._status["NSpid"], self._status["NSpgid"]
        self.pid = int(numbers[min(level, len(numbers) - 1)])
        self.pgid = int(groups[min(level, len(groups) - 1)])
        self.ppid = known_pids.get(int(self._status["PPid"][0]), 0)

    @property
    def host_pid(self) -> str:
        return self._status["Pid"][0]

    def host_id(self, kind: str) -> str:
        """The effective id of ``kind`` (Uid or Gid) on the host."""
        return self._status[kind][1]

    def host_groups(self) -> str:
        return ",".join(self._status.get("Groups", ()))

    def user(self, which: int) -> str:
        """The real (0) or effective (1) user by name, or the number that has none."""
        return self._accounts.user(self._status["Uid"][which])

    def group(self, which: int) -> str:
        """As :meth:`user` for groups."""
        return self._accounts.group(self._status["Gid"][which])

    def groups(self) -> str:
        return ",".join(self._accounts.group(number) for number in self._status.get("Groups", ()))

    def capabilities(self, which: str) -> str:
        """The set ``Amb``, ``Bnd``, ``Eff``, ``Inh`` or ``Prm``: names, ``none`` or ``full``."""
        bits = int(self._status[f"Cap{which}"][0], 16) & _EVERY
        if bits == _EVERY:
            return "full"
        return ",".join(sorted(name.removeprefix("CAP_") for name in names(bits))) or "none"

    def seccomp(self) -> str:
        return _SECCOMP.get(self._status.get("Seccomp", [""])[0], _UNKNOWN)

    def label(self) -> str:
        """What AppArmor or SELinux confine it by."""
        try:
            text = _read(f"/proc/{self.host_pid}/attr/current").decode(errors="replace")
        except OSError:
            return _UNKNOWN
        return text.rstrip("\0\n") or _UNKNOWN

    def state(self) -> str:
        return self._stat[_STATE].decode()

    def nice(self) -> str:
        return self._stat[_NICE].decode()

    def terminal(self) -> str:
        number = int(self._stat[_TTY])
        major, minor = os.major(number), os.minor(number)
        if 136 <= major <= 143:  # those of pseudo-terminals, Documentation/admin-guide/devices.txt
            return f"pts/{(major - 136) * 256 + minor}"
        return f"tty{minor}" if major == 4 else _UNKNOWN

    def size(self, which: str) -> str:
        """``VmSize`` or ``VmRSS``; a process that is about to end has none."""
        return self._status.get(which, ["0"])[0]

    def cpu_time(self) -> int:
        return (int(self._stat[_USER_TIME]) + int(self._stat[_SYSTEM_TIME])) * _NANO // _TICKS

    def elapsed(self) -> int:
        return max(self._uptime - int(self._stat[_START]) * _NANO // _TICKS, 0)

    def started(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns() - self.elapsed()

    def cpu_share(self) -> str:
        return f"{100 * self.cpu_time() / self.elapsed():.3f}" if self.elapsed() else "0.000"


class Column:
    """A format descriptor: its heading, its code of ps(1) (``%p``) and what it shows: a text, or as for ``kind``.

    ``kind`` is empty, ``duration`` (nanoseconds) or ``time`` (nanoseconds since the epoch).
    """

    __slots__ = ("code", "heading", "kind", "value")

    def __init__(self, heading: str, value: Callable[[Process], object], code: str = "", kind: str = "") -> None:
        self.heading = heading
        self.value = value
        self.code = code
        self.kind = kind


COLUMNS = {
    "args": Column("COMMAND", lambda found: found.command, "%a"),
    "capamb": Column("AMBIENT CAPS", lambda found: found.capabilities("Amb")),
    "capbnd": Column("BOUNDING CAPS", lambda found: found.capabilities("Bnd")),
    "capeff": Column("EFFECTIVE CAPS", lambda found: found.capabilities("Eff")),
    "capinh": Column("INHERITED CAPS", lambda found: found.capabilities("Inh")),
    "capprm": Column("PERMITTED CAPS", lambda found: found.capabilities("Prm")),
    "comm": Column("COMMAND", lambda found: found.name, "%c"),
    "etime": Column("ELAPSED", Process.elapsed, "%t", "duration"),
    "group": Column("GROUP", lambda found: found.group(1), "%G"),
    "groups": Column("GROUPS", Process.groups),
    "hgroup": Column("HGROUP", lambda found: found.host_id("Gid")),
    "hgroups": Column("HGROUPS", Process.host_groups),
    "hpid": Column("HPID", lambda found: found.host_pid),
    "huser": Column("HUSER", lambda found: found.host_id("Uid")),
    "label": Column("LABEL", Process.label),
    "nice": Column("NI", Process.nice, "%n"),
    "pcpu": Column("%CPU", Process.cpu_share, "%C"),
    "pgid": Column("PGID", lambda found: found.pgid, "%r"),
    "pid": Column("PID", lambda found: found.pid, "%p"),
    "ppid": Column("PPID", lambda found: found.ppid, "%P"),
    "rgroup": Column("RGROUP", lambda found: found.group(0), "%g"),
    "rss": Column("RSS", lambda found: found.size("VmRSS")),
    "ruser": Column("RUSER", lambda found: found.user(0), "%u"),
    "seccomp": Column("SECCOMP", Process.seccomp),
    "state": Column("STATE", Process.state),
    "stime": Column("STIME", Process.started, kind="time"),
    "time": Column("TIME", Process.cpu_time, "%x", "duration"),
    "tty": Column("TTY", Process.terminal, "%y"),
    "user": Column("USER", lambda found: found.user(1), "%U"),
    "vsz": Column("VSZ", lambda found: found.size("VmSize"), "%z"),
}
DEFAULT = ("user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args")


def columns(words: Sequence[str]) -> list[Column] | None:
    """The columns that ``words`` name, separated by commas too; ``None`` where they are arguments of ps(1)."""
    codes = {column.code: column for column in COLUMNS.values() if column.code}
    found = []
    for word in ",".join(words).split(","):
        column = COLUMNS.get(word) or codes.get(word)
        if column is None:
            return None
        found.append(column)
    return found


def processes(engine: Engine, container_id: str) -> list[Process]:
    """The processes of a container that runs, the first before those that it started. Raises RootlessError."""
    now = status(engine, container_id)
    if now.state not in ("running", "paused"):
        raise RootlessError("top can only be used on running containers", f"rootless start {container_id[:12]}")
    container = known(engine, container_id)
    passwd, _, group = view.inside(engine, container, _account_files).partition(b"\0")
    accounts = Accounts(passwd, group, container.idmap)
    uptime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    known_pids: dict[int, int] = {}
    found = []
    level = len(_numbers(now.pid)) - 1
    for number in of_container(now.pid, now.cgroup):
        try:
            known_pids[number] = _numbers(number)[level]
        except (OSError, IndexError):  # it has ended, or is none of the container's pid namespace
            continue
    for number in known_pids:
        try:
            found.append(Process(number, level, known_pids, accounts, uptime))
        except (OSError, KeyError, IndexError):  # it has ended meanwhile
            continue
    return sorted(found, key=lambda process: process.pid)


def _numbers(pid: int) -> list[int]:
    """The numbers of a process in the pid namespaces that it is in, the reader's first."""
    lines = _read(f"/proc/{pid}/status").split(b"\n")
    return [int(word) for line in lines if line.startswith(b"NSpid:") for word in line.split()[1:]]


def _account_files(root: int) -> bytes:
    found = [read_regular(root, path, _LIMIT) or b"" for path in ("/etc/passwd", "/etc/group")]
    return b"\0".join(data.replace(b"\0", b"") for data in found)


def _table(data: bytes) -> dict[str, str]:
    """Name by number of a passwd(5) or group(5) file; the first one counts."""
    found: dict[str, str] = {}
    for line in data.split(b"\n"):
        fields = os.fsdecode(line.strip()).split(":")
        if len(fields) > 2 and fields[0] and fields[2].isdecimal():
            found.setdefault(fields[2], fields[0])
    return found


def _inside(rows: Sequence[Row], outside: int) -> str:
    """The container's number for one of the host; that of nobody where there is none, as the kernel shows it."""
    for inside, first, length in rows:
        if first <= outside < first + length:
            return str(inside + outside - first)
    return _OVERFLOW


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(1 << 20) or b""
