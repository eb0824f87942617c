"""``--init``: a first process that hands signals to the program and collects orphans.

It is this very process after the confinement is complete, so it has no more power than the program. It is not dumpable,
has no open descriptor, and imports nothing.
"""

from __future__ import annotations

import os

from rootless.init.wire import exit_code
from rootless.linux import signals
from rootless.linux.libc import PR_SET_DUMPABLE, close_range, prctl, set_process_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_KERNEL_OWN = frozenset((signals.SIGKILL, signals.SIGSTOP))
_FAULTS = frozenset((4, 5, 7, 8, 11, 31))
WAITED = [value for value in signals.ALL if value not in _KERNEL_OWN | _FAULTS]


def split() -> int:
    """Fork: 0 in the process that is to become the program, its pid in the one that stays; signals stay blocked."""
    signals.block_all()
    return os.fork()


def reap(program: int) -> NoReturn:
    """Serve as the container's first process until ``program`` ends, then exit as it did."""
    close_range(0)
    prctl(PR_SET_DUMPABLE, 0)
    set_process_name("init")
    while True:
        received = signals.wait(WAITED)
        if received != signals.SIGCHLD:
            _forward(program, received)
            continue
        code = _collect(program)
        if code is not None:
            os._exit(code)


def _forward(program: int, number: int) -> None:
    try:
        os.kill(program, number)
    except (ProcessLookupError, PermissionError):
        return


def _collect(program: int) -> int | None:
    """Collect every ended child; the exit code of ``program`` if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == program:
            code = exit_code(status)
