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
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
    move_mount,
    new_mount,
    open_tree,
)
from rootless.linux.path import (
    INSIDE,
    O_PATH,
    RESOLVE_NO_SYMLINKS,
    make_directory,
    make_file,
    open_inside,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Operation(Protocol):
        """One step of building the root file system."""

        def describe(self) -> str:
            """The step in one line."""

        def open(self, site: Site) -> None:
            """Take what the step needs from the host."""

        def apply(self, site: Site) -> None:
            """Carry the step out inside the root."""


_AT_FDCWD = -100
_TYPE, _DIRECTORY, _CHARACTER, _BLOCK = 0o170000, 0o040000, 0o020000, 0o060000
_NULL = (1, 3)
_RESTRICT = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_LETTERS = (
    (MOUNT_ATTR_RDONLY, "ro"),
    (MOUNT_ATTR_NOSUID, "nosuid"),
    (MOUNT_ATTR_NODEV, "nodev"),
    (MOUNT_ATTR_NOEXEC, "noexec"),
)
# What may be mounted over in /proc: files that lxcfs stands in for, as runc allows.
_PROC_EXCEPTIONS = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime")
)


class Site:
    """What the operations share while they run: descriptors that hold, and notes of what was left out.

    ``root`` is the root of the container's file system, ``proc`` the root of its own procfs, ``null`` the host's
    checked /dev/null, ``devpts`` its pseudo-terminals; -1 where there is none. ``own_pid``: it has not the
    shim's pid namespace.
    """

    __slots__ = ("devpts", "empty", "notes", "null", "own_pid", "proc", "root")

    def __init__(self) -> None:
        self.root = self.proc = self.null = self.devpts = self.empty = -1
        self.own_pid = True
        self.notes: list[str] = []

    def open_null(self) -> int:
        """The host's /dev/null, checked to be that device."""
        if self.null < 0:
            self.null = open_device("/dev/null", _CHARACTER, _NULL)
        return self.null


def open_device(path: str, kind: int, number: tuple[int, int]) -> int:
    """Open a device node of the host and check that it is the one with that kind and number."""
    fd = os.open(path, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if status.st_mode & _TYPE != kind or (os.major(status.st_rdev), os.minor(status.st_rdev)) != number:
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


def _attach(mount: int, target: int, path: str) -> None:
    move_mount(mount, target, path)
    os.close(target)


def _flags(attributes: int) -> str:
    return ",".join(word for bit, word in _LETTERS if attributes & bit)


class NewMount:
    """A file system of its own: tmpfs, devpts, mqueue, sysfs, proc."""

    __slots__ = ("attributes", "copy_up", "kind", "options", "target")

    def __init__(
        self,
        kind: str,
        target: str,
        options: list[tuple[str, str | None]],
        attributes: int,
        copy_up: bool = False,
    ) -> None:
        self.kind = kind
        self.target = target
        self.options = options
        self.attributes = attributes
        self.copy_up = copy_up

    def describe(self) -> str:
        """``mount tmpfs on /dev: nosuid mode=755``."""
        words = [_flags(self.attributes), *(key if value is None else f"{key}={value}" for key, value in self.options)]
        return f"mount {self.kind} on {self.target}: {' '.join(filter(None, words))}{' copy-up' * self.copy_up}"

    def open(self, site: Site) -> None:
        """Nothing to take from the host."""

    def apply(self, site: Site) -> None:
        """Mount it. A sysfs that the kernel refuses is replaced by the host's, read-only; mqueue may be absent."""
        if self.kind == "proc":
            self._attach_proc(site)
            return
        try:
            mount = new_mount(self.kind, self.options, self.attributes)
        except OSError as error:
            if self.kind == "sysfs" and error.errno == errno.EPERM:
                mount = host_tree("/sys", self.attributes | MOUNT_ATTR_RDONLY)
                site.notes.append("/sys is the host's, read-only")
            elif self.kind == "mqueue" and error.errno in (errno.ENODEV, errno.EPERM):
                site.notes.append("/dev/mqueue is left out: the kernel has no POSIX message queues")
                return
            else:
                raise
        if self.copy_up:
            self._fill(site, mount)
        target = open_target(site, self.target, True)
        _attach(mount, target, self.target)
        if self.kind == "devpts" and site.devpts < 0:
            site.devpts = mount
        else:
            os.close(mount)

    def _attach_proc(self, site: Site) -> None:
        target = open_own(site, self.target)
        if site.proc < 0:
            mount = host_tree("/proc", self.attributes)
            _attach(mount, target, self.target)
            site.proc = mount
        else:
            _attach(site.proc, target, self.target)
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

    ``restrict`` are attributes to set, on the mounts below it too where ``recursive``; ``relax`` are attributes to
    clear where the kernel lets them be (those that the host's mount has are locked in a user namespace).
    """

    __slots__ = ("directory", "mount", "optional", "propagation", "recursive", "relax", "restrict", "source", "target")

    def __init__(
        self,
        source: str,
        target: str,
        *,
        recursive: bool = False,
        restrict: int = 0,
        relax: int = 0,
        propagation: int = MS_PRIVATE,
        optional: bool = False,
    ) -> None:
        self.source = source
        self.target = target
        self.recursive = recursive
        self.restrict = restrict
        self.relax = relax
        self.propagation = propagation
        self.optional = optional
        self.mount = -1
        self.directory = False

    def describe(self) -> str:
        """``bind /srv on /data: ro recursive``."""
        words = [_flags(self.restrict), "recursive" * self.recursive, "optional" * self.optional]
        return f"bind {self.source} on {self.target}: {' '.join(filter(None, words))}"

    def open(self, site: Site) -> None:
        """Take a detached copy of the source's mount."""
        try:
            fd = os.open(self.source, O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if self.optional:
                return
            raise RootlessError(f"cannot bind {self.source}: {error.strerror}") from error
        self.directory = os.fstat(fd).st_mode & _TYPE == _DIRECTORY
        try:
            self.mount = open_tree(fd, recursive=self.recursive and self.directory)
        except OSError as error:
            if error.errno != errno.EINVAL or self.recursive:
                raise RootlessError(f"cannot bind {self.source}: {error.strerror}") from error
            # Mounts of the host below it are locked together with it in a user namespace.
            self.mount = open_tree(fd, recursive=True)
        os.close(fd)

    def apply(self, site: Site) -> None:
        """Attach it, then restrict it."""
        if self.mount < 0:
            site.notes.append(f"{self.target} is left out: the host has no {self.source}")
            return
        target = open_target(site, self.target, self.directory)
        recursive = self.recursive and self.directory
        mount_setattr(self.mount, self.restrict, propagation=self.propagation, recursive=recursive)
        if self.relax:
            try:
                mount_setattr(self.mount, 0, clear=self.relax)
            except PermissionError:
                site.notes.append(f"{self.target} keeps the restrictions of the host's mount")
        _attach(self.mount, target, self.target)
        os.close(self.mount)


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
        _attach(self.mount, target, self.target)
        os.close(self.mount)


class Device:
    """A device of the host by bind: no node can be made in a user namespace. Checked by number, not by name."""

    __slots__ = ("kind", "mount", "number", "optional", "source", "target")

    def __init__(
        self, source: str, target: str, kind: str, number: tuple[int, int], optional: bool = False
    ) -> None:
        self.source = source
        self.target = target
        self.kind = kind
        self.number = number
        self.optional = optional
        self.mount = -1

    def describe(self) -> str:
        """``device /dev/null: c 1:3``."""
        return f"device {self.target}: {self.kind} {self.number[0]}:{self.number[1]}"

    def open(self, site: Site) -> None:
        """Take a detached copy of the node's mount."""
        kind = _BLOCK if self.kind == "b" else _CHARACTER
        try:
            fd = open_device(self.source, kind, self.number)
        except OSError as error:
            if self.optional:
                site.notes.append(f"{self.target} is left out: the host has none")
                return
            raise RootlessError(f"cannot give the container {self.target}: {error.strerror}") from error
        self.mount = open_tree(fd)
        if self.number == _NULL and site.null < 0:
            site.null = fd
        else:
            os.close(fd)

    def apply(self, site: Site) -> None:
        """Attach it."""
        if self.mount < 0:
            return
        _attach(self.mount, make_file(site.root, self.target), self.target)
        os.close(self.mount)


class Links:
    """Symbolic links in the container's /dev; a name that is taken stays."""

    __slots__ = ("directory", "links")

    def __init__(self, directory: str, links: list[tuple[str, str]]) -> None:
        self.directory = directory
        self.links = links

    def describe(self) -> str:
        """``links in /dev: fd stdin``."""
        return f"links in {self.directory}: {' '.join(name for name, _ in self.links)}"

    def open(self, site: Site) -> None:
        """Nothing to take from the host."""

    def apply(self, site: Site) -> None:
        """Make them."""
        directory = open_own(site, self.directory)
        for name, target in self.links:
            try:
                os.symlink(target, name, dir_fd=directory)
            except FileExistsError:
                continue
        os.close(directory)


def _present(site: Site, paths: list[str]) -> Iterator[tuple[str, int]]:
    """Those of the paths that the container has, each with a descriptor of it."""
    for path in paths:
        try:
            target = open_inside(site.root, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                continue
            raise
        yield path, target


def mask(site: Site, paths: list[str]) -> None:
    """Hide each path: a file behind /dev/null, a directory behind an empty read-only tmpfs. Absent ones are skipped."""
    for path, target in _present(site, paths):
        directory = os.fstat(target).st_mode & _TYPE == _DIRECTORY
        mount = _empty(site) if directory else open_tree(site.open_null())
        _attach(mount, target, path)
        os.close(mount)


def _empty(site: Site) -> int:
    """A mount of one empty read-only tmpfs, the same for all masks: each mount of it is a copy."""
    if site.empty < 0:
        restrict = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        site.empty = new_mount("tmpfs", [("size", "4k"), ("nr_inodes", "1"), ("mode", "755")], restrict)
        return os.dup(site.empty)
    return open_tree(site.empty)


def make_read_only(site: Site, paths: list[str]) -> None:
    """Make each path, and what is mounted below it, read-only. Absent paths are skipped."""
    for path, target in _present(site, paths):
        mount = open_tree(target, recursive=True)
        mount_setattr(mount, MOUNT_ATTR_RDONLY, recursive=True)
        _attach(mount, target, path)
        os.close(mount)
