"""Scopes of systemd: groups of processes that systemd makes on request and leaves to the asker (``Delegate=yes``).

The user's manager is asked over the user's bus, root's over the system bus.
Source: org.freedesktop.systemd1(5), systemd.scope(5).
"""

from __future__ import annotations

import os
import time

from rootless import paths
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rootless.cgroups.dbus import Connection

PATIENCE = 25.0
"""Seconds that systemd may take for an answer."""

_NAME = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_EXISTS = "org.freedesktop.systemd1.UnitExists"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.-")
_LARGEST = 1 << 16
_PAUSE, _ASK = 0.001, 0.1  # seconds


class Scope:
    """What is asked for: a scope ``unit`` in ``slice``, with the processes ``pids`` in it.

    ``stop_timeout``: seconds that the processes get between SIGTERM and SIGKILL when the manager stops.
    """

    __slots__ = ("description", "pids", "slice", "stop_timeout", "unit")

    def __init__(self, unit: str, slice: str, description: str, pids: Sequence[int], stop_timeout: int) -> None:
        self.unit = unit
        self.slice = slice
        self.description = description
        self.pids = list(pids)
        self.stop_timeout = stop_timeout


class Refused(Exception):
    """The bus or systemd said no: ``name`` is D-Bus's name of the error, empty if nobody answered."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


def address() -> str:
    """The D-Bus address of the manager that serves this user; empty where there is none."""
    if os.geteuid() == 0:
        path = "/run/dbus/system_bus_socket"
        return f"unix:path={path}" if os.path.exists("/run/systemd/private") and os.path.exists(path) else ""
    runtime = paths.runtime_home()
    if not runtime or not os.path.exists(f"{runtime}/systemd/private"):
        return ""
    given = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if given.startswith("unix:"):
        return given
    return f"unix:path={runtime}/bus" if os.path.exists(f"{runtime}/bus") else ""


def escape(text: str) -> str:
    """``text`` as part of a unit's name (systemd.unit(5), "String Escaping for Inclusion in Unit Names")."""
    if _PLAIN.issuperset(text):
        return text
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"\\x{byte:02x}" for byte in os.fsencode(text))


class Bus:
    """A connection to the bus at the address ``where``. Raises ``Refused``."""

    __slots__ = ("_connection",)

    def __init__(self, where: str) -> None:
        from rootless.cgroups.dbus import Broken, Connection, socket_of

        path = socket_of(where)
        if not path:
            raise Refused("", f"the bus cannot be reached: its address is {where[:120]!r}")
        try:
            self._connection: Connection = Connection(path, PATIENCE)
        except Broken as error:
            raise Refused("", f"the bus cannot be reached: {error}") from None

    def close(self) -> None:
        """Leave the bus."""
        self._connection.close()

    def call(self, member: str, signature: str, *body: object) -> list[Any]:
        """Call a method of systemd's manager; what it returns."""
        from rootless.cgroups.dbus import Broken

        try:
            answer = self._connection.call(_NAME, _OBJECT, _MANAGER, member, signature, *body)
            found = answer.body()
        except Broken as error:
            raise Refused("", f"systemd does not answer: {error}") from None
        if answer.error:
            text = found[0] if found and isinstance(found[0], str) else "no reason given"
            raise Refused(answer.error, text)
        return found

    def _ordered(self, member: str, signature: str, *body: object) -> int:
        """Call a method that gives systemd a job to do; the job's number."""
        found = self.call(member, signature, *body)
        number = str(found[0]).rpartition("/")[2] if found else ""
        if not number.isdecimal():
            raise Refused("", f"systemd's answer to {member} names no job")
        return int(number)

    def start(self, scope: Scope) -> None:
        """Make a scope and wait until its processes are in it.

        Their own groups tell that, so that nobody has to listen to everything that systemd does meanwhile. Out of a
        login session they are moved one by one.
        """
        properties = [
            ("Description", ("s", scope.description)),
            ("Slice", ("s", scope.slice)),
            ("Delegate", ("b", True)),
            ("CollectMode", ("s", "inactive-or-failed")),
            ("TimeoutStopUSec", ("t", scope.stop_timeout * 1_000_000)),
            ("PIDs", ("au", scope.pids)),
        ]
        nothing: list[object] = []
        arguments = ("StartTransientUnit", "ssa(sv)a(sa(sv))", scope.unit, "fail", properties, nothing)
        try:
            job = self._ordered(*arguments)
        except Refused as refused:
            if refused.name != _EXISTS:
                raise
            # What is left of an earlier run, whose processes are gone or going: nobody else uses the name.
            self._clear(scope.unit)
            job = self._ordered(*arguments)
        self._await(job, scope.unit, lambda: all(_is_in(pid, scope.unit) for pid in scope.pids))

    def stop(self, unit: str) -> None:
        """Stop a unit and wait until it is gone; one that is not there is none."""
        try:
            job = self._ordered("StopUnit", "ss", unit, "fail")
        except Refused as refused:
            if refused.name.endswith(".NoSuchUnit"):
                return
            raise
        self._await(job, unit, lambda: False)

    def _clear(self, unit: str) -> None:
        try:
            self.stop(unit)
            self.call("ResetFailedUnit", "s", unit)
        except Refused as refused:
            if not refused.name.endswith(".NoSuchUnit"):
                raise

    def _await(self, job: int, unit: str, is_done: Callable[[], bool]) -> None:
        """Wait until the job is done. Now and then systemd is asked whether it has it still."""
        begun = asked = time.monotonic()
        while not is_done():
            time.sleep(_PAUSE)
            now = time.monotonic()
            if now - asked < _ASK:
                continue
            asked = now
            try:
                self.call("GetJob", "u", job)
            except Refused as refused:
                if not refused.name.endswith(".NoSuchJob"):
                    raise
                return
            if now - begun > PATIENCE:
                raise Refused("", f"systemd takes too long for {unit}")

    def attach(self, unit: str, below: str, pids: Sequence[int]) -> None:
        """Move processes into the group ``below`` of a scope (``/container``); for those that the user cannot move."""
        self.call("AttachProcessesToUnit", "ssau", unit, below, list(pids))


def _is_in(pid: int, unit: str) -> bool:
    """Whether the process is in the unit's group (cgroups(7), /proc/PID/cgroup)."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
            return file.read(_LARGEST).rstrip().endswith(b"/" + unit.encode())
    except OSError:
        return False


def unavailable(refused: Refused) -> RootlessError:
    """The error for a user who asked for systemd's scopes by name."""
    return RootlessError(
        f"cannot make a scope: {refused.text}",
        "look at `systemctl --user status`, or use --cgroup-manager=cgroupfs or --cgroups=disabled",
    )
