"""The child that joins a running container and becomes a further process of it.

Two forks, as only a child is in a pid namespace that was joined::

    caller ──fork──▶ joiner ──fork──▶ process ──execve──▶ the user's command
                     control group    (a child of the caller, which adopts orphans,
                     setns, ends       or of whoever adopts the caller's)

The joiner closes itself to everybody (PR_SET_DUMPABLE) and forbids itself every import and open before it joins, so the
container can neither look into it nor lead it astray (CVE-2016-9962, CVE-2019-5736, CVE-2019-14271); both hold for its
child until the execve. One setns(2) by pidfd joins all namespaces at once, of exactly the process that was meant.

The messages are those of `rootless.init.wire`: the joiner's INIT with the process's pid on one channel; on another the
process's READY with the terminal's master, START, and at execve the socket closes. FAILED comes at any time.
"""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.init import confine, directory, process, wire
from rootless.init.execute import execute, find
from rootless.init.failure import report
from rootless.init.identity import resolve
from rootless.init.plan import Capabilities
from rootless.init.seal import seal
from rootless.linux import arguments, libc, signals
from rootless.linux.libc import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, prctl
from rootless.linux.path import O_PATH, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.idmaps import IdMap
    from rootless.init.identity import Identity
    from rootless.init.plan import Keeper, Limit, Listener, User
    from rootless.init.process import Attributes
    from rootless.init.wire import Channel

_AT_FDCWD = -100
_TYPE, _FIFO = 0o170000, 0o010000
_NO_SUCH_USER = 255


class Powers:
    """What a process may do: its capabilities, and whether a program may give it more."""

    __slots__ = ("capabilities", "no_new_privileges")

    def __init__(self, capabilities: Capabilities, no_new_privileges: bool) -> None:
        self.capabilities = capabilities
        self.no_new_privileges = no_new_privileges


class Entry:
    """A process that is to join a container, ready to be executed.

    ``pid``, ``pidfd``: a process of the container. ``namespaces``: those of its namespaces that are not the caller's,
    as CLONE_NEW*. ``cgroup``: the directory of the control group to join, empty for none, and ``cgroup_procs`` its
    cgroup.procs, opened for writing. ``for_root`` and ``for_others``: the powers of uid 0 and of every other user.
    ``preserved``: descriptors that the program gets beside 0, 1 and 2, under their numbers. ``terminal``: it gets one
    of the container's own, of ``console_size`` (rows, columns). ``owned``: the program ends with the caller, and
    what is orphaned below it becomes its child instead of the container's. ``proc``: the host's procfs. ``airlock``:
    the container may change the file of this interpreter. ``notes``: what was left out.
    """

    __slots__ = (
        "airlock", "apparmor", "arguments", "attributes", "capabilities", "cgroup", "cgroup_procs", "console_size",
        "cwd", "environment", "for_others", "for_root", "idmap", "keeper", "limits", "listener", "namespaces",
        "no_new_privileges", "notes", "oom_score_adj", "owned", "persona", "pid", "pidfd", "preserved", "proc",
        "seccomp", "selinux", "terminal", "user",
    )  # fmt: skip

    def __init__(
        self,
        *,
        arguments: list[str],
        environment: dict[str, str],
        cwd: str,
        user: User,
        for_root: Powers,
        for_others: Powers,
        seccomp: bytes | None,
        listener: Listener | None,
        apparmor: str,
        selinux: str,
        limits: list[Limit],
        oom_score_adj: int | None,
        attributes: Attributes | None,
        persona: int | None,
        terminal: bool,
        console_size: tuple[int, int],
        preserved: list[int],
    ) -> None:
        self.arguments = arguments
        self.environment = environment
        self.cwd = cwd
        self.user = user
        self.for_root = for_root
        self.for_others = for_others
        self.seccomp = seccomp
        self.listener = listener
        self.apparmor = apparmor
        self.selinux = selinux
        self.limits = limits
        self.oom_score_adj = oom_score_adj
        self.attributes = attributes
        self.persona = persona
        self.terminal = terminal
        self.console_size = console_size
        self.preserved = preserved
        # Where it is to go, see `rootless.runtime.enter`.
        self.pid = 0
        self.pidfd = -1
        self.namespaces = 0
        self.idmap: IdMap
        self.cgroup = ""
        self.cgroup_procs = -1
        self.proc = -1
        self.owned = False
        self.keeper: Keeper | None = None
        self.airlock = False
        # Found on the way.
        self.capabilities = Capabilities()
        self.no_new_privileges = False
        self.notes: list[str] = []


def join(entry: Entry, own: Channel, caller: Channel, streams: tuple[int, int, int]) -> NoReturn:
    """Be the joiner, which reports on its ``own`` channel; ``caller`` is for the process."""
    try:
        pid = _join(entry)
        if pid == 0:
            own.close()
            _run(entry, caller, streams)
        own.send(wire.INIT, pid)
    except BaseException as error:  # the process must end here, whatever happens
        report(own, error, "join the container")
    finally:
        os._exit(0)


def _join(entry: Entry) -> int:
    """Join, and fork: 0 in the process that is in all of the namespaces, else its pid on the host."""
    signals.block_all()
    arguments.clear()
    confine.raise_hard_limits(entry.limits)
    if entry.oom_score_adj is not None:
        process.set_oom_score(entry.oom_score_adj, entry.notes)
    attributes = entry.attributes
    if attributes:
        process.set_scheduler(attributes)
        process.set_io_priority(attributes)
        process.set_affinity(attributes.initial)
    _join_cgroup(entry)
    if attributes:
        process.set_affinity(attributes.final)
    if entry.apparmor or entry.selinux:
        from rootless.linux.lsm import open_proc  # loaded before the fork

        entry.proc = open_proc()
    prctl(PR_SET_DUMPABLE, 0)
    seal()
    try:
        libc.setns(entry.pidfd, entry.namespaces)
    except ProcessLookupError:
        raise RootlessError("cannot join the container: it has ended", exit_code=255) from None
    except PermissionError:
        hint = "where a system call filter forbids it, start the container that this is in with seccomp=unconfined"
        raise RootlessError("cannot join the container: its namespaces may not be entered", hint) from None
    # Credentials have changed, and fs.suid_dumpable may be set.
    prctl(PR_SET_DUMPABLE, 0)
    return os.fork()


def _join_cgroup(entry: Entry) -> None:
    """Join the control group, where no process of the container can have a say yet."""
    if entry.cgroup_procs < 0:
        return
    try:
        try:
            os.write(entry.cgroup_procs, b"0")
        except PermissionError:
            # Of the tree that holds both a login session and the container the user owns nothing: systemd moves it.
            from rootless.cgroups.placement import join

            join(_current_cgroup(entry) or entry.cgroup, os.getpid())
        except OSError as error:
            # The container has made groups below its own, and a group with such ones has no processes (cgroups(7)).
            below = _current_cgroup(entry) if error.errno in (errno.EBUSY, errno.EOPNOTSUPP) else ""
            if not below:
                raise
            fd = os.open(f"{below}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, b"0")
            os.close(fd)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise RootlessError(f"cannot join the container's control group {entry.cgroup}: {reason}") from None


def _current_cgroup(entry: Entry) -> str:
    """The directory of the group below the container's that its first process is in; empty if it is in that itself."""
    fd = os.open(f"/proc/{entry.pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    lines = os.fsdecode(os.read(fd, 1 << 16)).split("\n")
    os.close(fd)
    path = next((line[3:] for line in lines if line.startswith("0::")), "")
    if "/.." in path:
        return ""
    # The longest beginning of it that is the end of the directory's own path is the container's group.
    whole = entry.cgroup.rstrip("/")
    parts = path.split("/")
    for length in range(len(parts), 1, -1):
        beginning = "/".join(parts[:length])
        if whole.endswith(beginning):
            rest = path[len(beginning) :]
            return whole + rest if rest else ""
    return ""


def _run(entry: Entry, caller: Channel, streams: tuple[int, int, int]) -> NoReturn:
    """Be the process. A failure is reported to the caller; the exit code is its code."""
    code = 125
    try:
        _become(entry, caller, streams)
    except BaseException as error:  # the process must end here, whatever happens
        code = report(caller, error, "start the command in the container")
    finally:
        os._exit(code)


def _become(entry: Entry, caller: Channel, streams: tuple[int, int, int]) -> NoReturn:
    """The steps inside the container, in their order; it returns only by raising."""
    os.setsid()
    if entry.owned:
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    # 1. Root of the container; a keyring of its own.
    _become_root(entry)
    libc.new_session_keyring()

    # 2. Who the program will be, as the container's own files say; its powers depend on that.
    root = openat2(_AT_FDCWD, "/", O_PATH | os.O_DIRECTORY)
    directory.check_served(root)
    identity = _identify(entry, root)
    powers = entry.for_others if identity.uid else entry.for_root
    entry.capabilities, entry.no_new_privileges = powers.capabilities, powers.no_new_privileges
    cwd = directory.open_directory(root, entry.cwd)

    # 3. The terminal or the given streams become 0, 1 and 2; every other descriptor closes at execve.
    master = None
    if entry.terminal:
        master = _take_terminal(entry, root, identity)
    else:
        _take_streams(streams, identity)
    libc.close_on_exec_from(3)
    for fd in entry.preserved:
        os.set_inheritable(fd, True)

    # 4. The working directory, as root if root may; limits, ids, capabilities.
    airlock = None
    if entry.airlock:
        from rootless.init.airlock import Airlock  # loaded before the fork

        airlock = Airlock()
    inside = directory.try_directory(cwd)
    if entry.persona is not None:
        libc.personality(entry.persona)
    confine.apply_limits(entry.limits, entry)
    confine.drop_ids(entry, identity, entry)
    prctl(PR_SET_DUMPABLE, 0)
    if entry.user.umask is not None:
        os.umask(entry.user.umask)
    if not inside and not directory.try_directory(cwd):
        raise RootlessError(f"cannot enter the working directory {entry.cwd}: Permission denied", exit_code=126)
    directory.check_inside(entry.cwd)

    # 5. Ready; the caller decides when to start.
    environment = {os.fsencode(key): os.fsencode(value) for key, value in entry.environment.items()}
    if b"HOME" not in environment:
        environment[b"HOME"] = os.fsencode(identity.home or "/")
    words = [os.fsencode(argument) for argument in entry.arguments]
    caller.send(wire.READY, identity.uid, identity.gid, entry.notes, fd=master)
    if caller.receive()[0] != wire.START:
        os._exit(137)  # the caller is gone
    if entry.owned:
        prctl(PR_SET_PDEATHSIG, signals.SIGKILL)  # the joiner has ended, and no credential changes any more

    # 6. The label and the filter last, then the program.
    if entry.proc >= 0:
        from rootless.linux.lsm import label_next_program  # loaded before the fork

        label_next_program(entry.proc, entry.apparmor, entry.selinux)
    path = find(words, environment)
    kept = {caller.fileno(), *entry.preserved}
    if airlock:
        caller.send(wire.AIRLOCK, words[0], fd=airlock.reader)
        kept |= airlock.descriptors()
    if entry.keeper and entry.keeper.channel:
        kept.add(entry.keeper.channel.fileno())
    _close_all_but(kept)
    if entry.listener:
        from rootless.init.listener import collect, watch  # loaded before the fork

        helper = watch(caller)
        confine.lock(entry)
        collect(helper)
    else:
        confine.lock(entry)
    signals.reset()
    execute(path, words, environment, airlock)


def _become_root(entry: Entry) -> None:
    """Take the ids 0 of the container where it has them; the capabilities are there in any case (setns(2))."""
    if entry.idmap.host_gid(0) is not None:
        os.setresgid(0, 0, 0)
    if entry.idmap.host_uid(0) is not None:
        os.setresuid(0, 0, 0)
    prctl(PR_SET_DUMPABLE, 0)
    if not entry.user.keep_groups:
        try:
            os.setgroups([])
        except PermissionError:
            return  # the map was written without a helper (user_namespaces(7))


def _identify(entry: Entry, root: int) -> Identity:
    try:
        identity = resolve(root, entry.user)
        confine.check_mapped(identity, entry.idmap, entry)
    except RootlessError as error:
        raise RootlessError(error.message, error.hint, _NO_SUCH_USER) from None
    return identity


def _close_all_but(kept: set[int]) -> None:
    """Close every descriptor from 3 on but ``kept``.

    To mark them close-on-exec would not do: for a moment of the execve the process already belongs to the container's
    user namespace, whose root may look into it, and its descriptors are still open.
    """
    low = 3
    for fd in sorted(kept):
        libc.close_range(low, fd - 1)
        low = fd + 1
    libc.close_range(low)


def _take_terminal(entry: Entry, root: int, identity: Identity) -> int:
    """Make a terminal of the container's the controlling one; its master, which is the caller's."""
    from rootless.init.terminal import open_terminal, take_control  # loaded before the fork

    try:
        devpts = openat2(root, "/dev/pts", O_PATH | os.O_DIRECTORY)
    except OSError:
        raise RootlessError("cannot make a terminal: the container has no /dev/pts") from None
    master, slave = open_terminal(devpts, entry.console_size)
    if identity.uid:
        os.fchown(slave, identity.uid, -1)
    for number in range(3):
        os.dup2(slave, number)
    take_control(0)
    return master


def _take_streams(streams: tuple[int, int, int], identity: Identity) -> None:
    """Put the given streams on 0, 1 and 2. Those that are moved lie above 2, so none is in the other's way."""
    for number, fd in enumerate(streams):
        if fd != number:
            os.dup2(fd, number)
        else:
            os.set_inheritable(number, True)
        if identity.uid and os.fstat(number).st_mode & _TYPE == _FIFO:
            # So that the user may open /dev/stdout anew; a device of the host is never touched.
            try:
                os.fchown(number, identity.uid, -1)
            except OSError:
                continue
