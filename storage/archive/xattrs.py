"""Which extended attributes of an archive become real, which are only recorded, and which are thrown away."""

from __future__ import annotations

from storage.errors import StorageError

OPAQUE = "user.overlay.opaque"

# What the overlay file systems store their own state in: a layer that sets it would steer the mount (which directory
# a name redirects to, whose owner a file shows), so it is thrown away without a trace.
_STEERING = (
    b"user.overlay.", b"trusted.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs.", b"user.containers.",
    b"user.rootlesscontainers",
)
_CAPABILITY = b"security.capability"
_REAL = (b"user.", b"system.posix_acl_access", b"system.posix_acl_default")

_VFS_CAP_REVISION_2 = 0x02000000  # capabilities(7), linux/capability.h
_VFS_CAP_REVISION_3 = 0x03000000
_VFS_CAP_REVISION_MASK = 0xFF000000


def is_steering(name: bytes) -> bool:
    """Whether the attribute belongs to an overlay file system's own state."""
    return name.startswith(_STEERING)


def file_capability(value: bytes) -> bytes | None:
    """``security.capability`` in the form that the kernel binds to the user namespace of its writer; None if unusable.

    Revision 3 carries the root user of another namespace: it is rewritten where that is 0 and refused otherwise.
    """
    if len(value) not in (20, 24):
        return None
    magic = int.from_bytes(value[:4], "little")
    revision = magic & _VFS_CAP_REVISION_MASK
    if revision == _VFS_CAP_REVISION_2 and len(value) == 20:
        return value
    if revision == _VFS_CAP_REVISION_3 and len(value) == 24 and not any(value[20:]):
        flags = magic & ~_VFS_CAP_REVISION_MASK
        return (flags | _VFS_CAP_REVISION_2).to_bytes(4, "little") + value[4:20]
    return None


def sort_out(xattrs: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Split an entry's attributes into those to set and those only to record (``trusted.*``, a foreign capability).

    Dropped altogether: the overlay file systems' own, and labels of the maker's security modules.
    """
    real: dict[bytes, bytes] = {}
    recorded: dict[bytes, bytes] = {}
    for name, value in xattrs.items():
        if b"\0" in name or not name:
            raise StorageError("cannot read the archive: bad name of an extended attribute")
        if is_steering(name):
            continue
        if name == _CAPABILITY:
            capability = file_capability(value)
            if capability is None:
                recorded[name] = value
            else:
                real[name] = capability
        elif name.startswith(_REAL):
            real[name] = value
        elif name.startswith(b"trusted."):
            recorded[name] = value
    return real, recorded
