"""Signals to a container that another process runs."""

from __future__ import annotations

import os
import select

from rootless.cgroups.v2 import Cgroup
from rootless.errors import RootlessError, UsageError
from rootless.linux import libc, signals
from rootless.linux.libc import CLONE_NEWPID, CLONE_NEWUSER
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.runtime.state import State


def parse(text: str) -> int:
    """The number of a signal. Raises ``UsageError``."""
    try:
        return signals.number(text)
    except ValueError:
        raise UsageError(f"cannot send {text!r}: there is no such signal", "`kill -l` lists the names") from None


def open_init(found: State) -> int:
    """A descriptor of the container's first process, -1 if it has ended: no other that got its pid is ever meant."""
    try:
        pidfd = pidfd_open(found["pid"])
    except ProcessLookupError:
        return -1
    if state.status(found) == "exited":
        os.close(pidfd)
        return -1
    return pidfd


def send(pidfd: int, number: int) -> bool:
    """Send a signal to one process. ``False``: it has ended."""
    try:
        return pidfd_send_signal(pidfd, number)
    except PermissionError:
        raise RootlessError("cannot send the signal: the container belongs to another user") from None


def kill_and_wait(pidfd: int, seconds: int) -> None:
    """Kill a process and wait for its end. Raises ``RootlessError`` after ``seconds``."""
    send(pidfd, signals.SIGKILL)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise RootlessError(f"cannot kill the container: it has not ended within {seconds} seconds")


def send_to_all(found: State, pidfd: int, number: int) -> None:
    """Send a signal to every process of the container, those in namespaces below its own included.

    A child joins the container's pid namespace and there calls kill(2) with -1, which spares the first process and the
    caller: unlike a walk through /proc this misses no process that is being made. A container without such a namespace
    has its control group; frozen, nobody in there makes a process, or gives its number to another.
    """
    pid = found["pid"]
    try:
        own_users = _other(pid, "user")
        own_pids = _other(pid, "pid")
    except OSError as error:
        raise RootlessError(f"cannot look at the container's namespaces: {error.strerror}") from None
    if not own_pids and found.get("cgroup"):
        _send_to_group(Cgroup(found["cgroup"]), number)
        return
    if not own_pids:
        raise RootlessError(
            "cannot send the signal to all: the container has neither a pid namespace nor a control group of its own",
            "leave --all away: the signal goes to the container's first process",
        )
    if number == signals.SIGKILL:
        send(pidfd, number)  # the kernel kills the rest of the namespace
        return
    child = os.fork()
    if child == 0:
        _kill_inside(pidfd, CLONE_NEWPID | (CLONE_NEWUSER if own_users else 0), number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise RootlessError(f"cannot send the signal to all processes of the container: {os.strerror(abs(code))}")
    send(pidfd, number)


def _send_to_group(group: Cgroup, number: int) -> None:
    if number == signals.SIGKILL:
        group.kill()
        return
    was_frozen = group.frozen()
    if not was_frozen:
        group.freeze()
    try:
        for pid in group.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
    finally:
        if not was_frozen:
            group.thaw()


def _other(pid: int, kind: str) -> bool:
    theirs, ours = (os.stat(f"/proc/{who}/ns/{kind}") for who in (pid, "self"))
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)


def _kill_inside(pidfd: int, kinds: int, number: int) -> NoReturn:
    """Join, fork, for only a child is in the joined pid namespace, and signal. The exit code is an error number."""
    code = 1
    try:
        libc.setns(pidfd, kinds)
        child = os.fork()
        if child == 0:
            os.kill(-1, number)
            os._exit(0)
        # Killed itself: a process of the container answered the signal by ending the first one, and so all of them.
        code = max(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    except ProcessLookupError:
        code = 0  # the first process is the only one
    except OSError as error:
        code = error.errno or 1
    finally:
        os._exit(code)
