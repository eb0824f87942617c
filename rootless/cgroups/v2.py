"""One control group of the version 2 hierarchy, as a directory of files."""

from __future__ import annotations

import errno
import os
import select
import time

from rootless.cgroups.tree import hierarchy
from rootless.errors import RootlessError
from rootless.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NoReturn

PATIENCE = 10.0
"""Seconds that the kernel may take to freeze, to thaw or to empty a group."""

DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"
_READ = os.O_RDONLY | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CLOEXEC
_PIECE = 1 << 16
_PAUSE = 0.005


class Stats:
    """What a group uses: CPU time in microseconds, sizes in bytes. A ``memory_limit`` of 0 is none.

    ``memory`` leaves out the inactive part of the page cache, which the kernel gives back at once, as podman does.
    """

    __slots__ = ("cpu_system", "cpu_total", "io_read", "io_written", "memory", "memory_limit", "pids")

    def __init__(self) -> None:
        self.cpu_total = self.cpu_system = 0
        self.memory = self.memory_limit = 0
        self.io_read = self.io_written = 0
        self.pids = 0


class Cgroup:
    """The group at ``path``, an absolute path below the mount point of the hierarchy."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, name: str) -> str:
        """The content of a file of the group, without the newline at its end. Raises ``OSError``."""
        fd = os.open(f"{self.path}/{name}", _READ)
        try:
            parts = []
            while part := os.read(fd, _PIECE):
                parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts).decode(errors="replace").rstrip("\n")

    def put(self, name: str, text: str) -> None:
        """Write ``text`` to a file of the group in one write(2). Raises ``OSError``."""
        fd = os.open(f"{self.path}/{name}", _WRITE)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def table(self, name: str) -> dict[str, int]:
        """A file of lines ``key number``; empty where there is none."""
        try:
            lines = self.read(name).splitlines()
        except OSError:
            return {}
        pairs = (line.partition(" ") for line in lines)
        return {key: int(value) for key, _, value in pairs if value.isdigit()}

    def exists(self) -> bool:
        """Whether the group is there."""
        return os.path.isdir(self.path)

    def make(self) -> None:
        """Make the group, open to readers as the kernel's own are: programs look there for their limits."""
        try:
            os.mkdir(self.path)
            os.chmod(self.path, 0o755)
        except FileExistsError:
            return

    def give(self, owner: int) -> None:
        """Let a user of the host make groups below this one (cgroup-v2.rst, "Delegation"). Raises ``OSError``."""
        with open("/sys/kernel/cgroup/delegate", encoding="ascii") as file:
            names = file.read().split()
        os.chown(self.path, owner, -1)
        for name in names:
            try:
                os.chown(f"{self.path}/{name}", owner, -1)
            except FileNotFoundError:
                continue

    def open_procs(self) -> int:
        """A descriptor of ``cgroup.procs``: a process that writes ``0`` to it joins the group."""
        return os.open(f"{self.path}/cgroup.procs", _WRITE)

    def add(self, pid: int) -> None:
        """Move the process ``pid`` into the group. Raises ``RootlessError``; a process that has ended is none."""
        try:
            self.put("cgroup.procs", str(pid))
        except ProcessLookupError:
            return
        except OSError as error:
            _fail(f"cannot put process {pid} into the control group {self.path}", error)

    def pids(self) -> list[int]:
        """The processes of the group and of all below it."""
        found: list[int] = []
        for path in self._tree():
            for name in ("cgroup.procs", "cgroup.threads"):  # a threaded group has only the second
                try:
                    found += [int(word) for word in Cgroup(path).read(name).split()]
                except OSError as error:
                    if error.errno == errno.EOPNOTSUPP:
                        continue
                break
        return sorted(set(found))

    def _tree(self) -> list[str]:
        """The directories of the group and of all below it, each before those inside it."""
        found = [self.path]
        for path in found:
            try:
                with os.scandir(path) as entries:
                    found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                continue
        return found

    def controllers(self) -> list[str]:
        """The controllers that this group has."""
        try:
            return self.read("cgroup.controllers").split()
        except OSError:
            return []

    def enable(self, wanted: Iterable[str] | None = None) -> list[str]:
        """Give the groups below this one the controllers ``wanted`` (all that it has); those that they now have.

        The kernel refuses that where processes are in the group itself (EBUSY), and nothing is raised then.
        """
        have = self.controllers()
        missing = [name for name in have if wanted is None or name in wanted]
        try:
            enabled = self.read("cgroup.subtree_control").split()
            missing = [name for name in missing if name not in enabled]
            if missing:
                try:
                    self.put("cgroup.subtree_control", " ".join("+" + name for name in missing))
                except OSError as error:
                    if error.errno == errno.EBUSY:
                        return enabled
                    for name in missing:  # one may be out of order where the others are not
                        try:
                            self.put("cgroup.subtree_control", "+" + name)
                        except OSError:
                            continue
                enabled = self.read("cgroup.subtree_control").split()
        except OSError:
            return []
        return enabled

    def write(self, values: Mapping[str, str]) -> list[str]:
        """Set limits: {file: value}, each line of a value by itself; notes about what the machine does without.

        Raises ``RootlessError`` that names the controller which is missing, or the value that was refused.
        """
        notes: list[str] = []
        for name, value in values.items():
            for line in value.split("\n"):
                try:
                    self.put(name, line)
                except FileNotFoundError:
                    self._missing(name, line, notes)
                except OSError as error:
                    hint = self._hint(name) if error.errno in (errno.EACCES, errno.EPERM) else ""
                    _fail(f"cannot set {name} to {line!r}", error, hint)
        return notes

    def change(self, values: Mapping[str, str]) -> None:
        """Set limits of a group that is in use: all, or with the error of the one that was refused none."""
        before = {}
        for name in values:
            try:
                before[name] = self.read(name)
            except OSError:
                continue
        try:
            self.write(values)
        except RootlessError:
            for name, value in before.items():
                try:
                    self.write({name: value})
                except RootlessError:
                    continue
            raise

    def _missing(self, name: str, line: str, notes: list[str]) -> None:
        """What to do where the kernel does not show the file of a limit."""
        controller = name.partition(".")[0]
        if controller not in self.controllers():
            raise missing_controller(controller, name)
        if name == "memory.swap.max":
            notes.append("swap is not limited: this machine does not account for it")
            return
        if name == "io.bfq.weight" and " " not in line:
            from rootless.cgroups.resources import io_weight

            self.write({"io.weight": f"default {io_weight(int(line))}"})
            return
        raise RootlessError(f"cannot set {name}: this kernel has no such limit", "leave it out")

    def _hint(self, name: str) -> str:
        return delegation_hint(name.partition(".")[0])

    def freeze(self) -> None:
        """Stop every process of the group and of those below it, and wait until they are. Raises ``RootlessError``."""
        try:
            self._set_frozen("1")
        except RootlessError:
            self.put("cgroup.freeze", "0")
            raise

    def thaw(self) -> None:
        """Let the processes go on."""
        self._set_frozen("0")

    def frozen(self) -> bool:
        """Whether the group was told to freeze."""
        try:
            return self.read("cgroup.freeze") == "1"
        except OSError:
            return False

    def _set_frozen(self, wanted: str) -> None:
        word = "freeze" if wanted == "1" else "thaw"
        try:
            events = os.open(f"{self.path}/cgroup.events", _READ)
            try:
                self.put("cgroup.freeze", wanted)
                _await(events, f"frozen {wanted}", f"cannot {word} the control group {self.path}")
            finally:
                os.close(events)
        except OSError as error:
            _fail(f"cannot {word} the control group {self.path}", error)

    def kill(self) -> None:
        """Kill every process of the group and of those below it, and wait until it is empty."""
        try:
            self.put("cgroup.kill", "1")
        except FileNotFoundError:  # before Linux 5.14, or the group is gone
            self._kill_one_by_one()
        except OSError as error:
            _fail(f"cannot kill the control group {self.path}", error)
        try:
            events = os.open(f"{self.path}/cgroup.events", _READ)
        except OSError:
            return
        try:
            _await(events, "populated 0", f"cannot kill the control group {self.path}")
        finally:
            os.close(events)

    def _kill_one_by_one(self) -> None:
        """Kill until nobody is left to fork; frozen, a group cannot run away from it."""
        until = time.monotonic() + PATIENCE
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signals.SIGKILL)
                except ProcessLookupError:
                    continue
            try:
                self.put("cgroup.freeze", "0")  # a signal that kills reaches the frozen, others of the tree need it
            except OSError:
                return
            if time.monotonic() > until:
                return
            time.sleep(_PAUSE)

    def populated(self) -> bool:
        """Whether any process is in the group or below it."""
        return bool(self.table("cgroup.events").get("populated"))

    def stats(self) -> Stats:
        """What the group uses now. What no controller counts is taken from its processes, or 0."""
        found = Stats()
        cpu = self.table("cpu.stat")
        found.cpu_total, found.cpu_system = cpu.get("usage_usec", 0), cpu.get("system_usec", 0)
        try:
            found.memory = int(self.read("memory.current")) - self.table("memory.stat").get("inactive_file", 0)
            limit = self.read("memory.max")
            found.memory_limit = int(limit) if limit.isdigit() else 0
        except OSError:
            found.memory = sum(map(_private_memory, self.pids()))
        try:
            found.pids = int(self.read("pids.current"))
        except OSError:
            found.pids = len(self.pids())
        found.io_read, found.io_written = self._io()
        return found

    def _io(self) -> tuple[int, int]:
        read = written = 0
        try:
            lines = self.read("io.stat").splitlines()
        except OSError:
            return 0, 0
        for line in lines:
            for word in line.split()[1:]:
                key, _, value = word.partition("=")
                if value.isdigit():
                    read += int(value) if key == "rbytes" else 0
                    written += int(value) if key == "wbytes" else 0
        return read, written

    def oom_kills(self) -> int:
        """How many processes of the group the kernel has killed because its memory was full."""
        return self.table("memory.events").get("oom_kill", 0)

    def delete(self, patience: float = 1.0) -> bool:
        """Remove the group and those below it, waiting up to ``patience`` seconds for the last processes to go.

        ``False``: something is still in it.
        """
        until = time.monotonic() + patience
        while True:
            busy = False
            for path in reversed(self._tree()):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    continue
                except OSError:
                    busy = True
            if not busy:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE)


def _await(events: int, wanted: str, what: str) -> None:
    """Wait until the file ``cgroup.events`` says ``wanted``; the kernel tells of each change (POLLPRI in poll(2))."""
    poll = select.poll()
    poll.register(events, select.POLLPRI)
    until = time.monotonic() + PATIENCE
    while True:
        try:
            text = os.pread(events, 4096, 0).decode()
        except OSError as error:
            if error.errno == errno.ENODEV:  # the group was removed meanwhile
                return
            raise
        if wanted in text.splitlines():
            return
        left = until - time.monotonic()
        if left <= 0:
            raise RootlessError(f"{what}: the kernel did not within {PATIENCE:.0f} seconds", "try again")
        poll.poll(min(left, 0.5) * 1000)


def _private_memory(pid: int) -> int:
    """Resident memory of a process that is no file's, in bytes (statm in proc(5))."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            words = file.read(256).split()
        return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError, ValueError):
        return 0


def missing_controller(controller: str, limit: str) -> RootlessError:
    """The error for a limit whose controller the group does not have."""
    message = f"cannot set {limit}: the {controller} controller of control groups is not delegated to this user"
    if os.geteuid() == 0:
        message = f"cannot set {limit}: the {controller} controller is not available in this control group"
    return RootlessError(message, delegation_hint(controller))


def delegation_hint(*controllers: str) -> str:
    """How an administrator gives users controllers; that they cannot be had, where the machine has none of them."""
    names = delegation(*controllers)
    if not names:
        return f"this machine has no {controllers[0]} controller for control groups of version 2: leave the limit out"
    # What a manager that goes on running may give away it looks up only when it starts itself anew.
    return (
        f"as root write the lines [Service] and Delegate={' '.join(names)} to {DROP_IN} and run systemctl "
        "daemon-reload; then run systemctl --user daemon-reexec, or log in again"
    )


def delegation(*controllers: str) -> list[str]:
    """The controllers that systemd is to give users so that they have these; empty where the machine has none of them.
    """
    there = Cgroup(hierarchy()[0]).controllers()
    wanted = [name for name in controllers if name in there]
    names = ["cpu", "cpuset", "io", "memory", "pids"]
    return names + [name for name in wanted if name not in names] if wanted else []


def _fail(message: str, error: OSError, hint: str = "") -> NoReturn:
    raise RootlessError(f"{message}: {error.strerror}", hint) from error
