"""The directories that a container's root file system is made of, for reading them without a mount."""

from __future__ import annotations

import os
import stat

from rootless.errors import RootlessError
from rootless.linux.libc import getrlimit, setrlimit
from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from storage import idmaps, remembered, union
from storage.layers_remap import shift_of
from storage.treecopy import unshifted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.idmaps import IdMap
    from storage.archive.xattrs import Shift
    from storage.images import Image
    from storage.ownership import TrueEntry
    from storage.union import Entry, Tree


_NOFILE = 7  # RLIMIT_NOFILE of setrlimit(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ORIGINS = {
    union.PLAIN: (), union.OVERLAY: ("user.overlay.origin",), union.FUSE: ("user.fuseoverlayfs.origin",),
}  # fmt: skip


class Stack:
    """The trees of a container or image, topmost first, as root of the user's default id map sees them.

    ``own``: how many of them are its own changes. ``whole``: its own tree has everything, not the changes alone.
    ``root``: the id there of the container's root.
    """

    __slots__ = ("own", "root", "trees", "whole")

    def __init__(self, trees: list[Tree], own: int = 1, *, whole: bool = False, root: int = 0) -> None:
        self.trees = trees
        self.own = own
        self.whole = whole
        self.root = root

    def merged(self) -> list[Tree]:
        """The trees that make what the container sees."""
        return self.trees[: self.own] if self.whole else self.trees


def of_image(engine: Engine, image: Image) -> Stack:
    """The layers of an image; its own is the topmost."""
    return of_layers(engine, image.diff_ids)


def of_layers(engine: Engine, diff_ids: list[str]) -> Stack:
    """Layers that are unpacked, given base first; its own is the topmost."""
    return Stack([_layer(path) for path in reversed(engine.layers.paths(diff_ids))])


def of_container(engine: Engine, container: Container) -> Stack:
    """The container's own layer over those of its image, or its copy of these. Raises RootlessError."""
    rootfs = container.rootfs
    shift, root = _shift(engine, container.idmap)
    given = f"{container.directory}/owners" if container.idmap.single() else ""
    if rootfs["kind"] == "directory":
        own = union.Tree(rootfs["merged"], union.PLAIN, shift=shift, given=given)
        lower = [_layer(path) for path in reversed(engine.layers.paths(container.record["layers"]))]
        return Stack([own, *lower], whole=True, root=root)
    if rootfs["kind"] == "toplevel-overlay" or not rootfs["upper"]:
        raise RootlessError(
            f"cannot read the root file system of container {container.id[:12]} as a whole: it is the machine's own",
            "read a directory of it with `rootless cp`",
        )
    fuse = rootfs["kind"] == "fuse-overlayfs"
    if any(option.startswith("uidmapping=") for option in rootfs["options"]):
        # The helper translates: on the disk are the ids of the user's default map.
        shift, root = unshifted, 0
    own = union.Tree(rootfs["upper"], union.FUSE if fuse else union.OVERLAY, shift=shift, given=given)
    return Stack([own, *(_layer(path, shift) for path in rootfs["lower"])], root=root)


def _layer(path: str, shift: Shift = unshifted) -> Tree:
    """A layer ``layers/KEY/diff`` with its sidecar; any other directory has none."""
    return union.Tree(path, shift=shift, owners=f"{os.path.dirname(path)}/owners" if path.endswith("/diff") else "")


def _shift(engine: Engine, idmap: IdMap) -> tuple[Shift, int]:
    """From ids as root of the default map sees them to the container's, and what the container's root is there."""
    if idmap == engine.idmap:
        return unshifted, 0
    shift, _ = shift_of(idmap, engine.idmap)
    root = idmaps.shifted(idmaps.between(idmap.uids, engine.idmap.uids), 0)
    return shift, 0 if root is None else root


def true_entry(stack: Stack, entry: Entry) -> TrueEntry | None:
    """What an entry truly is, where the user's ids do not suffice to make it real.

    A file that the container has of its own keeps what is known of the layer's file of which it is a copy. The owner
    that the container gave it since is its owner now.
    """
    found = entry.tree.truth(entry.path)
    if found is not None or entry.tree is not stack.trees[0] or stack.own != 1:
        return found
    copied = _of_layer(stack, entry)
    given = entry.tree.given(entry)
    if given is None:
        return copied
    before = (copied["uid"], copied["gid"]) if copied is not None else entry.owner()
    uid, gid = remembered.over(given, before)
    if copied is not None and (uid, gid) == before:
        return copied
    now: TrueEntry = {"uid": uid, "gid": gid, "mode": stat.S_IMODE(entry.status.st_mode)}
    return {**copied, **now} if copied is not None else now


def _of_layer(stack: Stack, entry: Entry) -> TrueEntry | None:
    """What a layer knows of the file of which an entry is a copy; None if it knows nothing, or the entry is no copy."""
    for number, tree in enumerate(stack.trees[1:], 1):
        truth = tree.truth(entry.path)
        if truth is None:
            continue
        if any(_status(above, entry.path) for above in stack.trees[1:number]):
            return None
        was, now = _status(tree, entry.path), entry.status
        if was is None or (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
            return None
        # A device is an empty file on the disk; one with content is what the container made of it.
        if was.st_mode == now.st_mode and not (was.st_size == 0 < now.st_size):
            return truth
        if "device" in truth or stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode) or not _is_copy(entry):
            return None
        return {**truth, "mode": stat.S_IMODE(now.st_mode)}
    return None


def _status(tree: Tree, path: str) -> os.stat_result | None:
    """What a tree has under a path; None for nothing."""
    try:
        root = os.open(tree.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = openat2(root, path, os.O_PATH | os.O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        finally:
            os.close(root)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
    except OSError:
        return None


def _is_copy(entry: Entry) -> bool:
    """Whether the entry, where a layer has one of its kind too, was made out of that one, as far as marks tell."""
    if entry.is_directory:
        try:
            fd = os.open(entry.name, _DIRECTORY, dir_fd=entry.directory)
        except OSError:
            return False
        try:
            return not union.is_opaque(entry.tree, fd)
        finally:
            os.close(fd)
    for name in _ORIGINS[entry.tree.marks]:
        try:
            os.getxattr(entry.reference, name, follow_symlinks=False)
        except OSError:
            continue
        return True
    return False


def raise_open_files() -> None:
    """Let this process open as many files as it may: a deep tree of many layers takes a descriptor for each level."""
    _, hard = getrlimit(_NOFILE)
    setrlimit(_NOFILE, hard, hard)
