"""The operations of a plan that fill the container's /dev: devices of the host, nodes of its own, links."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.init.ops import CHARACTER, NULL, TYPE, attach, open_device, open_own
from rootless.linux.libc import MS_PRIVATE
from rootless.linux.mountapi import mount_setattr, open_tree
from rootless.linux.path import O_PATH, make_directory, make_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.ops import Site

_BLOCK, _FIFO = 0o060000, 0o010000


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
        kind = _BLOCK if self.kind == "b" else CHARACTER
        try:
            fd = open_device(self.source, kind, self.number)
        except OSError as error:
            if self.optional:
                site.notes.append(f"{self.target} is left out: the host has none")
                return
            raise RootlessError(f"cannot give the container {self.target}: {error.strerror}") from error
        self.mount = open_tree(fd)
        if site.shared:
            mount_setattr(self.mount, 0, propagation=MS_PRIVATE)
        if self.number == NULL and site.null < 0:
            site.null = fd
        else:
            os.close(fd)

    def apply(self, site: Site) -> None:
        """Attach it."""
        if self.mount < 0:
            return
        attach(self.mount, make_file(site.root, self.target), self.target)
        os.close(self.mount)


class Node(Device):
    """A device node or FIFO of the container's own; of a device the host's is bound where none can be made."""

    __slots__ = ("gid", "mode", "uid")

    def __init__(
        self, target: str, kind: str, number: tuple[int, int], mode: int = 0o666, uid: int = 0, gid: int = 0
    ) -> None:
        super().__init__(target, target, kind, number)
        self.mode = mode
        self.uid = uid
        self.gid = gid

    def describe(self) -> str:
        """``node /dev/null: c 1:3 666 0:0``."""
        number = "" if self.kind == "p" else f" {self.number[0]}:{self.number[1]}"
        return f"node {self.target}: {self.kind}{number} {self.mode:o} {self.uid}:{self.gid}"

    def open(self, site: Site) -> None:
        """Nothing to take from the host."""

    def apply(self, site: Site) -> None:
        """Make it, or accept one of this kind and number that is there."""
        head, _, name = self.target.rpartition("/")
        kind = {"b": _BLOCK, "p": _FIFO}.get(self.kind, CHARACTER)
        device = 0 if kind == _FIFO else os.makedev(*self.number)
        parent = make_directory(site.root, head or "/")
        try:
            os.mknod(name, kind | 0o600, device, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if status.st_mode & TYPE != kind or status.st_rdev != device:
                hint = "take it out of the root file system, or mount a tmpfs on /dev"
                raise RootlessError(f"cannot make the device {self.target}: another file is there", hint) from None
        except PermissionError:
            os.close(parent)
            super().open(site)
            super().apply(site)
            return
        os.chown(name, self.uid, self.gid, dir_fd=parent, follow_symlinks=False)
        node = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        os.chmod(f"/proc/self/fd/{node}", self.mode)
        os.close(node)
        os.close(parent)


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
