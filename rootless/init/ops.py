"""The operations of a plan that build the container's view of the file system.

Each has ``describe()`` for people, ``open()`` which takes its source from the host, and ``apply()`` which attaches it
inside the root. All sources are opened while the process still has the caller's own id, before anything of the image is
looked at; all targets are found by openat2(2) inside the root and mounted on by descriptor.
"""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.linux.libc import (
    CGROUP2_MAGIC,
    MS_PRIVATE,
    PROC_MAGIC,
    file_system_type,
)
from rootless.linux.mountapi import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    mount_setattr,
    move_mount,
    new_mount,
    open_tree,
    reconfigure,
)
from rootless.linux.path import (
    INSIDE,
    O_PATH,
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    make_directory,
    make_file,
    open_inside,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from rootless.idmaps import Row

    Setting = tuple[int, int, int, bool]
    """Attributes of a mount to set and to clear, its new propagation (0: the old), and whether those below too."""

    class Operation(Protocol):
        """One step of building the root file system."""

        def describe(self) -> str:
            """The step in one line."""

        def open(self, site: Site) -> None:
            """Take what the step needs from the host."""

        def apply(self, site: Site) -> None:
            """Carry the step out inside the root."""


_AT_FDCWD = -100
TYPE, CHARACTER = 0o170000, 0o020000  # stat(2): the mask of a file's kind, and a kind
_DIRECTORY = 0o040000
NULL = (1, 3)
"""The number of /dev/null."""

_RESTRICT = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_LETTERS = (
    (MOUNT_ATTR_RDONLY, "ro"),
    (MOUNT_ATTR_NOSUID, "nosuid"),
    (MOUNT_ATTR_NODEV, "nodev"),
    (MOUNT_ATTR_NOEXEC, "noexec"),
    (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
    (MOUNT_ATTR_NOATIME, "noatime"),
    (MOUNT_ATTR_STRICTATIME, "strictatime"),
    (MOUNT_ATTR_NODIRATIME, "nodiratime"),
)
_PROPAGATIONS = {1 << 17: "unbindable", 1 << 18: "private", 1 << 19: "slave", 1 << 20: "shared"}
# What may be mounted over in /proc: files that lxcfs stands in for, as runc allows.
_PROC_EXCEPTIONS = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime")
)


class Site:
    """What the operations share while they run: descriptors that hold, and notes of what was left out.

    ``root`` is the root of the container's file system, ``proc`` the root of its own procfs, ``sysctls`` of the procfs
    to set its sysctls in, ``null`` the host's checked /dev/null, ``devpts`` its pseudo-terminals; -1 where there is
    none. ``own_pid``: it has not the shim's pid namespace. ``shared``: copies of the host's mounts are still shared.
    """

    __slots__ = ("devpts", "empty", "notes", "null", "own_pid", "proc", "root", "shared", "sysctls")

    def __init__(self) -> None:
        self.root = self.proc = self.null = self.devpts = self.empty = self.sysctls = -1
        self.own_pid = True
        self.shared = False
        self.notes: list[str] = []

    def open_null(self) -> int:
        """The host's /dev/null, checked to be that device."""
        if self.null < 0:
            self.null = open_device("/dev/null", CHARACTER, NULL)
        return self.null


def open_device(path: str, kind: int, number: tuple[int, int]) -> int:
    """Open a device node of the host and check that it is the one with that kind and number."""
    fd = os.open(path, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if status.st_mode & TYPE != kind or (os.major(status.st_rdev), os.minor(status.st_rdev)) != number:
        os.close(fd)
        raise RootlessError(f"cannot use the host's {path}: it is not the device {number[0]}:{number[1]}")
    return fd


def open_target(site: Site, path: str, directory: bool) -> int:
    """The place of a mount inside the root, made if it is missing. A procfs is no place, but for a few files."""
    if path in ("/proc", "/sys", "/dev"):
        return open_own(site, path)
    target = make_directory(site.root, path) if directory else make_file(site.root, path)
    if file_system_type(target) == PROC_MAGIC and path not in _PROC_EXCEPTIONS:
        os.close(target)
        raise RootlessError(f"cannot mount on {path}: it is inside /proc", hint="choose another destination")
    return target


def attach(mount: int, target: int, path: str) -> None:
    move_mount(mount, target, path)
    os.close(target)


def _flags(attributes: int) -> str:
    return ",".join(word for bit, word in _LETTERS if attributes & bit)


def _told(settings: list[Setting]) -> str:
    """The settings as the words of a mount's options; a private propagation is taken for granted."""
    found = []
    for on, off, propagation, recursive in settings:
        letter = "r" if recursive else ""
        found += [letter + word for bit, word in _LETTERS if on & bit]
        found += [f"{letter}not-{word}" for bit, word in _LETTERS if off & ~on & bit and not (on | bit) & 0x70]
        found += [letter + _PROPAGATIONS[propagation]] if propagation not in (0, MS_PRIVATE) else []
    return ",".join(found)


class NewMount:
    """A file system of its own: tmpfs, devpts, mqueue, sysfs, proc; for root of the machine any other."""

    __slots__ = ("attributes", "copy_up", "kind", "options", "propagation", "source", "target")

    def __init__(
        self,
        kind: str,
        target: str,
        options: list[tuple[str, str | None]],
        attributes: int,
        copy_up: bool = False,
        source: str = "",
        propagation: list[tuple[int, bool]] | None = None,
    ) -> None:
        self.kind = kind
        self.target = target
        self.options = options
        self.attributes = attributes
        self.copy_up = copy_up
        self.source = source
        self.propagation = propagation or []

    def describe(self) -> str:
        """``mount tmpfs on /dev: nosuid mode=755``."""
        words = [_flags(self.attributes), *(key if value is None else f"{key}={value}" for key, value in self.options)]
        words += [_PROPAGATIONS[kind] for kind, _ in self.propagation]
        return f"mount {self.kind} on {self.target}: {' '.join(filter(None, words))}{' copy-up' * self.copy_up}"

    def open(self, site: Site) -> None:
        """Nothing to take from the host."""

    def apply(self, site: Site) -> None:
        """Mount it. A sysfs that the kernel refuses is replaced by the host's, read-only; mqueue may be absent."""
        if self.kind == "proc":
            self._attach_proc(site)
            return
        options = self.options
        if self.kind == "tmpfs" and not self.copy_up and not any(key == "mode" for key, _ in options):
            options = [*options, *self._mode_there(site)]
        try:
            mount = new_mount(self.kind, options, 0 if self.copy_up else self.attributes, self.source)
        except OSError as error:
            if self.kind == "sysfs" and error.errno == errno.EPERM:
                mount = host_tree("/sys", self.attributes | MOUNT_ATTR_RDONLY)
                site.notes.append("/sys is the host's, read-only")
            elif self.kind == "mqueue" and error.errno in (errno.ENODEV, errno.EPERM):
                site.notes.append("/dev/mqueue is left out: the kernel has no POSIX message queues")
                return
            else:
                raise self._refused(error) from error
        if self.copy_up:
            self._fill(site, mount)
            mount_setattr(mount, self.attributes)
        for propagation, _ in self.propagation:
            mount_setattr(mount, 0, propagation=propagation)
        target = open_target(site, self.target, True)
        attach(mount, target, self.target)
        if self.kind == "devpts" and site.devpts < 0:
            site.devpts = mount
        else:
            os.close(mount)

    def _mode_there(self, site: Site) -> list[tuple[str, str | None]]:
        """The mode of the directory that the mount is to hide, as an option: it stays what it was."""
        try:
            there = open_inside(site.root, self.target, O_PATH | os.O_DIRECTORY)
        except OSError:
            return []
        mode = os.fstat(there).st_mode & 0o7777
        os.close(there)
        return [("mode", f"{mode:o}")]

    def _refused(self, error: OSError) -> RootlessError:
        reason = os.strerror(error.errno or errno.EINVAL)
        # The call that failed is in the text, and the option that the file system did not understand.
        call = str(error.strerror).partition(":")[0]
        where = f" ({call})" if call.startswith("fsconfig ") and call != "fsconfig create" else ""
        return RootlessError(f"cannot mount {self.kind} on {self.target}: {reason}{where}")

    def _attach_proc(self, site: Site) -> None:
        target = open_own(site, self.target)
        if site.proc < 0:
            mount = host_tree("/proc", self.attributes)
            attach(mount, target, self.target)
            site.proc = mount
        else:
            attach(site.proc, target, self.target)
            if self.attributes:
                mount_setattr(site.proc, self.attributes)

    def _fill(self, site: Site, mount: int) -> None:
        from rootless.init.copy_up import copy_directory

        try:
            source = openat2(site.root, self.target, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        destination = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        copy_directory(source, destination)
        os.close(source)
        os.close(destination)


def open_own(site: Site, path: str) -> int:
    """The place of /proc, /sys or /dev, which must not be a symbolic link of the image (it would move the masks)."""
    try:
        return openat2(site.root, path, O_PATH | os.O_DIRECTORY, 0, INSIDE | RESOLVE_NO_SYMLINKS)
    except FileNotFoundError:
        return make_directory(site.root, path)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise RootlessError(f"cannot mount {path}: in the image it is not a directory") from None
        raise


def host_tree(path: str, attributes: int) -> int:
    """A detached private copy of a tree of the host's mounts with further restrictions."""
    mount = open_tree(_AT_FDCWD, path, recursive=True)
    mount_setattr(mount, attributes & _RESTRICT, propagation=MS_PRIVATE, recursive=True)
    return mount


class Bind:
    """A file or directory of the host at a place inside.

    ``settings`` are applied in order. Attributes to clear are cleared where the kernel lets them be: those that the
    host's mount has are locked in a user namespace. ``beneath`` is a path below the directory ``source`` that is
    opened without following a link. ``idmap`` are rows (stored, shown, length) of users and groups; such a mount is
    taken by the caller (`runtime.idmapped`), ``map_all``: with those below it.
    """

    __slots__ = (
        "beneath", "directory", "idmap", "map_all", "mount", "note", "optional", "recursive", "settings", "source",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        source: str,
        target: str,
        *,
        recursive: bool = False,
        settings: list[Setting],
        optional: bool = False,
        beneath: str = "",
    ) -> None:
        self.source = source
        self.target = target
        self.recursive = recursive
        self.settings = settings
        self.optional = optional
        self.beneath = beneath
        self.idmap: tuple[list[Row], list[Row]] | None = None
        self.map_all = False
        self.note = ""
        self.mount = -1
        self.directory = False

    def describe(self) -> str:
        """``bind /srv on /data: ro recursive``."""
        words = [_told(self.settings), "recursive" * self.recursive, "optional" * self.optional]
        words += ["idmap"] if self.idmap else []
        source = f"{self.source} beneath: {self.beneath}" if self.beneath else self.source
        return f"bind {source} on {self.target}: {' '.join(filter(None, words))}"

    def open(self, site: Site) -> None:
        """Take a detached copy of the source's mount."""
        if self.idmap is None:
            self.take()

    def take(self) -> None:
        """The same, without a site."""
        try:
            fd = open_source(self.source, self.beneath)
        except OSError as error:
            if self.optional:
                return
            raise RootlessError(f"cannot bind {self.source}: {os.strerror(error.errno or 0)}") from error
        self.directory = os.fstat(fd).st_mode & TYPE == _DIRECTORY
        try:
            self.mount = open_tree(fd, recursive=self.recursive and self.directory)
        except OSError as error:
            if error.errno != errno.EINVAL or self.recursive:
                raise RootlessError(f"cannot bind {self.source}: {os.strerror(error.errno or 0)}") from error
            # Mounts of the host below it are locked together with it in a user namespace: what holds for it is to
            # hold for them.
            self.mount = open_tree(fd, recursive=True)
            self.settings = [(on, off, propagation, True) for on, off, propagation, _ in self.settings]
        os.close(fd)

    def apply(self, site: Site) -> None:
        """Attach it, then restrict it."""
        if self.mount < 0:
            site.notes.append(f"{self.target} is left out: the host has no {self.source}")
            return
        if self.note:
            site.notes.append(self.note)
        target = open_target(site, self.target, self.directory)
        for setting in self.settings:
            change(site, self.mount, self.target, setting)
        attach(self.mount, target, self.target)
        os.close(self.mount)


def open_source(source: str, beneath: str) -> int:
    """Open a path of the host, or one below it on which no link is followed, as an ``O_PATH`` descriptor."""
    if not beneath:
        return os.open(source, O_PATH | os.O_CLOEXEC)
    directory = os.open(source, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(directory, beneath, O_PATH, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(directory)


def change(site: Site, mount: int, path: str, setting: Setting) -> None:
    """Apply one setting. What the kernel has locked for this user stays, with a note; a restriction must hold."""
    on, off, propagation, recursive = setting
    try:
        mount_setattr(mount, on, clear=off, propagation=propagation, recursive=recursive)
        return
    except PermissionError:
        if not off:
            raise
    if on & MOUNT_ATTR_ATIME:
        raise RootlessError(
            f"cannot mount {path} with {_flags(on & MOUNT_ATTR_ATIME)}: users may not change how access times are kept"
        )
    mount_setattr(mount, on, propagation=propagation, recursive=recursive)
    site.notes.append(f"{path} keeps the restrictions of the host's mount")


class Remount:
    """A change of what is mounted at a place inside already.

    ``data`` are options for the file system itself (``None``: it stays as it is, as with the option ``bind``).
    """

    __slots__ = ("data", "settings", "target")

    def __init__(self, target: str, settings: list[Setting], data: list[tuple[str, str | None]] | None) -> None:
        self.target = target
        self.settings = settings
        self.data = data

    def describe(self) -> str:
        """``remount /data: ro size=1m``."""
        words = [key if value is None else f"{key}={value}" for key, value in self.data or []]
        return f"remount {self.target}: {' '.join(filter(None, [_told(self.settings), *words]))}"

    def open(self, site: Site) -> None:
        """Nothing to take from the host."""

    def apply(self, site: Site) -> None:
        """Change it."""
        try:
            mount = open_inside(site.root, self.target)
            for setting in self.settings:
                change(site, mount, self.target, setting)
            if self.data:
                reconfigure(mount, self.data)
        except OSError as error:
            reason = os.strerror(error.errno or errno.EINVAL)
            hint = "nothing is mounted there" if error.errno == errno.EINVAL else ""
            raise RootlessError(f"cannot remount {self.target}: {reason}", hint) from error
        os.close(mount)


class Cgroup:
    """/sys/fs/cgroup: the container's part of the version 2 hierarchy, or the host's hierarchies, read-only."""

    __slots__ = ("attributes", "mount", "own", "target")

    def __init__(self, target: str, attributes: int, own: bool) -> None:
        self.target = target
        self.attributes = attributes
        self.own = own
        self.mount = -1

    def describe(self) -> str:
        """``mount cgroup on /sys/fs/cgroup: ro``."""
        return f"mount cgroup on {self.target}: {_flags(self.attributes)}"

    def open(self, site: Site) -> None:
        """Make the mount, as the host's hierarchy is hidden later."""
        source = "/sys/fs/cgroup"
        try:
            fd = os.open(source, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        unified = file_system_type(fd) == CGROUP2_MAGIC
        os.close(fd)
        if unified and self.own:
            try:
                self.mount = new_mount("cgroup2", [], self.attributes)
                return
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EBUSY, errno.ENODEV):
                    raise
        try:
            # Without a cgroup namespace of version 2 this is the host's tree: never writable (CVE-2023-25809).
            self.mount = host_tree(source, self.attributes | MOUNT_ATTR_RDONLY)
        except OSError as error:
            site.notes.append(f"{self.target} is left out: {error.strerror}")

    def apply(self, site: Site) -> None:
        """Attach it."""
        if self.mount < 0:
            return
        try:
            target = open_target(site, self.target, True)
        except OSError as error:
            # A sysfs made for the container has the directory only where the kernel has cgroups.
            if error.errno not in (errno.EPERM, errno.EROFS, errno.EACCES):
                raise
            os.close(self.mount)
            return
        attach(self.mount, target, self.target)
        os.close(self.mount)
