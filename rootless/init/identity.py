"""Who a container's process is: names and ids looked up in the image's own /etc/passwd and /etc/group.

The files are read inside the root, only if regular, and only up to a limit: the image may be hostile.
A number is never looked up as a name (CVE-2016-3697), and must be a whole id of the map (CVE-2024-40635).
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux.path import read_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless.init.plan import User

_LIMIT = 1 << 22
_MAX_GROUPS = 1024
_CANNOT_INVOKE = 126
_LARGEST = 0xFFFFFFFE


class Identity:
    """The resolved user: ids, supplementary groups, home directory and name ('' if the image has none for it).

    ``asked`` are those of the groups that the caller named.
    """

    __slots__ = ("asked", "gid", "groups", "home", "known_group", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str, name: str, known_group: bool) -> None:
        self.asked: list[int] = []
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.name = name
        self.known_group = known_group


def _records(data: bytes, fields: int) -> Iterator[list[str]]:
    """The well-formed lines of a passwd(5) or group(5) file."""
    for line in data.split(b"\n"):
        record = os.fsdecode(line.strip()).split(":")
        if len(record) >= fields and record[0] and record[2].isascii() and record[2].isdigit() and len(record[2]) < 11:
            yield record


def _number(text: str, what: str) -> int | None:
    """The id that ``text`` is, or ``None`` if it is a name."""
    if not text or not (text[0].isdigit() or text[0] in "+-"):
        return None
    if not (text.isascii() and text.isdigit()):
        if text[0] in "+-":
            raise RootlessError(f"cannot use the {what} id {text!r}: not a number", exit_code=_CANNOT_INVOKE)
        return None
    if len(text) > 10 or int(text) > _LARGEST:
        raise RootlessError(f"cannot use the {what} id {text}: out of range", exit_code=_CANNOT_INVOKE)
    return int(text)


def resolve(root: int, user: User) -> Identity:
    """Look the user up inside ``root``. Raises ``RootlessError`` (exit code 126) for a name that is not there."""
    passwd = _known(read_regular(root, "/etc/passwd", _LIMIT) or b"", _passwd_line(user.account, ""))
    text = user.text
    if text is None:
        name, home, _ = _account(passwd, user.uid)
        groups = read_regular(root, "/etc/group", _LIMIT) or b"" if user.extra_groups else b""
        extra = _extra(groups, user.extra_groups)
        found = Identity(user.uid, user.gid, _unique([*user.groups, *extra]), home, name, True)
        found.asked = extra
        return found
    group_file = _known(read_regular(root, "/etc/group", _LIMIT) or b"", _group_line(user.account))
    who, separator, group = text.partition(":")
    if any(character.isspace() or character == "\0" for character in text) or (separator and not group):
        raise RootlessError(f"cannot use the user {text!r}: write it as USER[:GROUP]", exit_code=_CANNOT_INVOKE)
    uid = _number(who, "user") if who else 0
    if uid is not None:
        name, home, gid = _account(passwd, uid)
    else:
        record = _named(passwd, who)
        uid, gid = int(record[2]), _gid(record[3])
        name, home = who, record[5] if len(record) > 5 else ""
    supplementary: list[int] = []
    if group:
        number = _number(group, "group")
        gid = _group(group_file, group) if number is None else number
    elif name:
        members = [record for record in _records(group_file, 4) if name in record[3].split(",")]
        supplementary = [int(record[2]) for record in members if int(record[2]) != gid]
    supplementary += user.groups
    extra = _extra(group_file, user.extra_groups)
    supplementary += extra
    known = any(int(record[2]) == gid for record in _records(group_file, 3))
    # With the primary group among them: else a set-group-ID program could shed one that a file denies (CVE-2022-2989).
    found = Identity(uid, gid, _unique([gid, *supplementary]), home, name, known)
    found.asked = extra
    return found


def _gid(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else 0


def owner(passwd: bytes, groups: bytes, text: str) -> tuple[int, int]:
    """(uid, gid) of ``USER[:GROUP]`` by the content of a passwd(5) and a group(5) file. Raises ``RootlessError``.

    A user without a group has that of the passwd file; a number that is not in it is its own group's too.
    """
    who, _, group = text.partition(":")
    uid, gid = (_number(who, "user"), None) if who else (0, 0)
    if uid is None:
        record = _named(passwd, who)
        uid, gid = int(record[2]), _gid(record[3])
    elif who:
        gid = next((_gid(record[3]) for record in _records(passwd, 4) if record[2] == str(uid)), uid)
    if group:
        gid = _number(group, "group")
        gid = _group(groups, group) if gid is None else gid
    if uid > _LARGEST or (gid or 0) > _LARGEST:
        raise RootlessError(f"cannot use the owner {text}: its id is out of range")
    return uid, gid or 0


def _named(passwd: bytes, name: str) -> list[str]:
    for record in _records(passwd, 4):
        if record[0] == name:
            return record
    raise RootlessError(f"unable to find user {name}: no matching entries in passwd file", exit_code=_CANNOT_INVOKE)


def _account(passwd: bytes, uid: int) -> tuple[str, str, int]:
    """(name, home, gid) of the first account with that id; the group is 0 if there is none."""
    wanted = str(uid)
    for record in _records(passwd, 4):
        if record[2] == wanted:
            return record[0], record[5] if len(record) > 5 else "", _gid(record[3])
    return "", "", 0


def _group(groups: bytes, name: str) -> int:
    for record in _records(groups, 3):
        if record[0] == name:
            return int(record[2])
    raise RootlessError(f"unable to find group {name}: no matching entries in group file", exit_code=_CANNOT_INVOKE)


def _extra(groups: bytes, wanted: list[str]) -> list[int]:
    found = []
    for text in wanted:
        number = _number(text, "group")
        found.append(_group(groups, text) if number is None else number)
    return found


def _unique(groups: list[int]) -> list[int]:
    return list(dict.fromkeys(groups))[:_MAX_GROUPS]


def account_files(root: int, user: User, identity: Identity, cwd: str) -> list[tuple[str, bytes]]:
    """(path, content) of the passwd and group files that lack whom ``user`` is, or its account, with these added; none
    that the image lacks."""
    uid, gid = identity.uid, identity.gid
    if any(character in cwd for character in ":\n\r\0"):
        cwd = "/"
    home = identity.home or cwd
    additions = {"/etc/passwd": [_passwd_line(user.account, cwd)], "/etc/group": [_group_line(user.account)]}
    if not identity.name:
        additions["/etc/passwd"].append(f"{uid}:*:{uid}:{gid}:container user:{home}:/bin/sh")
    if not identity.known_group:
        additions["/etc/group"].append(f"{gid}:x:{gid}:{identity.name or uid}")
    files = []
    for path, lines in additions.items():
        before = read_regular(root, path, _LIMIT)
        if before is None or len(before) >= _LIMIT:
            continue
        after = before
        for line in lines:
            after = _known(after, line)
        if after != before:
            files.append((path, after))
    return files


def _passwd_line(account: tuple[str, int, int] | None, home: str) -> str:
    return f"{account[0]}:*:{account[1]}:{account[2]}::{home}:/bin/sh" if account else ""


def _group_line(account: tuple[str, int, int] | None) -> str:
    return f"{account[0]}:x:{account[2]}:{account[0]}" if account else ""


def _known(data: bytes, line: str) -> bytes:
    """A passwd(5) or group(5) file with ``line`` at its end, unless the number or the name is there already."""
    if not line:
        return data
    name, _, number, *_ = line.split(":")
    if any(record[0] == name or record[2] == number for record in _records(data, 3)):
        return data
    ended = data if not data or data.endswith(b"\n") else data + b"\n"
    return ended + os.fsencode(line) + b"\n"
