"""``create``, ``start`` and ``run``: a container from its bundle to its exit code, with the hooks of its lifecycle.

Source: OCI runtime-spec 1.3, runtime.md, "Lifecycle".
"""

from __future__ import annotations

import os
import time

from rootless.cli.oci_group import Group, forget
from rootless.cli.oci_log import tell_notes, warn
from rootless.cli.report import describe, print_line
from rootless.engine.containers.stdio import follow
from rootless.errors import RootlessError, UsageError
from rootless.init import wire
from rootless.runtime import bundle, hooks, launch, plan, state, usermap, validate
from rootless.runtime import process as processes
from storage import atomic
from storage.errors import NotFoundError as NotInStoreError
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.cli.oci_state import Record
    from rootless.init.plan import Plan
    from rootless.runtime.spec import Extras, Spec
    from rootless.runtime.state import State

PATIENCE = 10
"""Seconds that a killed container may take to end."""
_STARTING = "starting"


def create(record: Record, values: Mapping[str, Any], global_values: Mapping[str, Any]) -> None:
    """Make the container of a bundle up to the point where only the program is missing; ``start`` lets that go."""
    bundle_, compiled = _read(values, global_values)
    with record.reserve():
        container = Container(record, bundle_, values, global_values)
        container.create(compiled, wire.Detached(wire.listen(record.directory, launch.GATE), 0))


def run(record: Record, values: Mapping[str, Any], global_values: Mapping[str, Any]) -> int:
    """Run the container of a bundle; its exit code, and nothing is left of it. With ``detach`` 0 as soon as it runs."""
    bundle_, compiled = _read(values, global_values)
    detach = bool(values.get("detach"))
    with record.reserve():
        container = Container(record, bundle_, values, global_values)
        container.create(compiled, wire.Detached(-1, 0 if detach else os.getpid()))
        try:
            if detach:
                container.start()
                return 0
            code = follow(container, interactive=True)
        except BaseException:
            container.close()
            container.delete()
            raise
        if not values.get("keep"):
            container.delete()
        return code


def start(record: Record, global_values: Mapping[str, Any]) -> None:
    """Let the program start of a container that was created. If that fails nothing is left of it."""
    starting = Lock(f"{record.directory}/{_STARTING}")
    found = record.read()
    status = record.status(found)
    if status != "created":
        raise RootlessError(f"cannot start the container {record.id}: it is {status}, not created")
    if not starting.acquire(wait=False):
        raise RootlessError(f"cannot start the container {record.id}: another command is starting it")
    with starting:
        spec = record.spec()
        directory = found.get("bundle", "")
        document = hooks.state_document(spec, record.id, directory, found["pid"], "created")
        listener = processes.listener_of(spec.get("linux") or {})
        channel = launch.knock(record.directory)
        try:
            launch.release(channel, document, listener)
            found["started"] = True
            record.write(found)
            hooks.run(spec, "poststart", hooks.state_document(spec, record.id, directory, found["pid"], "running"))
        except (RootlessError, OSError):
            _give_up(record, found, global_values)
            raise


def _give_up(record: Record, found: State, global_values: Mapping[str, Any]) -> None:
    """End a container that could not be started as its Spec wants it, and destroy it, unless somebody else does."""
    from rootless.cli import oci_signal

    pidfd = oci_signal.open_init(found)
    if pidfd >= 0:
        oci_signal.kill_and_wait(pidfd, PATIENCE)
    try:
        with record.lock():
            destroy(record, found, global_values)
    except NotInStoreError:
        pass


def destroy(record: Record, found: State, global_values: Mapping[str, Any]) -> None:
    """Remove what is kept of a container that has ended, and run its poststop hooks; the caller holds the lock.

    Source: runtime.md, "Lifecycle", steps 12 and 13.
    """
    spec = record.spec()
    forget(found)
    record.delete()
    after(spec, hooks.state_document(spec, record.id, found.get("bundle", ""), 0, "stopped"), global_values)


def _read(values: Mapping[str, Any], global_values: Mapping[str, Any]) -> tuple[tuple[str, Spec], Plan]:
    """((directory, Spec), plan) of the bundle that the command line names."""
    descriptors = values.get("preserve_fds") or "0"
    if not descriptors.isdigit():
        raise UsageError(f"cannot preserve {descriptors} file descriptors")
    launch.check_descriptors(descriptors)
    directory = os.path.realpath(values.get("bundle") or ".")
    spec = bundle.read(directory)
    extras: Extras = {
        "preserve_fds": int(descriptors),
        "make_cwd": True,
        "no_pivot": bool(values.get("no_pivot")),
        "keep_keyring": bool(values.get("no_new_keyring")),
    }
    compiled = prepare(spec, directory, extras)
    if global_values.get("debug"):
        for line in compiled.describe():
            print_line(line)
    return (directory, spec), compiled


def prepare(spec: Spec, directory: str, extras: Extras) -> Plan:
    """The plan for the Spec of the bundle in ``directory``. Raises ``RootlessError`` for what cannot be run."""
    validate.check(spec)  # its form, before anything here relies on it
    for mount in spec.get("mounts") or []:
        source, kind = mount.get("source", ""), mount.get("type", "")
        bound = kind == "bind" or {"bind", "rbind"} & set(mount.get("options") or ())
        if bound and source and not source.startswith("/"):
            mount["source"] = f"{directory}/{source}"
    return plan.compile(spec, bundle.rootfs(directory, spec), usermap.of_spec(spec.get("linux") or {}), extras)


def after(spec: Spec, document: bytes, global_values: Mapping[str, Any]) -> None:
    """Run the ``poststop`` hooks. One that fails is told, and the others follow: the container is gone."""
    for hook in (spec.get("hooks") or {}).get("poststop") or []:
        try:
            hooks.run({"hooks": {"poststop": [hook]}}, "poststop", document)
        except (RootlessError, OSError) as error:
            warn(global_values, describe(error)[0])


class Container:
    """A container that this process makes: a `runtime.launch.Process` that keeps its state on disk.

    ``values`` are those of ``create`` or ``run``: ``pid_file``, ``console_socket``, ``detach``.
    """

    __slots__ = (
        "_bundle", "_globals", "_group", "_process", "_record", "_spec", "_state", "_values", "console_fd", "pidfd",
    )  # fmt: skip

    def __init__(
        self, record: Record, found: tuple[str, Spec], values: Mapping[str, Any], global_values: Mapping[str, Any]
    ) -> None:
        self._record = record
        self._bundle, self._spec = found
        self._values = values
        self._globals = global_values
        self._process: launch.Process | None = None
        self._group: Group | None = None
        self._state: State = {"id": record.id, "pid": 0}
        self.pidfd = self.console_fd = -1

    def document(self, status: str) -> bytes:
        """The container's state for hooks."""
        return hooks.state_document(self._spec, self._record.id, self._bundle, self._state["pid"], status)

    def create(self, compiled: Plan, detached: wire.Detached) -> None:
        """Make it. If that fails nothing is left of it, and its poststop hooks have run."""
        for warning in compiled.warnings:
            warn(self._globals, warning)
        try:
            socket = self._console(compiled.terminal, detached)
            # What `start`, `exec` and `delete` do is that of the moment of creation (runtime.md, "Create").
            bundle.write(self._record.directory, self._spec)
            self._group = Group(self._record.id, self._spec, self._globals)
            self._group.bound(compiled)
            self._process = launch.create(
                compiled,
                on_created=self._created,
                on_mounted=self._mounted,
                place=self._group.place,
                detached=detached,
            )
            self._group.let_go()
            if detached.gate >= 0:
                os.close(detached.gate)
            self._tell(self._process, compiled.warnings)
            if socket:
                from rootless.cli import console

                console.send(socket, self.console_fd)
                self.console_fd = -1
        except BaseException:
            self.close()
            self.delete()
            raise

    def _console(self, terminal: bool, detached: wire.Detached) -> str:
        """The socket that gets the terminal, '' for none."""
        path = self._values.get("console_socket") or ""
        leaves = detached.guardian == 0
        if terminal and leaves and not path:
            raise RootlessError(
                "cannot make a terminal for a container that outlives this command", "pass --console-socket SOCKET"
            )
        if path and not terminal:
            raise RootlessError("cannot use --console-socket: the process of config.json has no terminal")
        return str(path)

    def _tell(self, process: launch.Process, told: list[str]) -> None:
        notes = [*process.notes, *(self._group.notes if self._group else ())]
        tell_notes(self._globals, [note for note in notes if note not in told])
        self.pidfd, self.console_fd = process.pidfd, process.console_fd
        self._record.write(self._state)
        if self._values.get("pid_file"):
            atomic.write(self._values["pid_file"], str(process.pid).encode(), mode=0o644, durable=False)

    def _created(self, pid: int) -> None:
        self._state = state.of_process(self._record.id, pid, self._bundle)
        self._state["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._state["annotations"] = self._spec.get("annotations") or {}
        self._state["cgroup"] = self._group.path if self._group else ""

    def _mounted(self, _: int) -> bytes:
        """Run the hooks of the moment when everything is mounted; the state for those inside."""
        document = self.document("creating")
        for moment in ("prestart", "createRuntime"):
            hooks.run(self._spec, moment, document)
        return document

    def start(self) -> None:
        """Let the program start, and run the ``poststart`` hooks; one that fails ends the container."""
        assert self._process is not None
        self._process.start(self.document("created"))
        self._state["started"] = True
        self._record.write(self._state)
        hooks.run(self._spec, "poststart", self.document("running"))

    def wait(self) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait()

    def close(self) -> None:
        """End what there is of it."""
        if self._process:
            self._process.close()

    def delete(self) -> None:
        """Remove what is kept of it, and run the poststop hooks."""
        if self._group:
            self._group.remove()
        self._state["pid"] = 0
        self._record.delete()
        after(self._spec, self.document("stopped"), self._globals)
