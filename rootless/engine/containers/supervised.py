"""Starting a container that has a monitor, and so lives on without its caller.

::

    caller ──fork──▶ lead ──▶ shim ──▶ init          the lead starts the container as any other start does
      ◀── READY, init's pidfd ──┘ │
                                  execve             the lead becomes the monitor (rootless.monitor), init's parent
                                  execve             a restart, or the end of --rm: it becomes the engine again

The lead holds the lock of the container's directory, and the monitor after it.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys
import time

from rootless import network as networks
from rootless.engine import events
from rootless.engine.containers import cgroup, confined
from rootless.engine.containers.log_settings import log_settings
from rootless.engine.containers.notify import Notifier
from rootless.engine.containers.plan import compile_plan
from rootless.engine.containers.removal import forget_state
from rootless.engine.containers.running import make_run_directory, record_running
from rootless.engine.containers.status import record_exit
from rootless.engine.containers.streams import Streams
from rootless.errors import RootlessError
from rootless.init import wire
from rootless.init.failure import failure, report
from rootless.linux import signals
from rootless.linux.libc import close_range
from rootless.monitor.frames import SOCKET
from rootless.runtime import launch
from storage import eventlog
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.network import Network
    from rootless.network.helper import NetworkHandle
    from rootless.runtime.launch import Process
    from storage.locks import Lock

_GLOBALS = ("root", "runroot", "storage_driver")


class Supervised:
    """A container that was started: ``pidfd`` of its init, and the owner's connection to the monitor."""

    __slots__ = ("connection", "pidfd")

    def __init__(self, pidfd: int, connection: _socket.socket | None) -> None:
        self.pidfd = pidfd
        self.connection = connection


def start(
    engine: Engine,
    container: Container,
    network: Network,
    lock: Lock,
    *,
    owned: bool = False,
    let_go: bool = True,
    written: bool = True,
) -> Supervised:
    """Start a container that is ready, with a monitor. The caller's lock passes to that.

    ``owned``: the caller stays, and gets a connection. ``let_go`` false: the program waits for its start. ``written``
    is false when the Spec is not yet on disk. Raises RootlessError when it cannot be started; the caller then has the
    lock.
    """
    near, far = wire.pair()
    mine = theirs = None
    if owned:
        mine, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        code = 125
        try:
            near.close()
            if mine:
                mine.close()
            os.setsid()
            signals.reset()
            owner = theirs.detach() if theirs else -1
            lead(engine, container, network, lock, far, owner=owner, let_go=let_go, written=written)
        except StorageError as error:
            code = report(far, RootlessError(error.message, error.hint))
        except BaseException as error:  # the process must end here, whatever happens
            code = report(far, error)
        finally:
            os._exit(code)
    far.close()
    if theirs:
        theirs.close()
    kind, values = near.receive()
    near.close()
    if kind == wire.READY:
        lock.release()
        pidfd = values[-1]
        assert isinstance(pidfd, int)
        return Supervised(pidfd, mine)
    os.waitpid(pid, 0)
    if kind == wire.FAILED:
        raise failure(values)
    raise RootlessError("cannot start the container: its monitor was killed")


def lead(
    engine: Engine,
    container: Container,
    network: Network,
    lock: Lock,
    caller: wire.Channel | None = None,
    *,
    owner: int = -1,
    let_go: bool = True,
    written: bool = True,
    restarts: int = 0,
) -> NoReturn:
    """Start the container in this process, tell the ``caller``, and become its monitor."""
    options = container.record["options"]
    temporary = container.record["rm"]
    log = log_settings(engine, container.id, container.record)
    streams = Streams(options)
    handles: list[NetworkHandle] = []

    def attach(pid: int) -> None:
        handle = networks.attach(network, pid)
        if handle is not None:
            handles.append(handle)

    def write() -> None:
        if not written:
            container.write(durable=not temporary)

    control = cgroup.prepare(engine, container, supervise=True)
    forget_state(engine, container.id)
    run = make_run_directory(engine, container.id)
    notifier = Notifier(options["sdnotify"], run)
    kept = container.spec
    container.spec = notifier.equip(kept)
    plan = compile_plan(engine, container, control)
    container.spec = kept
    started = 0
    try:
        if plan.keeper:
            from rootless.engine.containers import keeping

            keeping.open_gate(engine, container, plan.keeper)
        listener = wire.listen(run, SOCKET)
        gate = -1 if let_go else wire.listen(run, launch.GATE)
        detached = wire.Detached(gate, os.getpid())
        process = launch.create(plan, streams.given, attach, meanwhile=write, place=control.place, detached=detached)
        try:
            streams.close_given()
            for handle in handles:
                handle.wait_ready()
            checks = _checks(engine, container, let_go)
            started = time.time_ns() if let_go else 0
            record_running(engine, container, process, control, started, restarts)
            if let_go:
                process.start()
            events.note(engine, "container", "start" if let_go else "init", container.id, container.record)
            settings = _settings(engine, container, process, streams, handles, log, started, restarts)
            settings.update(listener=listener, owner=owner, lock=lock.fd, cgroup=control.path)
            settings.update(notify=notifier.listener, manager=notifier.target, health=checks)
            signals.block_all()  # once it is told of, it must not end by one before the monitor listens to them
            notifier.started()
            handed = _handed(settings)
            _let_caller_go(caller, process.pidfd)
            _become_monitor(settings, handed)
        except BaseException:
            process.close()
            raise
    except BaseException as error:
        for handle in handles:
            handle.close()
        control.remove()
        forget_state(engine, container.id)
        if started and not temporary and isinstance(error, RootlessError | OSError):
            code, told = 125, f"cannot watch the container: {getattr(error, 'strerror', '')}"
            if isinstance(error, RootlessError):
                code, told = error.exit_code, error.message
            record_exit(engine, container.id, started, time.time_ns(), code, told)
        raise


def engine_command(engine: Engine) -> list[str]:
    """The command line of this program with the same store, to which a command is appended."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-IS", f"{package}/__main__.py"]
    for key in _GLOBALS:
        if engine.globals.get(key):
            command += [f"--{key.replace('_', '-')}", str(engine.globals[key])]
    return command


def _settings(
    engine: Engine,
    container: Container,
    process: Process,
    streams: Streams,
    handles: list[NetworkHandle],
    log: dict[str, Any],
    started: int,
    restarts: int,
) -> dict[str, Any]:
    """What the monitor is to know, see rootless.monitor.settings."""
    options = container.record["options"]
    layout = engine.store.layout
    policy, retries = container.record.get("restart") or ("no", 0)
    return {
        "id": container.id,
        "directory": container.directory,
        "run": engine.run_directory(container.id),
        "pid": process.pid,
        "pidfd": process.pidfd,
        "master": process.console_fd,
        "stdout": streams.stdout,
        "stderr": streams.stderr,
        "stdin": streams.stdin,
        "log": log,
        "helper": handles[0].pid if handles else 0,
        "helper_fds": [fd for handle in handles for fd in handle.hand_over()],
        "helper_waits": bool(handles and handles[0].has_ports),
        "cgroup": "",
        "engine": engine_command(engine),
        "started": started,
        "policy": policy,
        "retries": retries,
        "restarts": restarts,
        "rm": container.record["rm"],
        "timeout": options["timeout"],
        "stop_signal": container.record.get("stop_signal", signals.SIGTERM),
        "stop_timeout": options["stop_timeout"],
        "events": layout.events,
        "events_fd": eventlog.descriptor(layout.events),
        "event": events.described("container", "died", container.id, container.record, {}),
        "exit": layout.container_exit(container.id),
        "reserve": layout.reserve,
    }


def _checks(engine: Engine, container: Container, started: bool) -> dict[str, Any] | None:
    """What the monitor is to know of the container's health check; None without one. Its health is unknown now."""
    if not container.record.get("health"):
        return None
    from rootless.engine.containers import health

    health.begin(engine, container.record)
    return health.clock(container.record, started)


def _let_caller_go(caller: wire.Channel | None, pidfd: int) -> None:
    """Leave the caller's streams, so that who reads them to their end need not wait for the container's; report."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number)
    if caller:
        caller.send(wire.READY, fd=pidfd)


def _handed(settings: dict[str, Any]) -> int:
    """A descriptor of the settings, for the monitor."""
    memory = os.memfd_create("monitor")
    os.write(memory, marshal.dumps(settings))
    return memory


def _become_monitor(settings: dict[str, Any], memory: int) -> NoReturn:
    """Execute the monitor in this process's place, with the descriptors of its settings and no others."""
    keys = ("pidfd", "master", "stdout", "stderr", "stdin", "listener", "owner", "lock", "notify", "events_fd")
    kept = sorted({fd for fd in (memory, *(settings[key] for key in keys), *settings["helper_fds"]) if fd > 2})
    confined.confine(settings)
    low = 3
    for fd in kept:
        os.set_inheritable(fd, True)
        if low < fd:
            close_range(low, fd - 1)
        low = fd + 1
    close_range(low)
    program = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "monitor")
    os.chdir("/")
    os.execve(sys.executable, [sys.executable, "-IS", f"{program}/__main__.py", str(memory)], os.environ)
