"""The console socket of an OCI runtime: who gives one gets the container's terminal."""

from __future__ import annotations

import _socket
import os
import sys

from rootless.errors import RootlessError


def send(path: str, master: int) -> None:
    """Send the terminal's master to the listening stream socket ``path``, as runc does: one descriptor, with its name.

    The descriptor is closed here. Raises RootlessError.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        passed = master.to_bytes(4, sys.byteorder)
        connection.sendmsg([b"/dev/ptmx"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)])
    except OSError as error:
        raise RootlessError(f"cannot send the terminal to the console socket {path}: {error.strerror}") from None
    finally:
        os.close(directory)
        connection.close()
        os.close(master)
