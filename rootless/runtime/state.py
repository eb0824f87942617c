"""A container's runtime state: what is stored, and the status that is computed from it.

Stored are facts that cannot go stale unseen: init's pid with its start time and the boot. Pid reuse and reboots are
told apart by them; nothing has to be repaired after a crash.
"""

from __future__ import annotations

from rootless.errors import RootlessError
from storage import atomic, jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class State(TypedDict, total=False):
        """``state.json``. ``start_time`` is in clock ticks since boot; ``started``: the program was let go;
        ``created`` is a time as RFC 3339. ``cgroup``: the absolute directory of the payload's control group, '' for
        none. ``monitor``: the pid of the container's monitor, 0 for none, and when it started. ``notes``: what the
        container lacks because the machine does."""

        id: str
        pid: int
        start_time: int
        boot_id: str
        started: bool
        created: str
        bundle: str
        annotations: dict[str, str]
        cgroup: str
        cgroup_manager: str
        cgroup_why: str
        monitor: int
        monitor_start: int
        notes: list[str]


NAME = "state.json"
_START_TIME = 22 - 3  # proc(5): field 22 of /proc/PID/stat, where the first after the bracket is field 3


def boot_id() -> str:
    """The identity of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        return file.read(64).decode().strip()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; ``None`` if it has ended (a zombie has)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if len(fields) <= _START_TIME or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[_START_TIME])


def of_process(container_id: str, pid: int, bundle: str = "") -> State:
    """The state of a container whose init runs now."""
    return {
        "id": container_id,
        "pid": pid,
        "start_time": start_time(pid) or 0,
        "boot_id": boot_id(),
        "started": False,
        "bundle": bundle,
    }


def write(directory: str, state: State, *, durable: bool = False) -> None:
    """Store the state; the directory is of the run root, so it need not outlive the boot."""
    atomic.write(f"{directory}/{NAME}", jsonfast.seal(jsonfast.dump_bytes(state)), durable=durable)


def read(directory: str) -> State:
    """The stored state. Raises ``FileNotFoundError``, or ``RootlessError`` for a damaged file."""
    path = f"{directory}/{NAME}"
    with open(path, "rb", buffering=0) as file:
        data = file.read(1 << 20)
    try:
        state = jsonfast.loads(data.decode())
    except ValueError as error:
        raise RootlessError(f"cannot read {path}: it is damaged", "remove the container by force") from error
    if not isinstance(state, dict) or not isinstance(state.get("pid"), int) or not jsonfast.is_intact(data):
        raise RootlessError(f"cannot read {path}: it is damaged", "remove the container by force")
    found: State = state  # type: ignore[assignment]
    return found


def remains(directory: str, container_id: str) -> State:
    """What a damaged file still tells; of one that tells nothing the ID. Whether it is true the start time decides."""
    try:
        with open(f"{directory}/{NAME}", "rb", buffering=0) as file:
            state = jsonfast.loads(file.read(1 << 20))
    except (OSError, ValueError):
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("pid"), int):
        return {"id": container_id, "pid": 0, "bundle": ""}
    found: State = state  # type: ignore[assignment]
    return found


def status(state: State) -> str:
    """``created``, ``running`` or ``exited``, as the kernel says."""
    alive = start_time(state["pid"])
    if alive is None or alive != state.get("start_time") or state.get("boot_id") != boot_id():
        return "exited"
    return "running" if state.get("started") else "created"

