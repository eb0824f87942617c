"""Handing the descriptor of a container's system call filter to the program that is to decide (``listenerPath``).

Source: OCI runtime-spec 1.3, config-linux.md, "The Container Process State".
"""

from __future__ import annotations

import _socket
import os
import sys

from rootless.errors import RootlessError
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.plan import Listener

_FD_NAME = "seccompFd"
_TIMEOUT = 10.0


def forward(listener: Listener, state: bytes, descriptor: int, pid: int = 0) -> None:
    """Send the descriptor with the state of the container process, and close it. Raises ``RootlessError``.

    ``state`` is the container's (runtime.md, "State"), as JSON; ``pid`` the process's where it is not the first.
    """
    known = jsonfast.loads(state.decode()) if state else {}
    if known.get("status") == "created":
        # The program itself does not run yet: that is still the making of the container.
        known["status"] = "creating"
    document = {
        "ociVersion": known.get("ociVersion", ""),
        "fds": [_FD_NAME],
        "pid": pid or known.get("pid", 0),
        "metadata": listener.metadata,
        "state": known,
    }
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        end.settimeout(_TIMEOUT)
        end.connect(listener.path)
        data = jsonfast.dumps(document).encode()
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))]
        sent = end.sendmsg([data], rights)
        if sent < len(data):
            end.sendall(data[sent:])
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "the program that decides about system calls must listen there before the container starts"
        raise RootlessError(f"cannot pass the seccomp listener to {listener.path}: {reason}", hint) from None
    finally:
        end.close()
        os.close(descriptor)
