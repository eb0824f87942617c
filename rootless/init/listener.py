"""Passing on the descriptor by which another program decides about system calls (seccomp_unotify(2)).

The process that loads the filter gets the descriptor, but from then on any of its system calls, that which would send
it too, may wait for that program. So a helper that has the same descriptors and no filter waits for it and sends it,
and ends when it hears that the other program has it.
"""

from __future__ import annotations

import fcntl
import os
import time

from rootless.init import wire
from rootless.linux.libc import CLONE_FILES, clone, die_with_parent
from rootless.linux.signals import SIGCHLD, SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.wire import Channel

_PAUSE = 0.0005
_FOREVER = 3600.0


def watch(caller: Channel) -> int:
    """Start the helper; its pid. To be called right before the filter is loaded: it gets the lowest free number."""
    expected = os.dup(caller.fileno())
    os.close(expected)
    parent = os.getpid()
    pid = clone(CLONE_FILES | SIGCHLD)
    if pid:
        return pid
    try:
        die_with_parent(SIGKILL, parent)
        while True:
            try:
                fcntl.fcntl(expected, fcntl.F_GETFD)
            except OSError:
                time.sleep(_PAUSE)
                continue
            caller.send(wire.LISTENER, fd=expected)
            if caller.receive()[0] == wire.START:
                break
            # Nobody has it: the program must not run, and its process is ended with this one by whoever started it.
            while True:
                time.sleep(_FOREVER)
    finally:
        os._exit(0)


def collect(helper: int) -> None:
    """Wait for the end of the helper, as the program would find it among its children."""
    try:
        os.waitpid(helper, 0)
    except OSError:
        return
