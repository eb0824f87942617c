"""The caller's side of a container that has a monitor: its output to his streams, his keys and signals to it."""

from __future__ import annotations

import _socket
import os
import select

from rootless.engine.containers.monitors import connect
from rootless.engine.containers.status import KILLED, status
from rootless.engine.containers.stdio import Terminal, proxy_signals
from rootless.engine.options import detach_keys
from rootless.errors import RootlessError
from rootless.linux.pidfd import pidfd_open
from rootless.monitor.frames import ENDED, ERRORS, HANGUP, INPUT, OUTPUT, PIECE, SIZE
from rootless.monitor.logs import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.containers.supervised import Supervised
    from rootless.engine.context import Engine

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def own(engine: Engine, container_id: str, record: Mapping[str, Any], started: Supervised) -> int:
    """Stay with a container that this process started in the foreground: its exit code, 0 when the user detached."""
    options = record["options"]
    chosen = options["attach"] or ["stdin", "stdout", "stderr"]
    assert started.connection is not None
    session = Session(
        started.connection,
        started.pidfd,
        tty=options["tty"],
        interactive=options["interactive"] and "stdin" in chosen,
        shown=frozenset(kind for kind, name in ((OUTPUT, "stdout"), (ERRORS, "stderr")) if name in chosen),
        keys=detach_keys.parse(_keys(engine, options)),
        owner=True,
    )
    return _code(engine, container_id, session.follow(options["sig_proxy"]))


def attach(engine: Engine, name: str, values: Mapping[str, Any]) -> int:
    """``attach``: connect to a running container; its exit code, 0 when the user detached."""
    container_id = engine.store.containers.find(name)
    current = status(engine, container_id)
    if current.state not in ("running", "paused", "initialized"):
        raise RootlessError(
            f"cannot attach to container {name}: you can only attach to running containers, and it is {current.state}",
            f"start it and attach: rootless start --attach {name}",
        )
    connection = connect(engine, container_id)
    if connection is None:
        raise RootlessError(
            f"cannot attach to container {name}: its streams are those of the `rootless run --rm` that started it",
            "run a command in it: rootless exec",
        )
    options = engine.store.containers.load(container_id)["options"]
    session = Session(
        connection,
        pidfd_open(current.pid),
        tty=options["tty"],
        interactive=options["interactive"] and not values.get("no_stdin"),
        shown=frozenset((OUTPUT, ERRORS)),
        keys=detach_keys.parse(_keys(engine, values)),
    )
    return _code(engine, container_id, session.follow(values.get("sig_proxy") is not False))


def _keys(engine: Engine, options: Mapping[str, Any]) -> str:
    found = options.get("detach_keys")
    return detach_keys.DEFAULT if found is None else str(found)


def _code(engine: Engine, container_id: str, code: int | None) -> int:
    if code is not None:
        return code
    # The monitor was killed or could not begin, and the container ended with it.
    try:
        found = status(engine, container_id)
    except Exception:  # gone
        return KILLED
    if found.error:
        raise RootlessError(found.error, exit_code=found.exit_code)
    return found.exit_code or KILLED


class Session:
    """One attachment. ``shown``: the kinds of output that are; ``keys`` detach; an ``owner`` waits to the very end."""

    __slots__ = (
        "_code", "_connection", "_interactive", "_keys", "_owner", "_pending", "_pidfd", "_shown", "_tty",
    )  # fmt: skip

    def __init__(
        self,
        connection: _socket.socket,
        pidfd: int,
        *,
        tty: bool,
        interactive: bool,
        shown: frozenset[bytes],
        keys: bytes,
        owner: bool = False,
    ) -> None:
        self._connection = connection
        self._pidfd = pidfd
        self._tty = tty
        self._interactive = interactive
        self._shown = shown
        self._keys = detach_keys.Scanner(keys if tty else b"")
        self._owner = owner
        self._pending: list[bytes] = []
        self._code: int | None = None

    def follow(self, sig_proxy: bool) -> int | None:
        """Stay until the container has ended or the keys are typed: the exit code, 0 for the keys, None if the monitor
        ended without a word."""
        if sig_proxy:
            proxy_signals(self._pidfd, self._tty)
        if not self._tty:
            return self._relay()
        with Terminal(lambda size: self._send(SIZE + size), self._interactive):
            return self._relay()

    def _relay(self) -> int | None:
        poll = select.poll()
        connection = self._connection.fileno()
        poll.register(connection, select.POLLIN)
        listening = False
        while True:
            wanted = self._interactive and not self._pending
            if wanted != listening:
                if wanted:
                    poll.register(_STDIN, select.POLLIN)
                else:
                    poll.unregister(_STDIN)
                listening = wanted
            poll.modify(connection, select.POLLIN | (select.POLLOUT if self._pending else 0))
            for fd, events in poll.poll():
                if fd == _STDIN and listening and fd != connection:
                    if self._type():
                        return 0
                elif fd == connection:
                    if events & select.POLLOUT:
                        self._flush()
                    if events & ~select.POLLOUT and not self._show():
                        return self._code

    def _type(self) -> bool:
        """Pass on what was typed; whether the keys that detach were."""
        try:
            data = os.read(_STDIN, PIECE)
        except BlockingIOError:
            return False
        except OSError:  # the caller's terminal is gone
            data = b""
        if not data:
            self._interactive = False
            self._send(INPUT)
            return False
        data, detached = self._keys.feed(data)
        if data:
            self._send(INPUT + data)
        return detached

    def _send(self, packet: bytes) -> None:
        self._pending.append(packet)
        self._flush()

    def _flush(self) -> None:
        while self._pending:
            try:
                self._connection.send(self._pending[0], _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._pending.clear()
                self._interactive = False
                return
            self._pending.pop(0)

    def _show(self) -> bool:
        """Show one packet; ``False`` when there are no more."""
        try:
            packet = self._connection.recv(PIECE + 1)
        except OSError:
            packet = b""
        kind = packet[:1]
        if not kind:
            return False
        if kind == ENDED:
            self._code = int(packet[1:])
            return self._owner
        if kind in self._shown:
            try:
                write_all(_STDOUT if kind == OUTPUT else _STDERR, packet[1:])
            except OSError:
                self._shown -= {kind}
                if self._owner:
                    self._send(HANGUP + kind)
        return True
