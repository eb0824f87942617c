"""Hooks: programs run at set moments of a start (OCI runtime-spec, config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

import errno
import os
import select

from rootless.errors import RootlessError
from rootless.linux.libc import close_on_exec_from
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.linux.signals import SIGKILL, reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, NotRequired, TypedDict

    from rootless.init.airlock import Airlock

    class Hook(TypedDict):
        """One hook; ``timeout`` is in seconds."""

        path: str
        args: NotRequired[list[str]]
        env: NotRequired[list[str]]
        timeout: NotRequired[int]


def run_hooks(hooks: list[Hook], moment: str, state: bytes, airlock: Airlock | None = None) -> None:
    """Run the hooks in order with the container's state (JSON) on standard input; the first failure ends it.

    ``airlock``: what is executed before each that is a program of the image.
    """
    for hook in hooks:
        _run(hook, moment, state, airlock)


def _run(hook: Hook, moment: str, state: bytes, airlock: Airlock | None) -> None:
    path = hook["path"]
    environment = dict(item.split("=", 1) for item in hook.get("env") or [] if "=" in item)
    # A file rather than a pipe: nobody waits for a hook that does not read.
    memory = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(memory, state)
    os.lseek(memory, 0, os.SEEK_SET)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(path, hook.get("args") or [path], environment, memory, writer, airlock)
    os.close(memory)
    os.close(writer)
    failed = os.read(reader, 4)
    os.close(reader)
    code = _wait(pid, hook.get("timeout") or 0)
    if failed:
        reason = os.strerror(-int.from_bytes(failed, "little", signed=True))
        raise RootlessError(f"cannot run the {moment} hook {path}: {reason}")
    if code != 0:
        reason = "it took too long" if code is None else f"exit code {code}"
        raise RootlessError(f"cannot start the container: the {moment} hook {path} failed: {reason}")


def _become(
    path: str, arguments: list[str], environment: dict[str, str], state: int, failed: int, airlock: Airlock | None
) -> NoReturn:
    """Execute the hook in a process group of its own, with no descriptors but the standard three."""
    number = errno.EINVAL
    try:
        os.setpgid(0, 0)
        os.dup2(state, 0)
        close_on_exec_from(3)
        reset()
        if airlock:
            os.dup2(failed, airlock.writer)
            airlock.execute(path, arguments, environment)
        os.execve(path, arguments, environment)
    except OSError as error:
        number = error.errno or number
    finally:
        os.write(failed, (-number).to_bytes(4, "little", signed=True))  # as the airlock would
        os._exit(127)


def _wait(pid: int, timeout: int) -> int | None:
    """The exit code, or ``None`` after ``timeout`` seconds (0: no limit)."""
    if timeout > 0:
        pidfd = pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        late = not poll.poll(int(timeout * 1000))
        if late:
            pidfd_send_signal(pidfd, SIGKILL)
            _end_group(pid)
        os.close(pidfd)
        if late:
            os.waitpid(pid, 0)
            return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _end_group(group: int) -> None:
    """Kill what the hook has started."""
    try:
        os.killpg(group, SIGKILL)
    except ProcessLookupError:
        return
