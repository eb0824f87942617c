"""Id maps: which ids of a user namespace are which of the host, and what maps the caller's subordinate ids allow.

See user_namespaces(7), subuid(5).
"""

from __future__ import annotations

import os

from rootless import paths
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = tuple[int, int, int]

MAX_ID = 0xFFFFFFFE
_FILE_LIMIT = 1 << 22
_MAX_ROWS = 340


class IdMap:
    """Which user and group ids of a container are which of the host.

    ``uids`` and ``gids`` are lists of (inside, outside, length), *outside* being host ids. ``name`` is '' for the
    user's default map; :meth:`key` names the map in the store.
    """

    __slots__ = ("gids", "name", "uids")

    def __init__(self, uids: list[Row], gids: list[Row], name: str | None = None) -> None:
        check_rows(uids, "user")
        check_rows(gids, "group")
        self.uids = uids
        self.gids = gids
        self.name = _name(uids, gids) if name is None else name

    def key(self) -> str:
        """A short stable text, the same for equal maps; '' for the default map."""
        return self.name

    def single(self) -> bool:
        """Whether it maps only the caller's own ids: then no helper is needed, and setgroups(2) is denied."""
        return len(self.uids) == 1 and len(self.gids) == 1 and self.uids[0][2] == 1 and self.gids[0][2] == 1

    def maps_caller(self) -> bool:
        """Whether the caller's own user id is some id inside. If not, root inside has no power over its files."""
        own = os.geteuid()
        return any(outside <= own < outside + length for _, outside, length in self.uids)

    def may_change(self, status: os.stat_result) -> bool:
        """Whether root inside has power over a file of the host, or anybody may write to it."""
        owner = any(outside <= status.st_uid < outside + length for _, outside, length in self.uids)
        return owner or bool(status.st_mode & 0o022)

    def host_uid(self, inside: int) -> int | None:
        """The host's id of a container's user id, or ``None`` if it is not mapped."""
        return _outside(self.uids, inside)

    def host_gid(self, inside: int) -> int | None:
        """The host's id of a container's group id, or ``None`` if it is not mapped."""
        return _outside(self.gids, inside)

    def inside_uid(self, outside: int) -> int:
        """The container's id of a host's user id. Raises ``RootlessError`` if it is not mapped."""
        return _inside(self.uids, outside, "user")

    def inside_gid(self, outside: int) -> int:
        """The container's id of a host's group id. Raises ``RootlessError`` if it is not mapped."""
        return _inside(self.gids, outside, "group")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self.uids == other.uids and self.gids == other.gids

    def __hash__(self) -> int:
        return hash((tuple(self.uids), tuple(self.gids)))

    def __repr__(self) -> str:
        return f"IdMap(uids={self.uids!r}, gids={self.gids!r})"


def _outside(rows: list[Row], inside: int) -> int | None:
    for first, outside, length in rows:
        if first <= inside < first + length:
            return outside + inside - first
    return None


def _inside(rows: list[Row], outside: int, kind: str) -> int:
    for inside, first, length in rows:
        if first <= outside < first + length:
            return inside + outside - first
    raise RootlessError(f"cannot use the {kind} id {outside}: it is not one of the caller's subordinate ids")


def _name(uids: list[Row], gids: list[Row]) -> str:
    from zlib import crc32

    text = repr((uids, gids)).encode()
    return f"{crc32(text):08x}{crc32(text[::-1]):08x}"


def check_rows(rows: list[Row], kind: str) -> None:
    """Refuse what the kernel would refuse without a reason: overlaps, overflow, too many or no rows."""
    if not rows:
        raise RootlessError(f"cannot use an empty {kind} id map")
    if len(rows) > _MAX_ROWS:
        raise RootlessError(f"cannot use a {kind} id map of {len(rows)} rows", hint=f"the kernel takes {_MAX_ROWS}")
    for row in rows:
        inside, outside, length = row
        if min(inside, outside) < 0 or length < 1 or max(inside, outside) + length - 1 > MAX_ID:
            raise RootlessError(f"cannot map {kind} ids {inside}:{outside}:{length}: out of range")
    for column in (0, 1):
        ordered = sorted((row[column], row[2]) for row in rows)
        for (first, length), (second, _) in zip(ordered, ordered[1:], strict=False):
            if first + length > second:
                raise RootlessError(f"cannot map {kind} ids: {second} is mapped twice")


def read(path: str) -> bytes:
    """The content of a small file of the system; nothing where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(_FILE_LIMIT) or b""
    except OSError:
        return b""


def user_name(uid: int) -> bytes:
    """The caller's login name: from /etc/passwd, else from the name service."""
    wanted = str(uid).encode()
    for line in read("/etc/passwd").split(b"\n"):
        fields = line.split(b":", 3)
        if len(fields) == 4 and fields[2] == wanted:
            return fields[0]
    import pwd

    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return b""


def _ranges(path: str, uid: int, name: bytes) -> list[tuple[int, int]]:
    owners = (str(uid).encode(), name)
    found = []
    for line in read(path).split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) == 3 and fields[0] and fields[0] in owners and fields[1].isdigit() and fields[2].isdigit():
            start, length = int(fields[1]), int(fields[2])
            if length > 0 and start > 0 and start + length - 1 <= MAX_ID:
                found.append((start, length))
    return found


def subid_ranges(uid: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The (first, length) ranges of subordinate user and group ids that subuid(5) and subgid(5) give to ``uid``."""
    uids, gids = b"/etc/subuid", b"/etc/subgid"
    if not (read("/etc/subuid") and read("/etc/subgid")):
        return [], []
    name = user_name(uid)
    return _ranges(uids.decode(), uid, name), _ranges(gids.decode(), uid, name)


def usable_ranges(uid: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The ranges of :func:`subid_ranges` that the caller can map: root itself, others by set-id helpers.

    A process that may gain no privileges gets none from the helpers; in a user namespace (an outer container) only its
    own ids exist.
    """
    if uid != 0 and (_gains_nothing() or not (paths.helper("newuidmap") and paths.helper("newgidmap"))):
        return [], []
    uids, gids = subid_ranges(uid)
    return _visible(uids, _own_rows("/proc/self/uid_map")), _visible(gids, _own_rows("/proc/self/gid_map"))


def _gains_nothing() -> bool:
    """Whether no program can give this process privileges (PR_GET_NO_NEW_PRIVS in prctl(2)).

    As proc_pid_status(5) has it: to call prctl(2) costs more than a millisecond, for the modules that it takes.
    """
    _, found, value = read("/proc/self/status").partition(b"\nNoNewPrivs:")
    if found:
        return value.split(None, 1)[0] == b"1"
    from rootless.linux.libc import PR_GET_NO_NEW_PRIVS, prctl

    return bool(prctl(PR_GET_NO_NEW_PRIVS))


def _visible(ranges: list[tuple[int, int]], own: list[Row]) -> list[tuple[int, int]]:
    """The parts of the ranges that lie in the rows of the caller's own namespace."""
    found = []
    for start, length in ranges:
        for first, _, extent in own:
            begin, end = max(start, first), min(start + length, first + extent)
            if begin < end:
                found.append((begin, end - begin))
    return found


def single_map() -> IdMap:
    """The caller alone, as root inside. Needs no helper and no subordinate ids."""
    return IdMap([(0, os.geteuid(), 1)], [(0, os.getegid(), 1)], "single")


def default_map() -> IdMap:
    """The caller as root inside, then the subordinate ids from 1 on.

    Without subordinate ids, or the helpers that map them, the caller alone; for root without them every id that root
    itself sees, unchanged.
    """
    uid, gid = os.geteuid(), os.getegid()
    uid_ranges, gid_ranges = usable_ranges(uid)
    if uid_ranges and gid_ranges:
        return IdMap(_append([(0, uid, 1)], uid_ranges), _append([(0, gid, 1)], gid_ranges), "")
    if uid == 0:
        return IdMap(_own_rows("/proc/self/uid_map"), _own_rows("/proc/self/gid_map"), "machine")
    return single_map()


def own_map() -> IdMap:
    """The caller's own user namespace: every id that it sees, unchanged."""
    return IdMap(_own_rows("/proc/self/uid_map"), _own_rows("/proc/self/gid_map"), "own")


def _append(rows: list[Row], ranges: list[tuple[int, int]], size: int = MAX_ID) -> list[Row]:
    """Add the ranges behind the rows, up to ``size`` ids in all."""
    taken = {outside for _, outside, length in rows if length == 1}
    following = sum(length for _, _, length in rows)
    for start, length in ranges:
        if any(start <= one < start + length for one in taken):
            continue
        length = min(length, size - following)
        if length > 0:
            rows.append((following, start, length))
            following += length
    return rows


def _own_rows(path: str) -> list[Row]:
    rows = []
    for line in read(path).split(b"\n"):
        fields = line.split()
        if len(fields) == 3:
            inside, length = int(fields[0]), int(fields[2])
            rows.append((inside, inside, min(length, MAX_ID + 1 - inside)))
    return rows or [(0, 0, 1)]


def keep_id(uid: int | None = None, gid: int | None = None, size: int | None = None) -> IdMap:
    """The caller keeps its ids inside, or gets ``uid`` and ``gid`` there; subordinate ids fill the rest.

    ``size`` bounds the number of ids. Needs subordinate ids for anything but the caller alone.
    """
    own_uid, own_gid = os.geteuid(), os.getegid()
    uid_ranges, gid_ranges = usable_ranges(own_uid)
    uid, gid = own_uid if uid is None else uid, own_gid if gid is None else gid
    if own_uid == 0 and not (uid_ranges and gid_ranges):
        base = default_map()
        if (uid, gid, size) == (own_uid, own_gid, None):
            return base
        uid_ranges, gid_ranges = _others(base.uids, own_uid), _others(base.gids, own_gid)
    return IdMap(
        _around(uid, own_uid, uid_ranges, size),
        _around(gid, own_gid, gid_ranges, size),
    )


def _others(rows: list[Row], own: int) -> list[tuple[int, int]]:
    """The ranges of host ids in ``rows`` without ``own``."""
    found = []
    for _, outside, length in rows:
        parts = [(outside, own), (own + 1, outside + length)] if outside <= own < outside + length else []
        found += [(start, end - start) for start, end in parts or [(outside, outside + length)] if start < end]
    return found


def _around(kept: int, own: int, ranges: list[tuple[int, int]], size: int | None) -> list[Row]:
    """Map ``kept`` to ``own``, and the ids below and above it to the ranges in order."""
    if not 0 <= kept <= MAX_ID:
        raise RootlessError(f"cannot keep id {kept}: out of range")
    limit = MAX_ID if size is None else size
    rows: list[Row] = []
    inside = 0
    for start, length in ranges:
        while length > 0 and inside < limit:
            if inside == kept:
                inside += 1
                continue
            step = min(length, limit - inside, kept - inside if inside < kept else length)
            rows.append((inside, start, step))
            inside, start, length = inside + step, start + step, length - step
    rows.append((kept, own, 1))
    return sorted(rows)


def intermediate_map(uid_rows: list[Row], gid_rows: list[Row]) -> IdMap:
    """A map whose middle column counts as ``--uidmap`` does: 0 is the caller, 1 its first subordinate id, and so on."""
    base = default_map()
    return IdMap(_translate(uid_rows, base.uids, "user"), _translate(gid_rows, base.gids, "group"))


def _translate(rows: list[Row], base: list[Row], kind: str) -> list[Row]:
    result = []
    for inside, middle, length in rows:
        while length > 0:
            for first, outside, extent in base:
                if first <= middle < first + extent:
                    step = min(length, first + extent - middle)
                    result.append((inside, outside + middle - first, step))
                    inside, middle, length = inside + step, middle + step, length - step
                    break
            else:
                raise RootlessError(
                    f"cannot map {kind} id {middle}: the user has no such subordinate id",
                    hint="see /etc/subuid and /etc/subgid, and usermod --add-subuids",
                )
    return result
