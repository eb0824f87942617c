"""The container's first process, from its fork to execve(2): one list of steps, in the order that matters.

The order is crun's and youki's, with these differences:

- Sources of mounts are taken before the id map is there: the caller's own directories are still its own then, and the
  work goes on while newuidmap and newgidmap run.
- Masks, read-only paths and the terminal are mounted before the pivot: every mount is made by descriptors from outside,
  so that after the pivot there is nothing left that could look at a path of the image.
- Resource limits are set late, as low ones would hinder the start.
- The system call filter is loaded after START in both cases; without no_new_privs the process keeps CAP_SYS_ADMIN
  until then.
"""

from __future__ import annotations

import fcntl
import os

from rootless.errors import RootlessError
from rootless.init import confine, network, ops, wire
from rootless.init.directory import check_inside, open_directory, try_directory
from rootless.init.execute import execute, find
from rootless.init.failure import report
from rootless.init.identity import account_files, resolve
from rootless.init.masks import make_read_only, mask
from rootless.init.rootfs import Rootfs, change_root
from rootless.init.seal import seal
from rootless.linux import libc, signals
from rootless.linux.arguments import clear as clear_arguments
from rootless.linux.libc import (
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    PR_SET_DUMPABLE,
    prctl,
)
from rootless.linux.mountapi import MOUNT_ATTR_RDONLY, mount_setattr, move_mount, new_mount, open_tree
from rootless.linux.path import (
    O_PATH,
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    make_directory,
    make_file,
    openat2,
)
from rootless.userns import become_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.init.airlock import Airlock
    from rootless.init.identity import Identity
    from rootless.init.plan import Plan
    from rootless.init.wire import Channel, Detached

_CANNOT_INVOKE, _NOT_FOUND = 126, 127
_FIFO, _TYPE = 0o010000, 0o170000
_FREE_FD = 10


class _Gone(Exception):
    """The caller has ended; there is nobody to report to."""


def run(
    plan: Plan, caller: Channel, streams: tuple[int, int, int], shim: int, detached: Detached | None
) -> NoReturn:
    """Start the container in this process. A failure is reported to the caller; the exit code is its code."""
    code = 125
    try:
        start(plan, caller, streams, shim, detached)
    except _Gone:
        code = 137
    except BaseException as error:  # the process must end here, whatever happens
        code = report(caller, error)
    finally:
        os._exit(code)


def expect(caller: Channel, kind: int) -> tuple[wire.Value, ...]:
    """Wait for one kind of message from the caller."""
    received, values = caller.receive()
    if received != kind:
        raise _Gone
    return values


def start(
    plan: Plan, caller: Channel, streams: tuple[int, int, int], shim: int, detached: Detached | None
) -> NoReturn:
    """The list. It returns only by raising."""
    site = ops.Site()
    site.own_pid = bool(plan.namespaces & CLONE_NEWPID) or any(kind == CLONE_NEWPID for kind, _ in plan.joined)
    guardian = detached.guardian if detached else shim
    parent = 0 if site.own_pid else guardian

    # 1. Die with the shim; a session of our own. A detached one has its guardian only when the shim is gone.
    if not detached:
        libc.die_with_parent(signals.SIGKILL, parent)
    os.setsid()

    # 2. The other namespaces; from here on the caller may attach the network.
    libc.unshare(plan.namespaces & ~(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWTIME))
    join(plan)
    caller.send(wire.NAMESPACES)

    # 3. Everything that comes from the host, as the caller. For mounts that are to be shared with the host the copies
    # are taken before the mounts here stop being shared.
    site.shared = plan.root_propagation[0] == MS_SHARED
    if not site.shared:
        libc.mount(None, "/", None, MS_REC | MS_SLAVE)
    volumes = [(path, os.open(volume, os.O_RDONLY | os.O_DIRECTORY)) for path, volume in plan.copy_up]
    for operation in plan.operations:
        operation.open(site)
    open_proc(plan, site)
    if plan.oom_score_adj is not None:
        from rootless.init.process import set_oom_score  # loaded before the fork

        set_oom_score(plan.oom_score_adj, site.notes)
    if plan.memory_policy:
        from rootless.init.process import set_memory_policy  # loaded before the fork

        set_memory_policy(plan.memory_policy)
    attributes = open_attributes(plan)

    rootfs = Rootfs(plan.rootfs, plan.foreign)
    rootfs.reach(plan.root_propagation[0])
    if site.shared:
        libc.mount(None, "/", None, MS_REC | MS_SLAVE)
    accounts = make_account_files(plan) if plan.foreign and plan.passwd_entry else {}

    # 4. Become 0 of the container's map. Overlays are made now: without the map nothing can be cleared away that an
    # earlier start left in a work directory.
    expect(caller, wire.MAPPED)
    become_root(plan.idmap, plan.user.keep_groups)
    rootfs.open(site)
    if guardian:
        libc.die_with_parent(signals.SIGKILL, parent)
    if not plan.keep_keyring:
        libc.new_session_keyring()

    # 5. From the first sight of the image on nobody may look into this process (CVE-2016-9962, CVE-2019-5736).
    prctl(PR_SET_DUMPABLE, 0)
    if plan.reaper:
        # This process stays, and the command line is full of the caller's paths.
        clear_arguments()

    # 6. The root file system and the mounts in it; places that are made for them are open to every user.
    os.umask(0o022)
    site.root = rootfs.attach()
    if volumes:
        from rootless.init.copy_up import fill_volume  # loaded before the fork

        for path, volume in volumes:
            fill_volume(site.root, path, volume)
    for operation in plan.operations:
        operation.apply(site)

    # 7. Who the program will be, as the image's own files say.
    identity = resolve(site.root, plan.user)
    confine.check_mapped(identity, plan.idmap, site)
    if plan.passwd_entry:
        add_account(plan, site, identity, accounts)
    directory = open_cwd(plan, site, identity)

    # 8. The terminal or the given streams become 0, 1 and 2.
    master = take_streams(plan, site, identity, streams)

    # 9. Kernel settings, through the private procfs; then the paths that the program may not see or change.
    write_sysctls(plan, site)
    mask(site, plan.masked)
    make_read_only(site, plan.read_only_paths)
    if plan.root_read_only:
        mount_setattr(site.root, MOUNT_ATTR_RDONLY)

    # 10. Hooks that want the mounts and the host.
    if plan.wait_attached:
        run_container_hooks(plan, "createContainer", let_look(plan, caller, site))

    # 11. The image becomes the root; no module, codec or library is loaded any more. Only now may the root be shared
    # (pivot_root(2)).
    change_root(site.root, plan.no_pivot)
    seal()
    if plan.root_propagation[0]:
        propagation, recursive = plan.root_propagation
        mount_setattr(site.root, 0, propagation=propagation, recursive=recursive)

    # 12. Names and the loopback interface of the namespaces.
    if plan.hostname:
        try:
            libc.sethostname(plan.hostname)
        except PermissionError:
            if not plan.namespaces & CLONE_NEWUTS:
                raise
            # The namespace is the container's own, so that only a filter can forbid it: that of an outer container.
            site.notes.append("the host name is the caller's: a system call filter forbids to change it")
    if plan.domainname:
        libc.setdomainname(plan.domainname)
    if plan.namespaces & CLONE_NEWNET:
        network.loopback_up()
    if plan.persona is not None:
        libc.personality(plan.persona)

    # 13. The working directory, as root if root may.
    inside = try_directory(directory)

    # 14. Every descriptor but the standard three and the preserved ones closes at execve.
    for fd in range(3, 3 + plan.preserve_fds):
        os.set_inheritable(fd, True)
    libc.close_on_exec_from(3 + plan.preserve_fds)

    # 15. Limits, ids, capabilities; the death signal is forgotten when ids change.
    airlock = make_airlock(plan)
    confine.apply_limits(plan.limits, site)
    confine.drop_ids(plan, identity, site)
    if guardian:
        libc.die_with_parent(signals.SIGKILL, parent)
    if plan.user.umask is not None:
        os.umask(plan.user.umask)
    if not inside and not try_directory(directory):
        message = f"cannot enter the working directory {plan.cwd}: Permission denied"
        raise RootlessError(message, exit_code=_CANNOT_INVOKE)
    check_inside(plan.cwd)

    # 16. Ready; the caller decides when to start. Who waits at a gate cannot tell him later what is wrong.
    environment = {os.fsencode(key): os.fsencode(value) for key, value in plan.environment.items()}
    if b"HOME" not in environment:
        environment[b"HOME"] = os.fsencode(identity.home or "/")
    arguments = [os.fsencode(argument) for argument in plan.arguments]
    if detached and detached.gate >= 0:
        find(arguments, environment)
    caller.send(wire.READY, identity.uid, identity.gid, identity.home, identity.groups, site.notes, fd=master)
    if master is not None:
        os.close(master)
    if detached and detached.gate >= 0:
        state = wait_at_gate(caller, detached.gate)
    else:
        state = bytes_of(expect(caller, wire.START))
    run_container_hooks(plan, "startContainer", state, airlock)
    # 17. The program is looked for as its user; the label and the filter last.
    path = find(arguments, environment)
    if airlock:
        caller.send(wire.AIRLOCK, arguments[0], fd=airlock.reader)
    if attributes >= 0:
        from rootless.linux.lsm import label_next_program  # loaded before the fork

        label_next_program(attributes, plan.apparmor, plan.selinux)
    if plan.reaper:
        leave_reaper(plan, attributes)
    if plan.listener:
        from rootless.init.listener import collect, watch  # loaded before the fork

        helper = watch(caller)
        confine.lock(plan)
        collect(helper)
    else:
        confine.lock(plan)
    if plan.terminal:
        take_terminal()
    signals.reset()
    execute(path, arguments, environment, airlock)


def make_airlock(plan: Plan) -> Airlock | None:
    """What is executed before the program, where the container may change the file of this interpreter."""
    if not plan.airlock:
        return None
    from rootless.init.airlock import Airlock  # loaded before the fork

    return Airlock()


def wait_at_gate(caller: Channel, gate: int) -> bytes:
    """The state that comes with START, from the first who connects and sends that; ``caller`` is it from then on."""
    signals.end_at(signals.ENDING)  # a process 1 would ignore them otherwise
    while True:
        caller.take_over(wire.accept(gate))
        kind, values = caller.receive()
        if kind == wire.START:
            signals.block_all()
            return bytes_of(values)


def bytes_of(values: tuple[wire.Value, ...]) -> bytes:
    """The state for hooks, which a message brings in a descriptor; empty if it brings none."""
    fd = values[-1] if values else None
    if not isinstance(fd, int):
        return b""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return data


def let_look(plan: Plan, caller: Channel, site: ops.Site) -> bytes:
    """Wait while the caller's hooks look at what was made; the state for those of the container.

    They may open this process's namespaces meanwhile, as nobody in the container can: nothing of it runs yet.
    """
    alone = bool(plan.namespaces & CLONE_NEWPID)
    if alone:
        prctl(PR_SET_DUMPABLE, 1)
    caller.send(wire.MOUNTED)
    values = expect(caller, wire.ATTACHED)
    if alone:
        prctl(PR_SET_DUMPABLE, 0)
    return bytes_of(values)


def run_container_hooks(plan: Plan, moment: str, state: bytes, airlock: Airlock | None = None) -> None:
    """Run the hooks of a moment inside the container's namespaces."""
    hooks = plan.hooks.get(moment)
    if hooks:
        from rootless.init.hooks import run_hooks  # loaded before the fork

        run_hooks(hooks, moment, state, airlock)


def open_attributes(plan: Plan) -> int:
    """The procfs through which labels are set, before anything of the image is visible; -1 where none is asked for."""
    if not plan.apparmor and not plan.selinux:
        return -1
    from rootless.linux.lsm import open_proc  # loaded before the fork

    return open_proc()


def leave_reaper(plan: Plan, attributes: int) -> None:
    """Fork the program's process with a session of its own; this one stays as the container's first, confined alike."""
    from rootless.init.reaper import reap, split  # loaded before the fork

    program = split()
    if program:
        if attributes >= 0:
            from rootless.linux.lsm import label_this_process  # loaded before the fork

            label_this_process(attributes, plan.apparmor)
        confine.lock(plan)
        reap(program)
    os.setsid()


def take_terminal() -> None:
    """Make the container's terminal, on 0, the controlling one."""
    from rootless.init.terminal import take_control  # loaded before the fork

    take_control(0)


def join(plan: Plan) -> None:
    """Join the existing namespaces that the Spec names; the shim has joined some, the user and pid one among them."""
    for kind, path in plan.joined:
        if kind in (CLONE_NEWUSER, CLONE_NEWPID) or not path:
            continue
        join_namespace(kind, path)


def join_namespace(kind: int, path: str) -> None:
    """Join one namespace, with a message that names it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        libc.setns(fd, kind, path)
        os.close(fd)
    except OSError as error:
        raise RootlessError(
            f"cannot join the namespace {path}: {os.strerror(error.errno or 0)}",
            hint="it must belong to the container's user namespace",
        ) from error


def open_proc(plan: Plan, site: ops.Site) -> None:
    """A procfs of the container's own pid namespace, before anything of the image is visible (CVE-2025-52881)."""
    if not site.own_pid:
        if plan.sysctls:
            site.sysctls = os.open("/proc", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return
    mounts = [step for step in plan.operations if isinstance(step, ops.NewMount) and step.kind == "proc"]
    if not mounts and not plan.sysctls:
        return
    options, attributes = (mounts[0].options, mounts[0].attributes) if mounts else ([], 0)
    try:
        site.proc = site.sysctls = new_mount("proc", options, attributes)
    except PermissionError:
        raise RootlessError(
            "cannot mount a procfs: parts of the caller's own /proc are hidden",
            hint="in a container, start the outer one with --security-opt unmask=ALL, or use --pid=host",
        ) from None


def make_account_file(plan: Plan, path: str) -> int:
    """An empty file of the container's own that is to stand in for ``path``."""
    name = f"{plan.files_dir}/{path.rpartition('/')[2]}"
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def make_account_files(plan: Plan) -> dict[str, int]:
    """The files for :func:`add_account`, made early where root inside cannot make them."""
    return {path: make_account_file(plan, path) for path in ("/etc/passwd", "/etc/group")}


def add_account(plan: Plan, site: ops.Site, identity: Identity, made: dict[str, int]) -> None:
    """Show the user in /etc/passwd and /etc/group, by files of the container's own over those of the image."""
    for path, content in account_files(site.root, plan.user, identity, plan.cwd):
        fd = made[path] if made else make_account_file(plan, path)
        os.write(fd, content)
        os.fchmod(fd, 0o644)
        mount = open_tree(fd)
        target = make_file(site.root, path)
        move_mount(mount, target, path)
        for used in (fd, mount, target):
            os.close(used)


def open_cwd(plan: Plan, site: ops.Site, identity: Identity) -> int:
    """The working directory inside the root. It is made, for the user, if missing and the plan says so."""
    try:
        return open_directory(site.root, plan.cwd)
    except RootlessError as error:
        if error.exit_code != _NOT_FOUND or not plan.make_cwd:
            raise
    fd = make_directory(site.root, plan.cwd)
    own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    there = os.fstat(own)
    if (there.st_uid, there.st_gid) != (identity.uid, identity.gid):  # a file system may refuse a change to the same
        os.fchown(own, identity.uid, identity.gid)
    os.close(own)
    return fd


def take_streams(plan: Plan, site: ops.Site, identity: Identity, streams: tuple[int, int, int]) -> int | None:
    """Put the terminal, or the given streams, on 0, 1 and 2. The terminal's master is returned."""
    if not plan.terminal:
        copies = [fd if fd == number else _high(fd) for number, fd in enumerate(streams)]
        for number, fd in enumerate(copies):
            if fd == number:
                os.set_inheritable(fd, True)
            else:
                os.dup2(fd, number)
                os.close(fd)
            if identity.uid and os.fstat(number).st_mode & _TYPE == _FIFO:
                # So that the user may open /dev/stdout anew; a device of the host is never touched.
                _give(number, identity.uid)
        return None
    from rootless.init.terminal import open_terminal  # loaded before the fork

    if site.devpts < 0:
        raise RootlessError("cannot make a terminal: the container has no devpts on /dev/pts")
    master, slave = open_terminal(site.devpts, plan.console_size)
    if identity.uid:
        _give(slave, identity.uid)
    mount = open_tree(slave)
    target = make_file(site.root, "/dev/console")
    move_mount(mount, target, "/dev/console")
    for number in range(3):
        os.dup2(slave, number)
    for fd in (slave, mount, target):
        os.close(fd)
    return master


def _high(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE_FD)


def _give(fd: int, uid: int) -> None:
    try:
        os.fchown(fd, uid, -1)
    except OSError:
        return


def write_sysctls(plan: Plan, site: ops.Site) -> None:
    """Write below /proc/sys of the private procfs, never through the container's /proc."""
    for path, value in plan.sysctls:
        try:
            fd = openat2(
                site.sysctls, f"sys/{path}", os.O_WRONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
            )
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise RootlessError(f"cannot set the sysctl {path.replace('/', '.')}: {reason}") from error
