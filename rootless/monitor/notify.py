"""Messages to a service manager: sd_notify(3)."""

from __future__ import annotations

import _socket
import os


def tell(target: str, message: bytes) -> None:
    """Send a message to a service manager; one that does not listen is no failure."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        end.sendto(message, "\0" + target[1:] if target[0] == "@" else target)
    except OSError:
        pass
    finally:
        end.close()


def pass_on(listener: int, target: str) -> None:
    """Pass on one message of the container, in which this process is named as the main one."""
    try:
        lines = os.read(listener, 1 << 16).split(b"\n")
    except OSError:
        return
    kept = [line for line in lines if line and not line.startswith(b"MAINPID=")]
    if b"READY=1" in kept:
        kept.append(b"MAINPID=%d" % os.getpid())
    if kept:
        tell(target, b"\n".join(kept))
