"""The exec sessions of a running container: small files below RUN, each for a process that ``exec`` brought in.

Like a container's status they are true only as long as that very process lives (architecture, decision 5).
"""

from __future__ import annotations

import os

from rootless.runtime import state
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine

_DIRECTORY = "exec"
_MOST = 4096  # bytes of a file


def new_id() -> str:
    """An ID of 64 hexadecimal digits."""
    return os.urandom(32).hex()


def add(engine: Engine, container_id: str, session_id: str, pid: int) -> None:
    """Put down that the process ``pid`` is a session of the container. It does not fail: the session runs anyway."""
    directory = f"{engine.run_directory(container_id)}/{_DIRECTORY}"
    data = jsonfast.dump_bytes({"pid": pid, "start_time": state.start_time(pid) or 0})
    try:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        fd = os.open(f"{directory}/{session_id}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
    except OSError:
        return


def remove(engine: Engine, container_id: str, session_id: str) -> None:
    """Forget a session that has ended."""
    try:
        os.unlink(f"{engine.run_directory(container_id)}/{_DIRECTORY}/{session_id}")
    except OSError:
        return


def running(engine: Engine, container_id: str) -> list[str]:
    """The IDs of the sessions that run; what is left of others is removed."""
    directory = f"{engine.run_directory(container_id)}/{_DIRECTORY}"
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found = []
    for name in names:
        if _runs(f"{directory}/{name}"):
            found.append(name)
        else:
            remove(engine, container_id, name)
    return found


def _runs(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            value = jsonfast.loads(os.read(fd, _MOST))
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return False
    if not isinstance(value, dict) or not isinstance(value.get("pid"), int):
        return False
    return bool(value["pid"] > 0 and state.start_time(value["pid"]) == value.get("start_time"))
