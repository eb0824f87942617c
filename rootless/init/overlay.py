"""The operation behind volumes with the option O and mounts of images: an overlay at a place inside the root."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.init.ops import Site, open_source, open_target
from rootless.init.rootfs import new_overlay
from rootless.linux.libc import MS_PRIVATE
from rootless.linux.mountapi import mount_setattr, move_mount


class Overlay:
    """Directories of the host, topmost first, merged at ``target``; changes go to ``upper`` (empty: there are none).

    ``beneath`` is a path below the only lower directory, on which no link is followed.
    """

    __slots__ = ("attributes", "beneath", "held", "lower", "target", "upper", "work")

    def __init__(
        self, target: str, lower: list[str], upper: str, work: str, attributes: int, beneath: str = ""
    ) -> None:
        self.beneath = beneath
        self.target = target
        self.lower = lower
        self.upper = upper
        self.work = work
        self.attributes = attributes
        self.held: list[int] = []

    def describe(self) -> str:
        """``overlay of /srv on /data``."""
        changes = f", changes in {self.upper}" if self.upper else ", read-only"
        return f"overlay of {':'.join(self.lower)} on {self.target}{changes}"

    def open(self, site: Site) -> None:
        """Take the directories while the process still reaches what is the caller's."""
        for path in [*self.lower, *([self.upper, self.work] if self.upper else [])]:
            try:
                self.held.append(open_source(path, self.beneath if path in self.lower else ""))
            except OSError as error:
                reason = os.strerror(error.errno or errno.EINVAL)
                raise RootlessError(f"cannot mount {path} on {self.target}: {reason}") from error

    def apply(self, site: Site) -> None:
        """Mount them by descriptor."""
        names = [f"/proc/self/fd/{fd}" for fd in self.held]
        lower, changes = names[: len(self.lower)], names[len(self.lower) :]
        upper, work = changes or ("", "")
        try:
            mount = new_overlay(lower, upper, work, ["userxattr"])
        except OSError as error:
            reason = os.strerror(error.errno or errno.EINVAL)
            hint = "leave the volume's option O away, or use --mount type=bind"
            raise RootlessError(f"cannot mount an overlay on {self.target}: {reason}", hint) from error
        mount_setattr(mount, self.attributes, propagation=MS_PRIVATE)
        target = open_target(site, self.target, True)
        move_mount(mount, target, self.target)
        for fd in (mount, target, *self.held):
            os.close(fd)
