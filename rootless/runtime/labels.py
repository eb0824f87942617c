"""``linux.mountLabel``: the SELinux label of the files of what a start mounts anew."""

from __future__ import annotations

from rootless.init.ops import NewMount
from rootless.security import selinux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.ops import Operation
    from storage.drivers.base import RootfsMount

# What the kernel takes the option from in a user namespace too (selinux_set_mnt_opts in security/selinux/hooks.c).
_LABELLED = ("tmpfs", "devpts", "ramfs")
_OVERLAYS = ("overlay", "toplevel-overlay")


def label_mounts(label: str, operations: list[Operation], rootfs: RootfsMount) -> RootfsMount:
    """Give the new file systems of a plan the label; the root file system with it, where that is an overlay.

    A directory as the root, or bound at a place inside, keeps the labels of its files: who wants them changed does it
    before (`security.selinux.relabel`). Raises ``RootlessError`` for a label that cannot be had here.
    """
    selinux.require(label)
    for operation in operations:
        if isinstance(operation, NewMount) and operation.kind in _LABELLED:
            operation.options.append(("context", label))
    if rootfs["kind"] not in _OVERLAYS:
        return rootfs
    labelled = rootfs.copy()
    labelled["options"] = [*rootfs["options"], f"context={label}"]
    return labelled
