"""The container's root file system: mounted from a ``RootfsMount``, then made the root of the process."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.linux.libc import MS_MOVE, MS_PRIVATE, MS_SLAVE, mount, pivot_root, umount
from rootless.linux.mountapi import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    fsconfig,
    fsmount,
    fsopen,
    mount_setattr,
    move_mount,
    new_mount,
    open_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.ops import Site
    from storage.drivers.base import RootfsMount, ToplevelEntry

_VALUE_LIMIT = 255  # of one fsconfig(2) string
_UNSAFE = frozenset(":,\\")  # overlayfs gives them a meaning in its options


class Rootfs:
    """A root file system under construction: :meth:`reach`, :meth:`open` and :meth:`attach`, in this order.

    ``foreign``: the caller's id is not in the map. Then root inside cannot pass the caller's private directories and is
    given them as descriptors; the upper and work directories are its own.
    """

    __slots__ = ("_held", "description", "entries", "foreign", "mounts", "target")

    def __init__(self, description: RootfsMount, foreign: bool = False) -> None:
        self.description = description
        self.foreign = foreign
        self.target = -1
        self.mounts: list[int] = []
        self.entries: list[ToplevelEntry] = []
        self._held: list[int] = []

    def reach(self, propagation: int = 0) -> None:
        """Open what only the caller can reach, while the process has its id.

        With ``propagation`` MS_SLAVE the root of a directory gets what is mounted in it outside later on.
        """
        root = self.description
        try:
            self.target = os.open(root["merged"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if root["kind"] in ("directory", "fuse-overlayfs"):
                fd = open_tree(self.target, recursive=True)
                kept = MS_SLAVE if propagation == MS_SLAVE else MS_PRIVATE
                mount_setattr(fd, 0, propagation=kept, recursive=True)
                self.mounts.append(fd)
            elif self.foreign and root["kind"] == "overlay":
                self.description = self._by_descriptors(root)
        except OSError as error:
            raise _failure(error) from error

    def _by_descriptors(self, root: RootfsMount) -> RootfsMount:
        def name(path: str) -> str:
            self._held.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            return f"/proc/self/fd/{self._held[-1]}"

        found = root.copy()
        found["lower"] = [name(path) for path in root["lower"]]
        if root["upper"]:
            found["upper"], found["work"] = name(root["upper"]), name(root["work"])
        return found

    def open(self, site: Site) -> None:
        """Make the detached mounts; the id map is in force."""
        root = self.description
        try:
            if root["kind"] == "overlay":
                if not self.foreign and root["upper"]:
                    _own(root["upper"], root["merged"])
                self.mounts.append(overlay(root, site))
            elif root["kind"] == "toplevel-overlay":
                self._open_entries(root, site)
        except OSError as error:
            raise _failure(error) from error
        for fd in self._held:
            os.close(fd)

    def _open_entries(self, root: RootfsMount, site: Site) -> None:
        for entry in root.get("entries", []):
            if entry["kind"] == "skip":
                continue
            self.entries.append(entry)
            if entry["kind"] == "dir":
                self.mounts.append(_entry(entry, root["options"], site))

    def attach(self) -> int:
        """Attach the mounts and return the descriptor of the root."""
        if self.description["kind"] != "toplevel-overlay":
            root = self.mounts[0]
            move_mount(root, self.target, self.description["merged"])
            return root
        root = new_mount("tmpfs", [("mode", "755")], MOUNT_ATTR_NODEV)
        move_mount(root, self.target, self.description["merged"])
        mounts = iter(self.mounts)
        for entry in self.entries:
            name = entry["name"]
            if entry["kind"] == "symlink":
                os.symlink(entry["target"], name, dir_fd=root)
                continue
            os.mkdir(name, 0o755, dir_fd=root)
            place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
            fd = next(mounts)
            move_mount(fd, place, f"/{name}")
            os.close(place)
            os.close(fd)
        return root


def _own(upper: str, merged: str) -> None:
    """Make the upper directory root's: the caller, who made it, is somebody else inside if it keeps its id.

    The owner of ``merged`` says who the caller is. What the container itself has changed stays.
    """
    status, caller = os.stat(upper), os.stat(merged).st_uid
    if caller and status.st_uid == caller and os.getuid() == 0:
        os.chown(upper, 0, 0)


def _failure(error: OSError) -> RootlessError:
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return RootlessError(f"cannot mount the root file system{where}: {os.strerror(error.errno or 0)}")


def _entry(entry: ToplevelEntry, options: list[str], site: Site) -> int:
    try:
        return new_overlay([entry["lower"]], entry["upper"], entry["work"], options)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ELOOP, errno.EPERM):
            raise
    # Other file systems are mounted below it, which the kernel will not let an overlay of ours uncover.
    site.notes.append(f"/{entry['name']} is the host's, read-only")
    fd = open_tree(-100, entry["lower"], recursive=True)
    mount_setattr(fd, MOUNT_ATTR_RDONLY, propagation=MS_PRIVATE, recursive=True)
    return fd


def overlay(root: RootfsMount, site: Site) -> int:
    """A detached mount of an overlay of the layers."""
    lower = root["lower"]
    if not root["upper"] and len(lower) == 1:
        layer = os.open(lower[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = open_tree(layer, recursive=True)
        os.close(layer)
        mount_setattr(fd, MOUNT_ATTR_RDONLY, propagation=MS_PRIVATE, recursive=True)
        return fd
    try:
        return new_overlay(lower, root["upper"], root["work"], root["options"])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _old_overlay(root)


def new_overlay(lower: list[str], upper: str, work: str, options: list[str]) -> int:
    """By the mount calls on descriptors: each layer is an option of its own (Linux 6.8), else all of them are one."""
    held: list[int] = []
    try:
        layers = [_short(layer, held) for layer in lower]
        others: list[tuple[str, str | None]] = []
        if upper:
            others = [("upperdir", _short(upper, held)), ("workdir", _short(work, held))]
        for option in options:
            key, separator, value = option.partition("=")
            others.append((key, value if separator else None))
        if _takes_layers_apart():
            lowers = [("lowerdir+", layer) for layer in layers]
        else:
            lowers = [("lowerdir", ":".join(layers))]
        context = fsopen("overlay")
        try:
            for key, setting in [*lowers, *others]:
                fsconfig(context, key, setting)
        except OSError:
            os.close(context)
            raise
        return fsmount(context, 0, "overlay")
    finally:
        for fd in held:
            os.close(fd)


def _takes_layers_apart() -> bool:
    # Asked by number: the attempt would leave a line in the kernel's log for each container.
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 8)


def _short(path: str, held: list[int]) -> str:
    """The path, or a descriptor's name where it is too long or has a character that overlayfs interprets."""
    if len(os.fsencode(path)) <= _VALUE_LIMIT and _UNSAFE.isdisjoint(path):
        return path
    held.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{held[-1]}"


def _old_overlay(root: RootfsMount) -> int:
    """By mount(2), whose options are one page at most: relative names, from the directory of short links."""
    held: list[int] = []
    layers = root["lower_links"] or [_short(layer, held) for layer in root["lower"]]
    options = ["lowerdir=" + ":".join(layers)]
    if root["upper"]:
        options += [f"upperdir={_short(root['upper'], held)}", f"workdir={_short(root['work'], held)}"]
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    os.chdir(root["links"] or "/")
    mount("overlay", root["merged"], "overlay", 0, ",".join([*options, *root["options"]]))
    os.fchdir(here)
    for fd in (here, *held):
        os.close(fd)
    return open_tree(-100, root["merged"])


def change_root(root: int, no_pivot: bool = False) -> None:
    """Make the mount ``root`` the root of the process and let go of everything else (pivot_root(2), "." on ".").

    ``no_pivot``: move it over the old root instead, which the kernel's own first file system cannot be pivoted from.
    """
    os.fchdir(root)
    if no_pivot:
        mount(".", "/", None, MS_MOVE)
        os.chroot(".")
    else:
        pivot_root(".", ".")
        umount(".")
    os.chdir("/")
