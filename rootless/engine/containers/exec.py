"""``exec``: a further process in a running container."""

from __future__ import annotations

import fcntl
import os

from rootless.engine.containers import sessions
from rootless.engine.containers.container import read_json
from rootless.engine.containers.status import read_live
from rootless.engine.containers.stdio import Terminal, proxy_signals, resizer
from rootless.engine.events import note
from rootless.errors import RootlessError
from rootless.init.enter import Powers
from rootless.init.plan import Capabilities
from rootless.linux import signals
from rootless.linux.libc import close_range
from rootless.runtime import enter
from rootless.security.capabilities import NAMES, mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.init.enter import Entry
    from rootless.runtime.enter import Joined
else:
    import _signal

_STDOUT = 1
_TIOCGWINSZ = 0x5413
_PIECE = 1 << 16
_KEYS = (signals.SIGINT, signals.SIGQUIT)


def run(
    engine: Engine, container_id: str, values: Mapping[str, Any], command: Sequence[str], descriptors: Sequence[int]
) -> int:
    """Run ``command`` in the container, with the caller's streams or a terminal shown on his; its exit code.

    0 when the user detached. Raises ``RootlessError`` with exit code 255 for a container that does not run and a user
    that it does not have, 126 or 127 for what cannot be executed.
    """
    keys = _keys(values)
    interactive = bool(values.get("interactive"))
    null = -1 if interactive else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    session = begin(engine, container_id, values, command, descriptors, (0 if interactive else null, 1, 2))
    if null >= 0:
        os.close(null)
    try:
        return session.show(interactive, keys) if session.process.console_fd >= 0 else session.wait()
    except BaseException:
        session.abandon()
        raise


def run_detached(
    engine: Engine, container_id: str, values: Mapping[str, Any], command: Sequence[str], descriptors: Sequence[int]
) -> str:
    """Start ``command`` in the container without any streams and leave it there; the ID of the session."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    session = begin(engine, container_id, values, command, descriptors, (null, null, null))
    os.close(null)
    try:
        session.process.start()
    except BaseException:
        session.abandon()
        raise
    if session.process.console_fd >= 0:
        session.leave()
    return session.id


def begin(
    engine: Engine,
    container_id: str,
    values: Mapping[str, Any],
    command: Sequence[str],
    descriptors: Sequence[int],
    streams: tuple[int, int, int],
    *,
    check: bool = False,
) -> Session:
    """Bring the process into the container, up to its start. ``streams`` become its 0, 1 and 2 without a terminal.

    ``check``: it is one of the container's health. No event tells of it, and it ends as a whole, or with this process.
    """
    record = engine.store.containers.load(container_id)
    spec = read_json(engine.store.layout.container_spec(container_id), container_id)
    entry = describe(record, spec, values, command, descriptors)
    entry.owned = check
    try:
        found = read_live(engine, container_id)
    except FileNotFoundError:
        short = container_id[:12]
        raise RootlessError(
            f"cannot enter the container {short}: it is not running", f"rootless start {short}", enter.REFUSED
        ) from None
    target = enter.find(found)
    if target.idmap.single():
        from rootless.engine.containers import keeping

        entry.keeper = keeping.reach(engine, container_id, target.idmap)
    try:
        return Session(engine, record, enter.enter(target, entry, streams), told=not check)
    finally:
        target.close()


def describe(
    record: Mapping[str, Any],
    spec: Mapping[str, Any],
    values: Mapping[str, Any],
    command: Sequence[str],
    descriptors: Sequence[int],
) -> Entry:
    """The process that the command line asks for, with the container's own environment, limits and confinement."""
    options = record["options"]
    tty = bool(values.get("tty"))
    own_user = record.get("run_as", record["user"])
    user = values.get("user") or own_user
    process = dict(spec["process"])
    process["args"] = list(command)
    process["env"] = [*process.get("env", ()), *_environment(values, process.get("env", ()), tty)]
    process["cwd"] = _directory(values.get("workdir")) or process.get("cwd", "/")
    process["terminal"] = tty
    process.pop("consoleSize", None)
    bounding = process["capabilities"]["bounding"]
    extras: dict[str, Any] = {
        "user": user,
        "groups": options["groups"],
        "keep_groups": options["keep_groups"],
        "seccomp": _call_filter(record, bounding),
    }
    entry = enter.compile(process, spec.get("linux", {}), extras)  # type: ignore[arg-type]
    entry.preserved = list(descriptors)
    privileged = bool(values.get("privileged"))
    every = mask(NAMES if privileged else bounding)
    entry.for_root = Powers(Capabilities(every, every, every), entry.for_root.no_new_privileges)
    # What a user other than root holds is what --cap-add named when the container was made for it.
    own = mask(process["capabilities"].get("ambient", ())) if user == own_user else 0
    no_more = entry.for_others.no_new_privileges or options["hardened"]
    entry.for_others = Powers(Capabilities(every, own, own, own, own), no_more)
    if tty:
        entry.console_size = _size()
    return entry


def _environment(values: Mapping[str, Any], given: Sequence[str], tty: bool) -> list[str]:
    files, entries = values.get("env_file"), values.get("env")
    variables: dict[str, str] = {}
    if tty and not any(entry.startswith("TERM=") for entry in given):
        variables["TERM"] = "xterm"
    if files or entries:
        from rootless.engine.options import env

        for path in files or ():
            variables.update(env.parse_variables(env.read_lines(path, "--env-file"), os.environ, "--env-file"))
        variables.update(env.parse_variables(entries or (), os.environ))
    return [f"{key}={value}" for key, value in variables.items()]


def _directory(path: str | None) -> str:
    """The working directory; a path that is not absolute is one below the container's root."""
    if not path:
        return ""
    return path if path.startswith("/") else f"/{path}"


def _call_filter(record: Mapping[str, Any], bounding: Sequence[str]) -> bytes | None:
    """The system call filter that the container has, also for a process with ``--privileged``, as podman has it."""
    profile = record["seccomp"]
    if profile == "unconfined":
        return None
    from rootless.security import seccomp

    options = record["options"]
    path = None if profile == "default" else profile
    return seccomp.program(path, bounding, options["hardened"], options.get("nested", False))


def _keys(values: Mapping[str, Any]) -> bytes:
    if not values.get("tty"):
        return b""
    from rootless.engine.options.detach_keys import DEFAULT, parse

    given = values.get("detach_keys")
    return parse(DEFAULT if given is None else given)


def _size() -> tuple[int, int]:
    """(rows, columns) of the caller's terminal; (0, 0) without one."""
    for fd in range(3):
        if os.isatty(fd):
            data = fcntl.ioctl(fd, _TIOCGWINSZ, bytes(8))
            return int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    return 0, 0


class Session:
    """A process in a container, which waits for its start, and what is put down of it."""

    __slots__ = ("_engine", "_record", "_told", "id", "process")

    def __init__(self, engine: Engine, record: Mapping[str, Any], process: Joined, *, told: bool) -> None:
        self._engine = engine
        self._record = record
        self._told = told
        self.process = process
        self.id = sessions.new_id()
        sessions.add(engine, record["id"], self.id, process.pid)
        if told:
            note(engine, "container", "exec", record["id"], record, execID=self.id)

    def wait(self) -> int:
        """Start it and wait for its end; its exit code. The caller's signals are passed on."""
        process = self.process
        # Ctrl-Z stays the caller's: the process is in a session of its own, where nobody could continue it.
        proxy_signals(process.pidfd, True)
        for number in _KEYS:
            # As a terminal does: the program may be a shell that waits for another.
            _signal.signal(number, lambda number, _: process.kill_group(number))
        process.start()
        # Until it is collected nobody else can have its number.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        for number in _KEYS:
            _signal.signal(number, _signal.SIG_IGN)
        return self.end()

    def show(self, interactive: bool, keys: bytes) -> int:
        """Start it, show its terminal on the caller's and wait for its end: its exit code, 0 when the user detached."""
        from rootless.engine.containers.typed import Detached, Typed
        from rootless.monitor.relay import Output, relay

        process = self.process
        typed = Typed(process.console_fd, keys) if interactive else None
        with Terminal(resizer(process.console_fd), interactive):
            proxy_signals(process.pidfd, True)
            process.start()
            try:
                relay(process.pidfd, [Output(process.console_fd, _STDOUT)], typed)
            except Detached:
                self.leave()
                return 0
        return self.end()

    def leave(self) -> None:
        """Leave its terminal to a child, which takes what is written there until the last process has closed it."""
        if os.fork():
            return
        try:
            os.setsid()
            signals.reset()
            master = os.dup2(self.process.console_fd, 3)
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            close_range(4)
            os.set_blocking(master, True)
            while os.read(master, _PIECE):
                pass
        finally:
            os._exit(0)

    def end(self) -> int:
        """Wait for the end of what was started; its exit code."""
        code = self.process.wait()
        self._forget(code)
        return code

    def _forget(self, code: int) -> None:
        container_id = self._record["id"]
        sessions.remove(self._engine, container_id, self.id)
        if self._told:
            note(self._engine, "container", "exec_died", container_id, self._record, code, execID=self.id)

    def abandon(self) -> None:
        """End it: it could not be started, or nobody can watch it any more."""
        self.process.close()
        self._forget(self.process.wait())
