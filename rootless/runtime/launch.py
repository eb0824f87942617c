"""Starting a container: fork, id map, handshake (see ``rootless.init.wire``), and the handle of what runs."""

from __future__ import annotations

import gc
import os
import select

from rootless.errors import RootlessError, UsageError
from rootless.idmaps import default_map
from rootless.init import shim, wire
from rootless.init.failure import await_program, failure
from rootless.init.identity import Identity
from rootless.linux import pidfd, signals
from rootless.linux.libc import CLONE_NEWTIME, CLONE_NEWUSER, PR_SET_CHILD_SUBREAPER, prctl
from rootless.runtime.process import needs_airlock
from rootless.userns import Helpers, await_helpers, direct, run_in_userns, start_helpers, write_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.init.plan import Listener, Plan
    from rootless.init.wire import Channel, Value

_KILLED = 137
GATE = "start"
"""The name of the socket on which the init of a container that was created waits for its start."""


class Process:
    """A container that was created, and runs from :meth:`start` on.

    ``pid``: init's on the host. ``pidfd``: of init. ``shim_pid``: of the process between. ``console_fd``: the
    terminal's master, -1 without one. ``resolved_user``: who it runs as. ``notes``: what was left out because the
    machine lacks it. The shim and the container end when the caller ends or calls :meth:`close`; a ``detached``
    container has no shim, is a child of this process, and lives as long as its guardian (`wire.Detached`).
    """

    __slots__ = (
        "_early", "_lifeline", "_listener", "_status", "_wire", "console_fd", "detached", "notes", "pid", "pidfd",
        "resolved_user", "shim_pid",
    )  # fmt: skip

    def __init__(self, shim_pid: int, wire_end: Channel, lifeline: Channel, detached: bool) -> None:
        self._wire = wire_end
        self._lifeline = lifeline
        self.detached = detached
        self._status: int | None = None
        self._early: dict[int, tuple[Value, ...]] = {}
        self.shim_pid = shim_pid
        self.pid = 0
        self.pidfd = -1
        self.console_fd = -1
        self.resolved_user = Identity(0, 0, [], "", "", True)
        self.notes: list[str] = []
        self._listener: Listener | None = None

    def fileno(self) -> int:
        """A descriptor that becomes readable when the container has ended, for poll(2)."""
        return self._lifeline.fileno()

    def start(self, state: bytes = b"") -> None:
        """Let the program start; ``state`` is for the ``startContainer`` hooks and a seccomp listener.

        Raises ``RootlessError`` with exit code 126 or 127 if it cannot be executed.
        """
        try:
            _let_go(self._wire, state, self._listener)
        except RootlessError:
            self.close()
            raise
        self._wire.close()

    def kill(self, signal: int) -> bool:
        """Send a signal to init. ``False``: it has ended."""
        return pidfd.pidfd_send_signal(self.pidfd, signal)

    def wait(self) -> int:
        """Wait for the end of the container and of the clean-up; the exit code, 128+N for signal N."""
        if self._status is None:
            self._status = self._wait_for_init() if self.detached else self._wait_for_shim()
            self._lifeline.close()
            self._wire.close()
            if self.pidfd >= 0:
                os.close(self.pidfd)
                self.pidfd = -1
        return self._status

    def _wait_for_shim(self) -> int:
        kind, values = self._lifeline.receive()
        status = os.waitpid(self.shim_pid, 0)[1]
        if kind == wire.EXITED and isinstance(values[0], int):
            return values[0]
        return wire.exit_code(status)

    def _wait_for_init(self) -> int:
        self.forget_shim()
        return wire.exit_code(os.waitpid(self.pid, 0)[1]) if self.pid else _KILLED

    def forget_shim(self) -> None:
        """Let the shim of a detached container end, and wait for that; init is this process's child then."""
        if self.shim_pid:
            self._lifeline.send(wire.MAPPED)
            os.waitpid(self.shim_pid, 0)
            self.shim_pid = 0

    def close(self) -> int:
        """End the container if it still runs, and wait."""
        if self._status is None and self.pidfd >= 0:
            self.kill(signals.SIGKILL)
        elif self._status is None:
            self._wire.close()
        return self.wait()

    def _expect(self, wanted: int) -> tuple[Value, ...]:
        """Wait for one kind of message; a failure is raised after everything of the container has ended.

        The shim and init speak on the same socket: the other's message may come first, and is kept.
        """
        if wanted in self._early:
            return self._early.pop(wanted)
        kind, values = (wire.CLOSED, ()) if self._is_deserted() else self._wire.receive()
        if kind == wanted:
            return values
        if kind in (wire.INIT, wire.NAMESPACES):
            self._early[kind] = values
            return self._expect(wanted)
        if kind == wire.FAILED:
            self._fail(values)
        self.close()
        raise RootlessError(f"cannot start the container: it ended before it was {wire.NAMES[wanted]}")

    def _is_deserted(self) -> bool:
        """Wait for a message; True: the shim of a detached container was killed, and init, which has its socket too,
        waits as well.
        """
        if not self.detached or not self.shim_pid:
            return False
        waiting = select.poll()
        for channel in (self._wire, self._lifeline):
            waiting.register(channel.fileno(), select.POLLIN)
        return self._wire.fileno() not in [fd for fd, _ in waiting.poll()]

    def _fail(self, values: tuple[Value, ...]) -> None:
        self.close()
        raise failure(values)


def _let_go(channel: Channel, state: bytes, listener: Listener | None) -> None:
    """Send START and wait for the execve; a descriptor for the listener is passed on to it."""

    def pass_on(descriptor: int) -> None:
        from rootless.runtime.listener import forward

        assert listener
        forward(listener, state, descriptor)

    _send_state(channel, wire.START, state)
    await_program(channel, pass_on if listener else None)


def _send_state(channel: Channel, kind: int, state: bytes) -> None:
    """A message with the state in a descriptor, as there is no bound to the annotations in it."""
    if not state:
        channel.send(kind)
        return
    memory = os.memfd_create("state")
    os.write(memory, state)
    channel.send(kind, fd=memory)
    os.close(memory)


def knock(directory: str) -> Channel:
    """A connection to the init that waits for its start at the gate (`GATE`) in ``directory``.

    Raises ``RootlessError`` where nobody waits.
    """
    try:
        return wire.connect(directory, GATE)
    except OSError:
        raise RootlessError("cannot start the container: it does not wait for its start") from None


def release(channel: Channel, state: bytes, listener: Listener | None = None) -> None:
    """Let the program start of the init that ``channel`` leads to.

    ``state`` is for the ``startContainer`` hooks and for the ``listener`` (`runtime.process.listener`). Raises
    ``RootlessError``; the caller is to end the container then, which may wait for a listener that was not told.
    """
    try:
        _let_go(channel, state, listener)
    finally:
        channel.close()


def create(
    plan: Plan,
    streams: tuple[int, int, int] = (0, 1, 2),
    on_created: Callable[[int], None] | None = None,
    *,
    on_mounted: Callable[[int], bytes] | None = None,
    meanwhile: Callable[[], None] | None = None,
    place: Callable[[int], int] | None = None,
    detached: wire.Detached | None = None,
) -> Process:
    """Make the container up to the point where only the program is missing.

    ``streams`` become its 0, 1 and 2 unless the plan has a terminal. ``on_created`` is called with init's pid as soon
    as its namespaces exist, and should not wait. ``on_mounted`` is called, if the plan has hooks, when everything is
    mounted and the root not yet changed; it runs the caller's hooks and returns the state (JSON) for the others.
    ``meanwhile`` is called while init mounts.
    ``place`` is called with the shim's pid before it does anything, and returns an open cgroup.procs of the control
    group that the container is to be in, -1 for none. The process must have one thread only; with ``detached`` it
    adopts orphans from now on (PR_SET_CHILD_SUBREAPER in prctl(2)). Raises ``RootlessError``; then nothing is left
    running.
    """
    load_for(plan)
    if plan.idmapped:
        from rootless.runtime.idmapped import let_go, take

        take(plan.operations)
    plan.foreign = not plan.idmap.maps_caller()
    plan.airlock = needs_airlock(plan.idmap, plan.selinux, plan.warnings)
    if plan.foreign:
        give_writable_layer(plan)
    caller, other = wire.pair()
    lifeline, far_end = wire.pair()
    if detached:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.disable()
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        caller.close()
        lifeline.close()
        shim.run(plan, other, far_end, streams, place is not None, detached)
    gc.unfreeze()
    gc.enable()
    other.close()
    far_end.close()
    if plan.keeper:
        os.close(plan.keeper.gate)  # who connects to it later is to find out that the keeper has ended
    process = Process(pid, caller, lifeline, detached is not None)
    process._listener = plan.listener
    try:
        if place:
            _put_in_place(place, pid, lifeline)
        if plan.idmapped:
            let_go(plan.operations)
        _shake_hands(process, plan, caller, lifeline, on_created, on_mounted, meanwhile)
    except BaseException:
        process.close()
        raise
    return process


def _put_in_place(place: Callable[[int], int], shim_pid: int, lifeline: Channel) -> None:
    """Hand the shim the control group that it waits for; where there is none to be had the shim ends."""
    try:
        fd = place(shim_pid)
    except BaseException:
        os.kill(shim_pid, signals.SIGKILL)
        raise
    lifeline.send(wire.PLACE, fd=fd if fd >= 0 else None)
    if fd >= 0:
        os.close(fd)


def check_descriptors(count: str | None) -> None:
    """Refuse ``--preserve-fds`` for descriptors that the caller did not open, before this program opens some itself."""
    if not count or not count.isdigit():
        return
    for fd in range(3, 3 + min(int(count), 1 << 16)):
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(f"cannot preserve file descriptor {fd}: it is not open") from None


def load_for(plan: Plan) -> None:
    """Import the rarely needed modules that this plan will need: after the fork nothing is imported."""
    if plan.terminal:
        from rootless.init import terminal  # noqa: F401
    if plan.reaper:
        from rootless.init import reaper  # noqa: F401
    if plan.apparmor or plan.selinux:
        from rootless.linux import lsm  # noqa: F401
    if plan.hooks:
        from rootless.init import hooks  # noqa: F401
    if plan.oom_score_adj is not None or plan.memory_policy:
        from rootless.init import process  # noqa: F401
    if plan.listener:
        from rootless.init import listener  # noqa: F401
    if plan.keeper:
        from rootless.init import keeper  # noqa: F401
    if plan.namespaces & CLONE_NEWTIME:
        from rootless.init import clocks  # noqa: F401
    if plan.cleanup:
        from rootless.init import delete  # noqa: F401
    if plan.copy_up or any(getattr(step, "copy_up", False) for step in plan.operations):
        from rootless.init import copy_up  # noqa: F401
    if plan.rootfs["kind"] == "fuse-overlayfs":
        from rootless.init import fuse  # noqa: F401


def give_writable_layer(plan: Plan) -> None:
    """Give an overlay's upper and work directories to the container's root, for a map without the caller.

    The kernel writes there as whoever mounts, which in such a map cannot be the caller.
    """
    root, owner, group = plan.rootfs, plan.idmap.host_uid(0), plan.idmap.host_gid(0)
    if root["kind"] != "overlay" or not root["upper"] or owner is None or group is None:
        return
    if os.stat(root["upper"]).st_uid == owner:
        return
    base = default_map()
    uid, gid = base.inside_uid(owner), base.inside_gid(group)

    def give() -> bytes:
        for path in (root["work"], root["upper"]):
            os.chown(path, uid, gid)
        return b""

    run_in_userns(give, base)


def _shake_hands(
    process: Process,
    plan: Plan,
    caller: Channel,
    lifeline: Channel,
    on_created: Callable[[int], None] | None,
    on_mounted: Callable[[int], bytes] | None,
    meanwhile: Callable[[], None] | None,
) -> None:
    expect = process._expect
    expect(wire.UNSHARED)
    helpers = Helpers()
    if plan.namespaces & CLONE_NEWUSER:
        if direct(plan.idmap):
            write_maps(process.shim_pid, plan.idmap)
        else:
            helpers = start_helpers(process.shim_pid, plan.idmap)
    fuse = plan.rootfs["kind"] == "fuse-overlayfs"
    if fuse:
        await_helpers(helpers)
        lifeline.send(wire.MAPPED)
    pid, descriptor = expect(wire.INIT)
    assert isinstance(pid, int) and isinstance(descriptor, int)
    process.pid, process.pidfd = pid, descriptor
    await_helpers(helpers)
    expect(wire.NAMESPACES)
    if process.detached:
        process.forget_shim()
    # Before init may become 0 and undumpable: afterwards its namespaces cannot be opened by the network's helper.
    if plan.attributes:
        from rootless.init.process import set_io_priority

        set_io_priority(plan.attributes, process.pid)
    if plan.net_devices:
        from rootless.runtime.netdevices import move

        move(plan.net_devices, process.pid)
    if on_created:
        on_created(process.pid)
    caller.send(wire.MAPPED)
    if meanwhile:
        meanwhile()
    if plan.wait_attached:
        expect(wire.MOUNTED)
        _send_state(caller, wire.ATTACHED, on_mounted(process.pid) if on_mounted else b"")
    values = expect(wire.READY)
    if plan.attributes:
        # Late, as a policy with a budget of time would count what has been done until here.
        from rootless.init.process import set_scheduler

        set_scheduler(plan.attributes, process.pid)
    uid, gid, home, groups, notes = values[:5]
    assert isinstance(uid, int) and isinstance(gid, int) and isinstance(groups, list) and isinstance(notes, list)
    process.resolved_user = Identity(uid, gid, [int(str(group)) for group in groups], str(home), "", True)
    process.notes = [*plan.warnings, *(str(note) for note in notes)]
    if plan.terminal and isinstance(values[-1], int):
        process.console_fd = values[-1]
