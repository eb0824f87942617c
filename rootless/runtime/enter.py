"""Joining a running container with a further process: `rootless exec`, `rootless-oci exec`.

A caller finds the container (:func:`find`), describes the process (:func:`compile`) and brings it in (:func:`enter`);
what happens in between is `rootless.init.enter`'s.
"""

from __future__ import annotations

import gc
import os
import select

from rootless.errors import RootlessError
from rootless.idmaps import IdMap, read
from rootless.init import enter as joiner
from rootless.init import wire
from rootless.init.enter import Entry, Powers
from rootless.init.failure import await_program, failure
from rootless.linux import libc, signals
from rootless.linux.libc import PR_SET_CHILD_SUBREAPER, prctl
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.runtime import process as processes
from rootless.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.plan import Limit, Listener
    from rootless.init.wire import Channel, Value
    from rootless.runtime.spec import Extras, Linux, Process
    from rootless.runtime.state import State

REFUSED = 255
"""The exit code for a container that cannot be joined and a user that it does not have, as of podman and runc."""

_NAMESPACES = (
    ("user", libc.CLONE_NEWUSER), ("mnt", libc.CLONE_NEWNS), ("pid", libc.CLONE_NEWPID), ("net", libc.CLONE_NEWNET),
    ("ipc", libc.CLONE_NEWIPC), ("uts", libc.CLONE_NEWUTS), ("cgroup", libc.CLONE_NEWCGROUP),
    ("time", libc.CLONE_NEWTIME),
)  # fmt: skip


class Target:
    """A process of a running container whose namespaces are the container's.

    ``pidfd`` holds it: a stranger that gets its ``pid`` later is never entered. ``namespaces``: those that are not the
    caller's, as CLONE_NEW*.
    """

    __slots__ = ("cgroup", "idmap", "namespaces", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, namespaces: int, idmap: IdMap, cgroup: str) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.namespaces = namespaces
        self.idmap = idmap
        self.cgroup = cgroup

    def ended(self) -> bool:
        """Whether it has ended meanwhile."""
        return _ended(self.pidfd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.pidfd)


def find(found: State, *, ignore_paused: bool = False) -> Target:
    """The running container that ``found`` tells of. Raises ``RootlessError`` with exit code 255.

    A paused one is refused: the process would stop there until the container is resumed.
    """
    pid = found["pid"]
    status = "exited"
    pidfd = -1
    try:
        if pid > 0:
            pidfd = pidfd_open(pid)
            # Looked at after the descriptor was opened: so it is the process that was recorded (pid reuse).
            status = state.status(found)
    except (ProcessLookupError, OverflowError):
        status = "exited"
    frozen = bool(found.get("cgroup")) and read(f"{found['cgroup']}/cgroup.freeze").strip() == b"1"
    if status != "running" or (frozen and not ignore_paused):
        if pidfd >= 0:
            os.close(pidfd)
        reasons = {"created": "its program has not been started", "running": "it is paused"}
        what = reasons.get(status, "it is not running")
        raise RootlessError(f"cannot enter the container {found['id'][:12]}: {what}", exit_code=REFUSED)
    try:
        try:
            namespaces = _differing(pid)
        except PermissionError:
            pid, pidfd = _program(pid, pidfd)
            namespaces = _differing(pid)
            if not namespaces & libc.CLONE_NEWNS:
                raise  # a child of another user's process, and in no container
        idmap = IdMap(_rows(f"/proc/{pid}/uid_map"), _rows(f"/proc/{pid}/gid_map"), "")
    except OSError:
        os.close(pidfd)
        raise RootlessError(
            f"cannot enter the container {found['id'][:12]}: it belongs to another user, or has just ended",
            exit_code=REFUSED,
        ) from None
    return Target(pid, pidfd, namespaces, idmap, found.get("cgroup", ""))


def _differing(pid: int) -> int:
    """The kinds of namespaces in which the process is and the caller is not."""
    flags = 0
    for name, kind in _NAMESPACES:
        try:
            ours = os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            continue  # a kernel without them
        theirs = os.stat(f"/proc/{pid}/ns/{name}")
        if (theirs.st_ino, theirs.st_dev) != (ours.st_ino, ours.st_dev):
            flags |= kind
    return flags


def _program(init: int, init_fd: int) -> tuple[int, int]:
    """The first child of a container's first process, and its pidfd; that of the first process is closed.

    With ``--init`` the first process is this program (`rootless.init.reaper`), and closed to everybody. Its first child
    is what it was made for, and lives as long. Raises ``OSError`` where there is none.
    """
    pid = first_child(init)
    pidfd = pidfd_open(pid)
    if first_child(init) != pid or _ended(init_fd):
        os.close(pidfd)
        raise ProcessLookupError
    os.close(init_fd)
    return pid, pidfd


def first_child(pid: int) -> int:
    """The oldest child of a process. Raises ``OSError`` where there is none."""
    words = read(f"/proc/{pid}/task/{pid}/children").split()
    if not words:
        raise ProcessLookupError
    return int(words[0])


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _rows(path: str) -> list[tuple[int, int, int]]:
    numbers = [int(word) for word in read(path).split()]
    if not numbers:
        raise ProcessLookupError
    return [(numbers[at], numbers[at + 1], numbers[at + 2]) for at in range(0, len(numbers), 3)]


def compile(process: Process, linux: Linux, extras: Extras) -> Entry:  # noqa: A001
    """The process that ``process``, and what ``linux`` says of every process of the container, describe.

    Of ``extras`` count ``user``, ``groups``, ``keep_groups``, ``seccomp`` and ``preserve_fds``. Raises
    ``RootlessError``.
    """
    size = process.get("consoleSize")
    apparmor, selinux = processes.labels(process)
    call_filter = processes.call_filter(linux, process, extras)
    left_out: list[str] = []
    powers = Powers(processes.capabilities(process, left_out), process.get("noNewPrivileges", False))
    entry = Entry(
        arguments=process["args"],
        environment=processes.environment(process),
        cwd=process.get("cwd") or "/",
        user=processes.user(process, extras),
        for_root=powers,
        for_others=powers,
        seccomp=call_filter,
        listener=processes.listener(linux, call_filter),
        apparmor=apparmor,
        selinux=selinux,
        limits=processes.limits(process),
        oom_score_adj=process.get("oomScoreAdj"),
        attributes=processes.attributes(process),
        persona=processes.personality(linux),
        terminal=process.get("terminal", False),
        console_size=(size["height"], size["width"]) if size else (0, 0),
        preserved=list(range(3, 3 + extras.get("preserve_fds", 0))),
    )
    entry.notes += left_out
    return entry


class Joined:
    """A process that was brought into a container, a child of this one. ``pid``, ``pidfd``: on the host.

    ``console_fd``: the master of its terminal, -1 without one. It waits for :meth:`start`.
    """

    __slots__ = ("_channel", "_listener", "_state", "_status", "console_fd", "notes", "pid", "pidfd")

    def __init__(self, pid: int, channel: Channel, notes: list[str], listener: Listener | None, state: bytes) -> None:
        self.pid = pid
        self.pidfd = pidfd_open(pid)
        self.console_fd = -1
        self.notes = notes
        self._channel = channel
        self._listener = listener
        self._state = state
        self._status: int | None = None

    def start(self) -> None:
        """Let the program start. Raises ``RootlessError`` with exit code 126 or 127 if it cannot be executed."""

        def pass_on(descriptor: int) -> None:
            from rootless.runtime.listener import forward

            assert self._listener
            forward(self._listener, self._state, descriptor, self.pid)

        self._channel.send(wire.START)
        try:
            await_program(self._channel, pass_on if self._listener else None)
        except RootlessError:
            self.close()
            raise
        finally:
            self._channel.close()

    def kill(self, signal: int) -> bool:
        """Send it a signal. ``False``: it has ended."""
        return pidfd_send_signal(self.pidfd, signal)

    def kill_group(self, signal: int) -> None:
        """Send a signal to its process group, as a terminal does; to be asked only before it was waited for."""
        try:
            os.killpg(self.pid, signal)
        except (ProcessLookupError, PermissionError):
            return

    def wait(self) -> int:
        """Wait for its end; the exit code, 128+N for signal N."""
        if self._status is None:
            self._status = wire.exit_code(os.waitpid(self.pid, 0)[1])
        return self._status

    def close(self) -> None:
        """End it if it still runs."""
        if self._status is None:
            self.kill(signals.SIGKILL)
            self.wait()


def enter(
    target: Target, entry: Entry, streams: tuple[int, int, int] = (0, 1, 2), *, cgroup: str = "", state: bytes = b""
) -> Joined:
    """Bring the process ``entry`` into the container ``target``, up to the point where only the program is missing.

    ``streams`` become its 0, 1 and 2 unless it has a terminal. ``cgroup``: a control group below the container's to be
    in instead of that. ``state``: the container's as JSON, for a seccomp listener. This process must have one thread
    only. Raises ``RootlessError``, with exit code 255 where the container has ended or lacks the user; then nothing is
    left running.
    """
    if entry.terminal:
        from rootless.init import terminal  # noqa: F401 - after the fork nothing is imported
    if entry.apparmor or entry.selinux:
        from rootless.linux import lsm  # noqa: F401
    if entry.listener:
        from rootless.init import listener  # noqa: F401
    if entry.keeper:
        from rootless.init import keeper  # noqa: F401
    entry.pid, entry.pidfd, entry.namespaces, entry.idmap = target.pid, target.pidfd, target.namespaces, target.idmap
    _bound(entry.limits, target)
    entry.cgroup = target.cgroup + (f"/{cgroup}" if cgroup else "")
    entry.airlock = processes.needs_airlock(target.idmap, entry.selinux, entry.notes)
    entry.cgroup_procs = _open_cgroup(entry.cgroup) if entry.cgroup else -1
    joiner_end, joiner_far = wire.pair()
    channel, far = wire.pair()
    # The process becomes this one's child when the joiner ends.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.disable()
    gc.freeze()
    between = os.fork()
    if between == 0:
        joiner_end.close()
        channel.close()
        joiner.join(entry, joiner_far, far, streams)
    gc.unfreeze()
    gc.enable()
    joiner_far.close()
    far.close()
    if entry.cgroup_procs >= 0:
        os.close(entry.cgroup_procs)
    try:
        pid = _expect(joiner_end, wire.INIT)[0]
        assert isinstance(pid, int)
    except BaseException:
        channel.close()
        raise
    finally:
        os.waitpid(between, 0)
        joiner_end.close()
        prctl(PR_SET_CHILD_SUBREAPER, 0)
    try:
        values = _expect(channel, wire.READY)
    except BaseException:
        channel.close()
        os.waitpid(pid, 0)
        raise
    notes = [str(note) for note in values[2]] if isinstance(values[2], list) else []
    joined = Joined(pid, channel, notes, entry.listener, state)
    if entry.terminal and isinstance(values[-1], int):
        joined.console_fd = values[-1]
    return joined


def _bound(limits: list[Limit], target: Target) -> None:
    """Keep RLIMIT_NPROC within the container's, where that stands in for a controller (`rootless.runtime.cgroup`)."""
    if target.cgroup and os.path.exists(f"{target.cgroup}/pids.max"):
        return
    lines = read(f"/proc/{target.pid}/limits").split(b"\n")
    hard = next((line.split()[3] for line in lines if line.startswith(b"Max processes")), b"")
    for limit in limits:
        if limit.name == "NPROC" and not limit.explicit and hard.isdigit():
            limit.soft, limit.hard = min(limit.soft, int(hard)), min(limit.hard, int(hard))


def _expect(channel: Channel, wanted: int) -> tuple[Value, ...]:
    kind, values = channel.receive()
    if kind == wire.FAILED:
        raise failure(values)
    if kind != wanted:
        raise RootlessError("cannot enter the container: it has just ended", exit_code=REFUSED)
    return values


def _open_cgroup(directory: str) -> int:
    """Its cgroup.procs; the joiner has another user's ids when it is to write there."""
    try:
        return os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RootlessError(
            f"cannot join the container's control group {directory}: {error.strerror}", exit_code=REFUSED
        ) from None
