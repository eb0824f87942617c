"""A container's files as the container sees them, with its volumes: of one that runs through its own mounts, of any
other put together in a mount namespace that nobody else has and that goes with the work.

The work is done in a child process in the container's user namespace, by descriptors below the root: nothing of the
container is executed, and no path of it is looked up in any other way than inside its root.
"""

from __future__ import annotations

import os

from rootless.engine.containers.removal import take_lock
from rootless.engine.containers.status import ALIVE, status
from rootless.engine.containers.user_mounts import is_empty
from rootless.errors import NotFoundError, RootlessError
from rootless.init.copy_up import fill_volume
from rootless.init.directory import check_served
from rootless.init.ops import Site
from rootless.init.rootfs import Rootfs
from rootless.linux.libc import MS_REC, MS_SLAVE, mount
from rootless.linux.signals import SIGKILL
from rootless.runtime import enter, launch, plan, state
from rootless.userns import run_in_namespace, run_in_userns
from storage import sys as calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.init.plan import Plan

    Work = Callable[[int], bytes]
    """What is done with a descriptor of the root; returns bytes for the caller."""


def inside(engine: Engine, container: Container, work: Work) -> bytes:
    """Run ``work`` on the root of a container and return its bytes.

    One that does not run is kept from starting meanwhile. Raises RootlessError, StorageError, OSError.
    """
    if status(engine, container.id).state in ALIVE:
        return _of_running(engine, container, work)
    lock = take_lock(engine, container.id)
    if lock is None:
        raise NotFoundError(f"no container with name or ID {container.id[:12]!r} found: no such container")
    with lock:
        return _put_together(container, work)


def _of_running(engine: Engine, container: Container, work: Work) -> bytes:
    short = container.id[:12]
    if status(engine, container.id).state == "initialized":
        raise RootlessError(
            f"cannot reach the files of container {short}: its program has not started",
            f"start it first: rootless start {short}",
        )
    try:
        target = enter.find(state.read(engine.run_directory(container.id)), ignore_paused=True)
    except (RootlessError, FileNotFoundError):
        raise RootlessError(f"cannot reach the files of container {short}: it has just ended") from None
    root = namespace = -1
    try:
        try:
            root = os.open(f"/proc/{target.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            namespace = os.open(f"/proc/{target.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise RootlessError(f"cannot reach the files of container {short}: it has just ended") from None
        if target.ended():  # its number may be another's
            raise RootlessError(f"cannot reach the files of container {short}: it has just ended")

        def reach() -> bytes:
            check_served(root)
            return work(root)

        return run_in_namespace(reach, namespace, container.idmap)
    finally:
        for fd in (root, namespace):
            if fd >= 0:
                os.close(fd)
        target.close()


class _Assembly:
    """The root file system and the user's mounts of a container that does not run."""

    def __init__(self, container: Container) -> None:
        foreign = not container.idmap.maps_caller()
        self.root = Rootfs(container.rootfs, foreign)
        self.site = Site()
        planned = _plan(container)
        self.operations = planned.operations
        if foreign:
            launch.give_writable_layer(planned)
        copy_up = container.extras.get("copy_up") or []
        self._copy_up = [(path, volume) for path, volume in copy_up if is_empty(volume)]
        self._volumes: list[tuple[str, int]] = []

    def reach(self) -> None:
        """Take what the caller alone may reach, with its own id."""
        for path, volume in self._copy_up:
            self._volumes.append((path, os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
        for operation in self.operations:
            operation.open(self.site)
        if self.root.description["kind"] != "fuse-overlayfs":
            self.root.reach()

    def mount(self) -> int:
        """Mount everything; a descriptor of the root."""
        mount(None, "/", None, MS_REC | MS_SLAVE)
        if self.root.description["kind"] == "fuse-overlayfs":
            self.root.reach()
        self.root.open(self.site)
        self.site.root = root = self.root.attach()
        os.umask(0o022)
        for path, volume in self._volumes:
            fill_volume(root, path, volume)
        for operation in self.operations:
            operation.apply(self.site)
        return root


def _put_together(container: Container, work: Work) -> bytes:
    assembly = _Assembly(container)
    fuse = container.rootfs["kind"] == "fuse-overlayfs"
    if fuse:
        from rootless.init.fuse import mount_fuse  # loaded before the fork

    def run() -> bytes:
        helper = 0
        if fuse:
            helper = mount_fuse(container.rootfs, container.rootfs.get("helper", ""), True)
        try:
            root = assembly.mount()
            result = work(root)
            if helper:
                fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
                calls.syncfs(fd)  # what the kernel has not passed on to the helper yet
                os.close(fd)
            return result
        finally:
            if helper:
                # The mount goes with this namespace; its process has nothing left to serve.
                os.kill(helper, SIGKILL)
                os.waitpid(helper, 0)

    return run_in_userns(run, container.idmap, mount_ns=True, before=assembly.reach)


def _plan(container: Container) -> Plan:
    """The plan of a start, of whose mounts only those are left that the user asked for and that outlive a run."""
    shown = container.record["mounts"]
    wanted = {found["Destination"] for found in shown if found["Type"] in ("bind", "volume", "image")}
    spec: dict[str, Any] = dict(container.spec)
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] in wanted]
    extras = {**container.extras, "seccomp": None}
    compiled = plan.compile(spec, container.rootfs, container.idmap, extras)  # type: ignore[arg-type]
    compiled.operations = [found for found in compiled.operations if getattr(found, "target", "") in wanted]
    return compiled
