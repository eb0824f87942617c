"""Hooks: programs run at set moments of a start (OCI runtime-spec, config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

import os
import select

from rootless.errors import RootlessError
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.linux.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    class Hook(TypedDict):
        """One hook; ``timeout`` is in seconds."""

        path: str
        args: NotRequired[list[str]]
        env: NotRequired[list[str]]
        timeout: NotRequired[int]


def run_hooks(hooks: list[Hook], moment: str, state: bytes) -> None:
    """Run the hooks in order with the container's state (JSON) on standard input; the first failure ends it."""
    for hook in hooks:
        _run(hook, moment, state)


def _run(hook: Hook, moment: str, state: bytes) -> None:
    path = hook["path"]
    environment = dict(item.split("=", 1) for item in hook.get("env", []) if "=" in item)
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, reader, 0)]
    try:
        pid = os.posix_spawn(path, hook.get("args") or [path], environment, file_actions=actions)
    except OSError as error:
        os.close(writer)
        raise RootlessError(f"cannot run the {moment} hook {path}: {error.strerror}") from error
    finally:
        os.close(reader)
    try:
        os.write(writer, state)
    except BrokenPipeError:
        pass
    finally:
        os.close(writer)
    code = _wait(pid, hook.get("timeout", 0))
    if code != 0:
        reason = "it took too long" if code is None else f"exit code {code}"
        raise RootlessError(f"cannot start the container: the {moment} hook {path} failed: {reason}")


def _wait(pid: int, timeout: int) -> int | None:
    """The exit code, or ``None`` after ``timeout`` seconds (0: no limit)."""
    if timeout > 0:
        pidfd = pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        late = not poll.poll(int(timeout * 1000))
        if late:
            pidfd_send_signal(pidfd, SIGKILL)
        os.close(pidfd)
        if late:
            os.waitpid(pid, 0)
            return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

