"""The monitor of a running container, as other commands reach it: by its socket, without any stream of the caller's."""

from __future__ import annotations

import _socket
import select

from rootless.init import wire
from rootless.monitor.frames import QUIET, SOCKET, STOPPING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine

_PATIENCE = 5000  # milliseconds for which it may be busy


def connect(engine: Engine, container_id: str) -> _socket.socket | None:
    """A connection to the container's monitor; None if it has none."""
    try:
        return wire.connect(engine.run_directory(container_id), SOCKET).detach()
    except OSError:
        return None


def announce_stop(engine: Engine, container_id: str) -> None:
    """Tell the monitor, if there is one, that the user wants the container to end and not to be restarted.

    Only what it has heard before the container ends counts.
    """
    tell(engine, container_id, STOPPING)


def tell(engine: Engine, container_id: str, packet: bytes) -> None:
    """Tell the monitor, if there is one, something that it answers; returns when it has heard."""
    connection = connect(engine, container_id)
    if not connection:
        return
    try:
        connection.send(QUIET, _socket.MSG_NOSIGNAL)
        connection.send(packet, _socket.MSG_NOSIGNAL)
        answer = select.poll()
        answer.register(connection.fileno(), select.POLLIN)
        answer.poll(_PATIENCE)
    except OSError:
        pass
    connection.close()
