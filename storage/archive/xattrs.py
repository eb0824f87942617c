"""Which extended attributes of an archive become real, which are only recorded, and which are thrown away; and which
of a file go into an archive.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from storage.errors import StorageError

Shift = Callable[[int, int], tuple[int, int, bool]]
"""(uid, gid) of a file → (uid, gid) for its copy, and whether that is their true place."""

OPAQUE = "user.overlay.opaque"

# What the overlay file systems store their own state in: a layer that sets it would steer the mount (which directory
# a name redirects to, whose owner a file shows), so it is thrown away without a trace.
_STEERING = (
    b"user.overlay.", b"trusted.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs.", b"user.containers.",
    b"user.rootlesscontainers",
)
_CAPABILITY = b"security.capability"
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_REAL = (b"user.", *_ACLS)
_ACL_USER, _ACL_GROUP = 0x02, 0x08  # linux/posix_acl.h

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


def read(path: str | int) -> dict[bytes, bytes]:
    """The attributes of a file that mean something elsewhere: those of users, its capabilities and its ACLs.

    ``path`` may be an open descriptor. A link is not followed. Attributes of overlay file systems are never among
    them: a container may have set them. Nothing where the file system has none.
    """
    found: dict[bytes, bytes] = {}
    follow = isinstance(path, int)
    try:
        for name in os.listxattr(path, follow_symlinks=follow):
            key = os.fsencode(name)
            if key == _CAPABILITY or (key.startswith(_REAL) and not is_steering(key)):
                found[key] = os.getxattr(path, name, follow_symlinks=follow)
    except OSError:
        return found
    return found


def for_archive(found: dict[bytes, bytes], root: int, shift: Shift | None) -> None:
    """Turn ids inside the attributes, as this process sees them, into those of the container, in place.

    Capabilities that hold for the container's root, which is ``root`` here, become revision 2, which holds for the root
    of whoever unpacks them; those for another are dropped. ``shift``: of owners, None where they stay.
    """
    value = found.get(_CAPABILITY)
    if value is not None:
        holder = int.from_bytes(value[20:24], "little") if len(value) == 24 else 0
        plain = file_capability(value[:20] + bytes(4) if len(value) == 24 else value)
        if plain is None or holder != root:
            del found[_CAPABILITY]
        else:
            found[_CAPABILITY] = plain
    if shift is not None:
        for name in _ACLS:
            if name in found:
                found[name] = shifted_acl(found[name], shift)


def shifted_acl(value: bytes, shift: Shift) -> bytes:
    """Shift the named users and groups of an ACL: a version, then entries of tag, permissions and id (acl(5))."""
    result = bytearray(value)
    for at in range(4, len(value) - 7, 8):
        tag = int.from_bytes(value[at : at + 2], "little")
        number = int.from_bytes(value[at + 4 : at + 8], "little")
        if tag == _ACL_USER:
            result[at + 4 : at + 8] = shift(number, 0)[0].to_bytes(4, "little")
        elif tag == _ACL_GROUP:
            result[at + 4 : at + 8] = shift(0, number)[1].to_bytes(4, "little")
    return bytes(result)
