"""The shim: the small process between the caller and the container's first process.

It stays outside the container's mount and pid namespaces but inside its user namespace. It forks init, waits for it,
kills it when the caller is gone, then unmounts and deletes what belongs to subordinate ids, and tells the exit code.
"""

from __future__ import annotations

import os
import select

from rootless.errors import RootlessError
from rootless.init import confine, main, wire
from rootless.init.failure import report
from rootless.linux import libc, signals
from rootless.linux.libc import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.userns import become_root, unshare_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.init.plan import Plan
    from rootless.init.wire import Channel, Detached

_RLIMIT_NPROC = 6


def run(
    plan: Plan,
    caller: Channel,
    lifeline: Channel,
    streams: tuple[int, int, int],
    placed: bool,
    detached: Detached | None,
) -> NoReturn:
    """Be the shim of one container. ``caller`` is shared with init; ``lifeline`` is the shim's own.

    ``placed``: the caller sends a descriptor of the cgroup.procs of the control group that init joins.
    """
    code = 125
    try:
        group = main.expect(lifeline, wire.PLACE) if placed else ()
        code = serve(plan, caller, lifeline, streams, group, detached)
    except BaseException as error:  # the process must end here, whatever happens
        code = report(caller, error)
    finally:
        os._exit(code)


def join_cgroup(group: tuple[wire.Value, ...]) -> None:
    """Put init into its control group, by the descriptor that the caller opened.

    The shim stays outside: what it does and takes is not the container's, and it goes on when that is frozen.
    """
    fd = group[-1] if group else None
    if not isinstance(fd, int):
        return
    try:
        os.write(fd, b"0")
    except OSError as error:
        raise RootlessError(f"cannot put the container into its control group: {error.strerror}") from None
    os.close(fd)


def serve(
    plan: Plan,
    caller: Channel,
    lifeline: Channel,
    streams: tuple[int, int, int],
    group: tuple[wire.Value, ...],
    detached: Detached | None,
) -> int:
    """Fork init, wait for it, clean up; the container's exit code. If it is detached only fork it."""
    os.setsid()
    signals.block_all()
    confine.raise_hard_limits(plan.limits)
    if plan.namespaces & CLONE_NEWUSER:
        leave_processes()
    fuse = plan.rootfs["kind"] == "fuse-overlayfs"
    if plan.joined:
        join_early(plan)
    enter_user_namespace(plan, fuse)
    caller.send(wire.UNSHARED)
    helper = 0
    if fuse:
        from rootless.init.fuse import mount_fuse  # loaded before the fork

        main.expect(lifeline, wire.MAPPED)
        become_root(plan.idmap)
        helper = mount_fuse(plan.rootfs, plan.fuse_overlayfs, detached is None)
    keeper = 0
    if plan.keeper:
        from rootless.init.keeper import start  # loaded before the fork

        keeper = start(plan.keeper, plan.idmap)
    for kind, path in plan.joined:
        if kind == CLONE_NEWPID and path:
            main.join_namespace(kind, path)
    if plan.namespaces & CLONE_NEWPID:
        libc.unshare(CLONE_NEWPID)
    if plan.namespaces & CLONE_NEWTIME:
        from rootless.init.clocks import leave_clocks  # loaded before the fork

        leave_clocks(plan.time_offsets)
    shim = os.getpid()
    init = os.fork()
    if init == 0:
        lifeline.close()
        begin(plan, caller, streams, group, shim, detached)
    pidfd = pidfd_open(init)
    caller.send(wire.INIT, init, fd=pidfd)
    caller.close()
    if detached:
        # The map is written by way of this process, or of newuidmap's view of it: one that has ended has none.
        main.expect(lifeline, wire.MAPPED)
        if helper:
            # Init has a copy of the mount; the file system's process ends with that one then.
            libc.umount(plan.rootfs["merged"])
        return 0
    keep_only(lifeline.fileno(), pidfd)
    code = wait_for(init, pidfd, lifeline)
    if keeper:
        os.kill(keeper, signals.SIGKILL)
        os.waitpid(keeper, 0)
    clean_up(plan, helper)
    lifeline.send(wire.EXITED, code)
    return code


def begin(
    plan: Plan,
    caller: Channel,
    streams: tuple[int, int, int],
    group: tuple[wire.Value, ...],
    shim: int,
    detached: Detached | None,
) -> NoReturn:
    """Be init. It joins its control group before anything else, as its namespace of them has that for its root."""
    try:
        join_cgroup(group)
    except RootlessError as error:
        os._exit(report(caller, error))
    main.run(plan, caller, streams, shim, detached)


def leave_processes() -> None:
    """Keep a quarter of the processes that the user may have out of the container's reach.

    The user namespace that is made next remembers the soft RLIMIT_NPROC: the processes of all its users together, and
    the caller's own, may be as many (Linux 5.14). So no fork bomb keeps the user's shell from starting a command.
    """
    soft, hard = libc.getrlimit(_RLIMIT_NPROC)
    with open("/proc/sys/kernel/pid_max", "rb", buffering=0) as file:
        most = min(soft, int(file.read(32))) * 3 // 4
    libc.setrlimit(_RLIMIT_NPROC, most, hard)


def join_early(plan: Plan) -> None:
    """Join, before the user namespace is entered, those namespaces that are not its own; their paths become empty.

    What the caller may join may belong to another user namespace, in which the container's root can do nothing.
    """
    if not plan.namespaces & CLONE_NEWUSER and all(kind != CLONE_NEWUSER for kind, _ in plan.joined):
        return
    for number, (kind, path) in enumerate(plan.joined):
        if kind in (CLONE_NEWUSER, CLONE_NEWNS):
            continue
        try:
            main.join_namespace(kind, path)
        except RootlessError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            continue
        plan.joined[number] = kind, ""


def enter_user_namespace(plan: Plan, fuse: bool) -> None:
    """Make or join the user namespace, with a mount namespace of the shim's own where it has to mount."""
    flags = CLONE_NEWNS if fuse else 0
    for kind, path in plan.joined:
        if kind == CLONE_NEWUSER and not os.path.samefile(path, "/proc/self/ns/user"):
            main.join_namespace(kind, path)
    if plan.namespaces & CLONE_NEWUSER:
        unshare_user(flags)
    elif flags:
        libc.unshare(flags)


def keep_only(first: int, second: int) -> None:
    """Close every descriptor but two: the shim must not hold the container's streams open."""
    low, high = sorted((first, second))
    libc.close_range(0, low - 1)
    libc.close_range(low + 1, high - 1)
    libc.close_range(high + 1)


def wait_for(init: int, pidfd: int, lifeline: Channel) -> int:
    """The exit code of init, which is killed when the lifeline ends."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(lifeline.fileno(), select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if pidfd in ready:
            return wire.exit_code(os.waitpid(init, 0)[1])
        if lifeline.receive()[0] == wire.CLOSED:
            poll.unregister(lifeline.fileno())
            pidfd_send_signal(pidfd, signals.SIGKILL)


def clean_up(plan: Plan, helper: int) -> None:
    """Unmount what the shim mounted and delete what the plan says; a leftover is the store's to find later."""
    if not plan.cleanup and not helper:
        return
    become_root(plan.idmap)
    if helper:
        libc.umount(plan.rootfs["merged"])
        os.waitpid(helper, 0)
    if plan.cleanup:
        from rootless.init.delete import delete_directory  # loaded before the fork
    for path in plan.cleanup:
        try:
            delete_directory(path)
        except (OSError, RootlessError):
            continue
