"""``run``: a container in the foreground, from its image to its exit code."""

from __future__ import annotations

import os
import time

from rootless import network as networks
from rootless.engine.containers.create import prepare
from rootless.engine.containers.status import STARTED, record_exit, record_start
from rootless.errors import RootlessError
from rootless.linux import signals
from rootless.linux.libc import die_with_parent
from rootless.runtime import launch, plan, state
from rootless.security import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.init.plan import Plan
    from rootless.network import Network
    from rootless.network.helper import NetworkHandle
    from rootless.runtime.launch import Process


def run(engine: Engine, values: Mapping[str, Any], image_name: str, arguments: Sequence[str]) -> int:
    """Make a container, start it in the foreground and wait for it; its exit code. ``rm``: then remove it."""
    temporary = bool(values.get("rm"))
    launch.check_descriptors(values.get("preserve_fds"))
    container, network, lock = prepare(engine, values, image_name, arguments, durable=not temporary)
    with lock:
        try:
            return foreground(engine, container, network, written=False)
        finally:
            if temporary:
                from rootless.engine.containers.removal import discard

                discard(engine, container.id, True)


class Streams:
    """What becomes 0, 1 and 2 of the container, and the read ends of the pipes between it and the log."""

    __slots__ = ("attached", "given", "log", "opened", "pipes")

    def __init__(self, engine: Engine, container: Container) -> None:
        options = container.record["options"]
        attach = options["attach"]
        self.opened: list[int] = []
        self.pipes: tuple[int, int] | None = None
        self.attached = (not attach or "stdout" in attach, not attach or "stderr" in attach)
        self.log = None
        driver = options["log_driver"]
        if driver in ("k8s-file", "json-file") and not container.record["rm"]:
            from rootless.monitor import Log

            path = options["log_path"] or engine.store.layout.container_log(container.id)
            self.log = Log(path, options["log_size"])
        given = [0, 1, 2]
        if not options["interactive"] or (attach and "stdin" not in attach):
            given[0] = self._open(os.O_RDONLY)
        if not options["tty"] and (self.log is not None or not all(self.attached)):
            first, second = os.pipe(), os.pipe()
            self.pipes = (first[0], second[0])
            given[1:] = [first[1], second[1]]
            self.opened += given[1:]
        self.given = (given[0], given[1], given[2])

    def _open(self, flags: int) -> int:
        fd = os.open("/dev/null", flags | os.O_CLOEXEC)
        self.opened.append(fd)
        return fd

    def close_given(self) -> None:
        """Let go of the container's ends, so that the end of its output is seen."""
        for fd in self.opened:
            os.close(fd)
        self.opened = []


def foreground(engine: Engine, container: Container, network: Network, *, written: bool = True) -> int:
    """Start a container that is ready, show it to the caller, and wait for its end. The caller holds its lock.

    ``written`` is false when its Spec is not yet on disk. Its exit code is put down unless the container goes with it
    (``--rm``). Raises RootlessError when it cannot be started; what was started for it is gone then.
    """
    temporary = container.record["rm"]
    streams = Streams(engine, container)
    handles: list[NetworkHandle] = []

    def attach(pid: int) -> None:
        """Whatever can be done while the container mounts its file systems."""
        handle = networks.attach(network, pid)
        if handle is not None:
            handles.append(handle)
        if not written:
            container.write(durable=not temporary)
        from rootless.engine.containers import stdio  # noqa: F401 - loaded now, needed later

    plan_made = compile_plan(container)
    if engine.globals.get("debug"):
        for line in plan_made.describe():
            engine.tell(line)
    started = 0
    try:
        process = launch.create(plan_made, streams.given, attach)
        try:
            streams.close_given()
            for handle in handles:
                handle.wait_ready()
            started = time.time_ns()
            _record_running(engine, container, process, started, temporary)
            code = _follow(container, process, streams)
        except BaseException:
            process.close()
            raise
    except RootlessError as error:
        if started and not temporary:
            record_exit(engine, container.id, started, time.time_ns(), error.exit_code, error.message)
        raise
    finally:
        for handle in handles:
            handle.close()
        _forget_running(engine, container)
    if not temporary:
        record_exit(engine, container.id, started, time.time_ns(), code)
    return code


def compile_plan(container: Container) -> Plan:
    """The flat plan of the container's start, with the system call filter in it."""
    extras = dict(container.extras)
    profile = container.record["seccomp"]
    extras["seccomp"] = None
    if profile != "unconfined":
        bounding = container.spec["process"]["capabilities"]["bounding"]
        path = None if profile == "default" else profile
        extras["seccomp"] = seccomp.program(path, bounding, container.record["options"]["hardened"])
    if container.record["rm"]:
        # What the container wrote belongs to its users; the shim, still root among them, deletes it.
        extras["cleanup"] = [path for path in (container.rootfs["upper"], container.rootfs["work"]) if path]
    return plan.compile(container.spec, container.rootfs, container.idmap, extras)  # type: ignore[arg-type]


def _record_running(
    engine: Engine, container: Container, process: Process, started: int, temporary: bool
) -> None:
    directory = engine.run_directory(container.id)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    found = state.of_process(container.id, process.pid, container.directory)
    found["started"] = True
    found["annotations"] = {STARTED: str(started)}
    state.write(directory, found)
    if not temporary:
        record_start(engine, container.id, started)
    pidfile = container.record["options"]["pidfile"]
    if pidfile:
        _write_pidfile(pidfile, process.pid)


def _write_pidfile(path: str, pid: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise RootlessError(f"cannot write the pid file {path}: {error.strerror}") from None


def _forget_running(engine: Engine, container: Container) -> None:
    directory = engine.run_directory(container.id)
    try:
        os.unlink(f"{directory}/{state.NAME}")
        os.rmdir(directory)
    except OSError:
        return


def _follow(container: Container, process: Process, streams: Streams) -> int:
    """Let the program start and stay until it ends; after ``--timeout`` seconds it is killed."""
    from rootless.engine.containers.stdio import follow

    options = container.record["options"]
    watcher = _limit_time(process, options["timeout"]) if options["timeout"] else 0
    try:
        code = follow(
            process,
            interactive=options["interactive"] and (not options["attach"] or "stdin" in options["attach"]),
            sig_proxy=options["sig_proxy"],
            pipes=streams.pipes,
            attached=streams.attached,
            log=streams.log,
        )
    finally:
        if watcher:
            os.kill(watcher, signals.SIGKILL)
            os.waitpid(watcher, 0)
    assert code is not None  # there are no detach keys
    return code


def _limit_time(process: Process, seconds: int) -> int:
    """Kill the container after ``seconds``; the pid of the child that does, which ends with this process.

    A timer's signal would not do: every signal of this process is passed on to the container.
    """
    caller = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            signals.reset()
            die_with_parent(signals.SIGKILL, caller)
            time.sleep(seconds)
            process.kill(signals.SIGKILL)
        finally:
            os._exit(0)
    return child
