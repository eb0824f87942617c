"""The id map of a container, from ``--userns``, ``--uidmap`` and ``--gidmap``.

The user's *default map* is what layers are unpacked with: container id 0 is the user, 1... are the subordinate ids. The
inside ids of that map are the *intermediate ids* in which the other maps are written.
"""

from __future__ import annotations

import os

from rootless import idmaps
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.engine.options.userns import UserNamespace
    from rootless.idmaps import IdMap

    Ranges = list[tuple[int, int, int]]

AUTO_SIZE = 1024


def container_map(wanted: UserNamespace | None, base: IdMap, taken: Iterable[Ranges] = ()) -> IdMap:
    """The map that was asked for; the very ``base`` where it comes to the same.

    ``taken`` are the uid maps of the other containers made with auto, which get no id in common. Raises RootlessError
    when the user has not enough subordinate ids.
    """
    if wanted is None or wanted.mode == "host":
        return base
    if wanted.mode == "keep-id":
        uid = os.getuid() if wanted.uid is None else wanted.uid
        gid = os.getgid() if wanted.gid is None else wanted.gid
        if wanted.size is None and base.host_uid(uid) == os.getuid() and base.host_gid(gid) == os.getgid():
            return base
        found = idmaps.keep_id(wanted.uid, wanted.gid, wanted.size)
    elif wanted.mode == "map":
        found = idmaps.intermediate_map(wanted.uids, wanted.gids)
        if found.host_uid(0) is None or found.host_gid(0) is None:
            hint = "map uid 0 and gid 0 of the container too: they make its mounts"
            raise RootlessError("cannot use an id map without the container's root", hint)
    else:
        uids, gids = mapped(base.uids), mapped(base.gids)
        if min(uids, gids) < 2:
            hint = "ask for a range in /etc/subuid and /etc/subgid"
            raise RootlessError(f"cannot use --userns={wanted.mode}: the user has no subordinate ids", hint)
        if wanted.mode == "nomap":
            found = idmaps.intermediate_map([(0, 1, uids - 1)], [(0, 1, gids - 1)])
        else:
            size = wanted.size or AUTO_SIZE
            start = _free_slice(size, min(uids, gids), base.uids, taken)
            found = idmaps.intermediate_map([(0, start, size)], [(0, start, size)])
    return base if found == base else found


def mapped(ranges: Ranges) -> int:
    """One more than the highest id inside."""
    return max((inside + length for inside, _, length in ranges), default=0)


def _free_slice(size: int, have: int, base: Ranges, taken: Iterable[Ranges]) -> int:
    """The first intermediate id of ``size`` ones in a row that no other automatic map has."""
    used: list[tuple[int, int]] = []
    for ranges in taken:
        for _, outside, length in ranges:
            for start, host, count in base:
                if host <= outside < host + count:
                    used.append((start + outside - host, length))
    position = 1
    for start, length in sorted(used):
        if position + size <= start:
            break
        position = max(position, start + length)
    if position + size > have:
        hint = "use --userns=auto:size=N with a smaller N"
        raise RootlessError(f"cannot find {size} subordinate ids that no other container has", hint)
    return position
