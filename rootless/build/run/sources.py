"""From the mounts of a RUN to what its container is started with: operations of the plan, volumes, variables."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from rootless.build.run import mounts, roots, secrets, ssh
from rootless.engine.options.volume import tmpfs_options
from rootless.errors import RootlessError, UsageError
from rootless.init.within import Content, Within
from rootless.linux.mountapi import MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY
from storage.caches import LOCKED, PRIVATE, SHARED, Caches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from rootless.build.job import Job
    from rootless.build.run.mounts import Mount
    from rootless.build.run.ssh import Agent
    from rootless.engine.options.volume import UserMount
    from storage.caches import Claim

_SECRET_MODE, _AGENT_MODE, _CACHE_MODE = 0o400, 0o600, 0o755
_STRICTER = (LOCKED, PRIVATE, SHARED)


class Sources:
    """What the mounts of one step need while it runs; ``with`` gives it back.

    ``operations`` mount at ``targets``. ``volumes`` are for the Spec, ``variables`` for the process. ``relabel``: paths
    of the host, and who may use them on a machine with SELinux.
    """

    def __init__(self, job: Job, directory: str) -> None:
        """``directory``: the step's own, which is there."""
        self._job = job
        self._directory = directory
        self._place = f"{directory}/place"
        self._claims: dict[str, Claim] = {}
        self._agents: list[Agent] = []
        self.operations: list[Within | Content] = []
        self.volumes: list[UserMount] = []
        self.variables: dict[str, str] = {}
        self.relabel: list[tuple[str, str]] = []

    @property
    def targets(self) -> list[str]:
        """Where the operations mount."""
        return [operation.target for operation in self.operations]

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for agent in self._agents:
            agent.close()
        for claim in self._claims.values():
            claim.lock.release()

    def add(self, wanted: Sequence[Mount]) -> None:
        """Make everything ready for these mounts, in their order. Raises RootlessError, StorageError."""
        for mount in wanted:
            self._check_ids(mount)
        self._claim(mount for mount in wanted if mount.kind == mounts.CACHE)
        by_kind = {
            mounts.BIND: self._bind, mounts.CACHE: self._cache, mounts.TMPFS: self._tmpfs, mounts.SECRET: self._secret,
            mounts.SSH: self._ssh,
        }  # fmt: skip
        for number, mount in enumerate(wanted):
            by_kind[mount.kind](mount, f"{self._directory}/mount-{number}")

    def program(self, data: bytes, target: str) -> None:
        """A program that the container has at ``target`` and nobody can change."""
        self.operations.append(Content(data, target, (0, 0, 0o755), self._make_place()))

    def _check_ids(self, mount: Mount) -> None:
        idmap = self._job.engine.idmap
        if not idmap.single() and (idmap.host_uid(mount.uid) is None or idmap.host_gid(mount.gid) is None):
            raise UsageError(f"cannot give a mount to {mount.uid}:{mount.gid}: a container of yours has no such ids")

    def _make_place(self) -> str:
        if not os.path.isdir(self._place):
            os.mkdir(self._place, 0o700)
        return self._place

    def _bind(self, mount: Mount, scratch: str) -> None:
        engine = self._job.engine
        root = roots.find(self._job, mount.from_, self._directory)
        lower, path, upper, work, place = list(root.directories), mount.source, "", "", ""
        copies = engine.driver.name != roots.OVERLAY
        try:
            hidden = [] if mount.from_ else roots.ignored(self._job, path)
            if not copies and not mount.read_only and root.state is None:
                copies = roots.has_strangers(engine, lower[0], path)
        except OSError as error:
            raise RootlessError(f"cannot mount {path} of {root.what}: {error.strerror}") from None
        if copies and (hidden or not mount.read_only):
            found = roots.copied(engine, lower[0], path, scratch, hidden)
            lower, path = [scratch], found
        else:
            if hidden:
                roots.whiteouts(lower[0], hidden, f"{scratch}-hidden")
                lower.insert(0, f"{scratch}-hidden")
            if not mount.read_only:
                upper, work = self._changes(scratch, lower[0])
            if upper or len(lower) > 1:
                place = self._make_place()
        if mount.relabel and root.state is None:
            self.relabel.append((root.directories[0], mount.relabel))
        attributes = MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if mount.read_only else 0)
        self.operations.append(
            Within(
                root.what, lower, path, mount.target, attributes=attributes, upper=upper, work=work, place=place
            )
        )

    @staticmethod
    def _changes(scratch: str, top: str) -> tuple[str, str]:
        """Directories for changes that nobody wants later; that of the root looks like the one that it hides."""
        os.makedirs(f"{scratch}/upper")
        os.mkdir(f"{scratch}/work")
        os.chmod(f"{scratch}/upper", os.stat(top).st_mode & 0o7777)
        return f"{scratch}/upper", f"{scratch}/work"

    def _claim(self, wanted: Iterable[Mount]) -> None:
        """Take all caches into use, in an order that is the same for everybody: no two wait for one another."""
        found: dict[str, Mount] = {}
        for mount in wanted:
            name = self._cache_name(mount)
            other = found.get(name)
            if other is None or _STRICTER.index(mount.sharing) < _STRICTER.index(other.sharing):
                found[name] = mount
        for name, mount in sorted(found.items()):
            self._claims[name] = Caches(self._job.engine.store.layout).claim(
                name, mount.sharing, partial(self._fill, mount), partial(self._wait, mount)
            )

    def _wait(self, mount: Mount) -> None:
        self._job.write(f"waiting for the cache {mount.id}: another build has it\n".encode())

    def _cache_name(self, mount: Mount) -> str:
        """Caches that begin as a part of an image are others than those that begin empty."""
        if not mount.from_:
            return mount.id
        root = roots.find(self._job, mount.from_, self._directory)
        origin = root.state.diff_ids if root.state else root.directories
        return "\n".join([mount.id, *origin, mount.source])

    def _fill(self, mount: Mount, path: str) -> None:
        """Let a new cache begin: with a part of an image, or empty, with the owner that the mount says."""
        if mount.from_:
            root = roots.find(self._job, mount.from_, self._directory)
            directory = root.directories[0]
            if len(root.directories) > 1:
                assert root.state is not None
                directory = roots.flattened(self._job, root.state)
            os.rmdir(path)
            if roots.copied(self._job.engine, directory, mount.source, path):
                raise RootlessError(f"cannot begin the cache {mount.id} with {mount.source}: it is not a directory")
            return
        if mount.source:
            raise UsageError("cannot use source without from in RUN --mount=type=cache")
        os.chmod(path, _CACHE_MODE if mount.mode is None else mount.mode)
        if (mount.uid, mount.gid) != (0, 0) and not self._job.engine.idmap.single():

            def give() -> bytes:
                os.chown(path, mount.uid, mount.gid)
                return b""

            self._job.engine.in_userns(give)

    def _cache(self, mount: Mount, scratch: str) -> None:
        claim = self._claims[self._cache_name(mount)]
        attributes = MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if mount.read_only else 0)
        if mount.relabel or claim.fresh:
            self.relabel.append((claim.path, mount.relabel or "shared"))
        self.operations.append(
            Within(f"the cache {mount.id}", [claim.path], "", mount.target, attributes=attributes)
        )

    def _tmpfs(self, mount: Mount, scratch: str) -> None:
        options = tmpfs_options(["ro"] if mount.read_only else [], {"rw": "ro"} if mount.read_only else {})
        options += [f"size={mount.size}"] if mount.size else []
        options += [f"mode={mount.mode:o}"] if mount.mode is not None else []
        self.volumes.append(
            {"type": "tmpfs", "source": "tmpfs", "destination": mount.target, "options": options}
        )

    def _without(self, mount: Mount, what: str, option: str) -> None:
        """Go on without what the build was not given, unless it is required. Raises RootlessError."""
        if mount.required:
            name = f"the {what} {mount.id[:80]}"
            raise RootlessError(f"cannot mount {name}: the build was not given it", f"give it: {option}")

    def _secret(self, mount: Mount, scratch: str) -> None:
        known = secrets.parse(self._job.values.get("secret") or (), os.environ)
        if mount.id not in known:
            self._without(mount, "secret", f"--secret id={mount.id},src=FILE")
            return
        data = secrets.read(known[mount.id], mount.id, os.environ)
        if mount.env:
            if b"\0" in data:
                raise RootlessError(f"cannot put the secret {mount.id[:80]} into a variable: it has a NUL byte")
            self.variables[mount.env] = os.fsdecode(data)
        if mount.target:
            mode = _SECRET_MODE if mount.mode is None else mount.mode
            self.operations.append(Content(data, mount.target, (mount.uid, mount.gid, mode), self._make_place()))

    def _ssh(self, mount: Mount, scratch: str) -> None:
        known = ssh.parse(self._job.values.get("ssh") or (), os.environ)
        if mount.id not in known:
            self._without(mount, "agent", f"--ssh {mount.id}")
            return
        os.mkdir(scratch, 0o700)
        self._agents.append(ssh.Agent(scratch, "agent", known[mount.id], self._job.engine.store.layout.run))
        mode = _AGENT_MODE if mount.mode is None else mount.mode
        owner = (mount.uid, mount.gid, mode)
        self.operations.append(
            Within(f"the agent {mount.id}", [scratch], "agent", mount.target, attributes=MOUNT_ATTR_NODEV, owner=owner)
        )
        self.variables.setdefault("SSH_AUTH_SOCK", mount.target)
