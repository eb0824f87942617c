"""``--userns``, ``--uidmap`` and ``--gidmap``."""

from __future__ import annotations

from rootless.engine.options.values import is_digits
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ID = 0xFFFFFFFE


class UserNamespace:
    """What was asked for. ``mode``: host, keep-id, nomap, auto or map (explicit --uidmap/--gidmap).

    ``uid``, ``gid``: where keep-id puts the user's own ids (None: at the same numbers). ``size``: length of the map
    (None: the whole range). ``uids``, ``gids``: (container id, intermediate id, length) of mode map, where intermediate
    id 0 is the user and 1... are the subordinate ids in order, as podman counts.
    """

    __slots__ = ("gid", "gids", "mode", "size", "uid", "uids")

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.uid: int | None = None
        self.gid: int | None = None
        self.size: int | None = None
        self.uids: list[tuple[int, int, int]] = []
        self.gids: list[tuple[int, int, int]] = []


def parse_userns(text: str, uidmaps: Iterable[str] = (), gidmaps: Iterable[str] = ()) -> UserNamespace:
    """The user namespace of a container; ``''`` is podman's default for a user without root: host."""
    mode, _, options = text.partition(":")
    if mode == "private" and not options:
        mode = "auto"
    maps = _maps(uidmaps, "--uidmap"), _maps(gidmaps, "--gidmap")
    if maps[0] or maps[1]:
        if text:
            raise UsageError("cannot use --userns together with --uidmap or --gidmap")
        space = UserNamespace("map")
        space.uids, space.gids = maps[0] or maps[1], maps[1] or maps[0]
        return space
    if mode not in ("", "host", "keep-id", "nomap", "auto") or (options and mode not in ("keep-id", "auto")):
        hint = "use host, keep-id[:uid=N,gid=N,size=N], nomap or auto[:size=N]"
        raise UsageError(f"cannot use {text[:80]!r} for --userns", hint)
    space = UserNamespace(mode or "host")
    allowed = ("uid", "gid", "size") if mode == "keep-id" else ("size",)
    for option in options.split(",") if options else ():
        key, _, value = option.partition("=")
        if key not in allowed or not is_digits(value) or len(value) > 10 or int(value) > MAX_ID:
            raise UsageError(f"cannot use {option[:80]!r} in --userns={mode}", "the options are " + ", ".join(allowed))
        setattr(space, key, int(value))
    if space.size == 0:
        raise UsageError("cannot use size=0 in --userns")
    return space


def _maps(entries: Iterable[str], flag: str) -> list[tuple[int, int, int]]:
    """``CONTAINER:INTERMEDIATE[:LENGTH]``, several separated by commas; sorted by container id."""
    found: list[tuple[int, int, int]] = []
    for entry in entries:
        for text in entry.split(","):
            parts = text.split(":")
            if len(parts) == 2:
                parts.append("1")
            good = len(parts) == 3 and all(is_digits(part) and len(part) <= 10 for part in parts)
            if not good or int(parts[2]) == 0 or any(int(part) + int(parts[2]) - 1 > MAX_ID for part in parts[:2]):
                hint = "write it as CONTAINER_ID:INTERMEDIATE_ID:LENGTH"
                raise UsageError(f"cannot use {text[:80]!r} for {flag}", hint)
            found.append((int(parts[0]), int(parts[1]), int(parts[2])))
    _check_overlap(found, flag)
    return sorted(found)


def _check_overlap(maps: list[tuple[int, int, int]], flag: str) -> None:
    for column in (0, 1):
        end = -1
        for entry in sorted(maps, key=lambda entry: entry[column]):
            if entry[column] <= end:
                raise UsageError(f"cannot use {flag}: id {entry[column]} is mapped twice")
            end = entry[column] + entry[2] - 1
