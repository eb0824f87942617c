"""The owner of a file that the file system could not be given: one that an image says, or a container with a single id.

It stands in the extended attribute ``user.rootlesscontainers`` of the file, in the form that other programs without
root read too: the protocol buffer ``{uint32 uid = 1; uint32 gid = 2;}`` (rootlesscontainers.proto). What takes no such
attribute, a link, a pipe, or a file on a file system without any, is in the container's sidecar ``owners`` by the
number of its inode and its type (S_IFMT), one JSON object a line, the last of which counts:
``{"inode": 12, "type": 40960, "uid": 100, "gid": 65534}``.
"""

from __future__ import annotations

from storage import jsonfast

ATTRIBUTE = "user.rootlesscontainers"
UNCHANGED = 0xFFFFFFFF
"""In place of an id: as it was before."""

_UID, _GID = 1 << 3, 2 << 3  # field number and wire type "varint"


def encode(uid: int, gid: int) -> bytes:
    """The attribute's value. An id 0 is left out, as proto3 has it."""
    return (_field(_UID, uid) if uid else b"") + (_field(_GID, gid) if gid else b"")


def _field(key: int, value: int) -> bytes:
    parts = bytearray((key,))
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def decode(value: bytes) -> tuple[int, int] | None:
    """(uid, gid) of the attribute's value; None if it is not one."""
    found = {_UID: 0, _GID: 0}
    at = 0
    while at < len(value):
        key = value[at]
        number = shift = 0
        while True:
            at += 1
            if at >= len(value) or shift > 28:
                return None
            number |= (value[at] & 0x7F) << shift
            shift += 7
            if value[at] < 0x80:
                break
        at += 1
        if key not in found or number > UNCHANGED:
            return None
        found[key] = number
    return found[_UID], found[_GID]


def over(new: tuple[int, int], old: tuple[int, int]) -> tuple[int, int]:
    """``new`` with what it leaves unchanged of ``old``."""
    return (old[0] if new[0] == UNCHANGED else new[0], old[1] if new[1] == UNCHANGED else new[1])


def line(inode: int, kind: int, owner: tuple[int, int]) -> bytes:
    """A line of the sidecar."""
    return b'{"inode": %d, "type": %d, "uid": %d, "gid": %d}\n' % (inode, kind, *owner)


def load(path: str) -> dict[tuple[int, int], tuple[int, int]]:
    """A sidecar: (inode, type) → (uid, gid). Empty where there is none; a line that was cut short is left out."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    try:
        with open(path, "rb") as lines:
            for text in lines:
                try:
                    value = jsonfast.loads(text)
                    found[value["inode"], value["type"]] = (int(value["uid"]), int(value["gid"]))
                except (ValueError, KeyError, TypeError):
                    continue
    except FileNotFoundError:
        pass
    return found
