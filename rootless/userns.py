"""User namespaces: subordinate ids, id maps, and running code inside a new namespace.

See user_namespaces(7), subuid(5), newuidmap(1).
"""

from __future__ import annotations

import marshal
import os
import sys

from rootless.errors import RootlessError
from rootless.linux.libc import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    PR_GET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
    unshare,
)
from rootless.linux.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Row = tuple[int, int, int]
    Answer = tuple[str | bytes | int | None, ...]

MAX_ID = 0xFFFFFFFE
_HELPER_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/run/wrappers/bin")
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


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(_FILE_LIMIT) or b""
    except OSError:
        return b""


def _user_name(uid: int) -> bytes:
    """The caller's login name: from /etc/passwd, else from the name service."""
    wanted = str(uid).encode()
    for line in _read("/etc/passwd").split(b"\n"):
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
    for line in _read(path).split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) == 3 and fields[0] and fields[0] in owners and fields[1].isdigit() and fields[2].isdigit():
            start, length = int(fields[1]), int(fields[2])
            if length > 0 and start > 0 and start + length - 1 <= MAX_ID:
                found.append((start, length))
    return found


def subid_ranges(uid: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The (first, length) ranges of subordinate user and group ids that subuid(5) and subgid(5) give to ``uid``."""
    uids, gids = b"/etc/subuid", b"/etc/subgid"
    if not (_read("/etc/subuid") and _read("/etc/subgid")):
        return [], []
    name = _user_name(uid)
    return _ranges(uids.decode(), uid, name), _ranges(gids.decode(), uid, name)


def usable_ranges(uid: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The ranges of :func:`subid_ranges` that the caller can map: root itself, others by set-id helpers.

    A process that may gain no privileges gets none from the helpers; in a user namespace (an outer container) only its
    own ids exist.
    """
    if uid != 0 and (prctl(PR_GET_NO_NEW_PRIVS) or not (helper("newuidmap") and helper("newgidmap"))):
        return [], []
    uids, gids = subid_ranges(uid)
    return _visible(uids, _own_rows("/proc/self/uid_map")), _visible(gids, _own_rows("/proc/self/gid_map"))


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
    for line in _read(path).split(b"\n"):
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


def helper(name: str) -> str | None:
    """The absolute path of a set-id helper such as ``newuidmap``, sought in the system's directories only."""
    for directory in _HELPER_DIRECTORIES:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def _write_map(pid: int, kind: str, rows: list[Row]) -> None:
    text = "".join(f"{inside} {outside} {length}\n" for inside, outside, length in rows).encode()
    fd = os.open(f"/proc/{pid}/{kind}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def start_helpers(pid: int, idmap: IdMap) -> list[int]:
    """Start newuidmap and newgidmap for ``pid`` side by side; give the result to :func:`await_helpers`."""
    started = []
    for name, rows in (("newuidmap", idmap.uids), ("newgidmap", idmap.gids)):
        path = helper(name)
        if path is None:
            raise RootlessError(
                f"cannot map user ids: {name} is not installed", hint="install the package uidmap (or shadow-utils)"
            )
        arguments = [name, str(pid)]
        for row in rows:
            arguments += map(str, row)
        started.append(os.posix_spawn(path, arguments, {}))
    return started


def await_helpers(started: list[int]) -> None:
    """Wait for the helpers of :func:`start_helpers`."""
    failed = [os.waitpid(pid, 0)[1] for pid in started]
    if any(failed):
        name = "newuidmap" if failed[0] else "newgidmap"
        raise RootlessError(
            f"cannot map user ids: {name} refused the map",
            hint="check the caller's ranges in /etc/subuid and /etc/subgid, and that newuidmap is set-user-ID root",
        )


def direct(idmap: IdMap) -> bool:
    """Whether the caller may write the map itself."""
    uid, gid = os.geteuid(), os.getegid()
    return uid == 0 or (idmap.single() and idmap.uids[0][1] == uid and idmap.gids[0][1] == gid)


def write_maps(pid: int, idmap: IdMap) -> None:
    """Give the user namespace of ``pid``, which has no map yet, its map; called in the parent namespace."""
    if not direct(idmap):
        await_helpers(start_helpers(pid, idmap))
        return
    try:
        if os.geteuid() != 0:
            fd = os.open(f"/proc/{pid}/setgroups", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"deny")
            finally:
                os.close(fd)
        _write_map(pid, "gid_map", idmap.gids)
        _write_map(pid, "uid_map", idmap.uids)
    except OSError as error:
        raise RootlessError(f"cannot map user ids: {error.strerror}") from error


def unshare_user(flags: int = 0) -> None:
    """Enter a new user namespace, and the other new namespaces of ``flags``, with a message for the usual refusals."""
    try:
        unshare(CLONE_NEWUSER | flags)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RootlessError(f"cannot make a user namespace: {reason}", hint=_refusal_hint()) from error


def _refusal_hint() -> str:
    if _read("/proc/sys/user/max_user_namespaces").strip() == b"0":
        return "sysctl user.max_user_namespaces is 0; set it to a larger number"
    if _read("/proc/sys/kernel/unprivileged_userns_clone").strip() == b"0":
        return "run: sysctl kernel.unprivileged_userns_clone=1"
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").strip() == b"1":
        return "AppArmor restricts user namespaces; install the program's AppArmor profile (contrib/)"
    return "a seccomp filter, a security module or a full namespace limit may forbid it"


def become_root(idmap: IdMap) -> None:
    """Take the ids 0 of the user namespace, and no supplementary groups where the namespace lets them be changed.

    Where the map has no id 0 the process keeps its own; it has every capability in the namespace all the same.
    """
    if idmap.host_gid(0) is not None:
        os.setresgid(0, 0, 0)
    if idmap.host_uid(0) is not None:
        os.setresuid(0, 0, 0)
    if _read("/proc/self/setgroups").strip() == b"allow":
        os.setgroups([])


def run_in_userns(function: Callable[[], bytes], idmap: IdMap, *, mount_ns: bool = False) -> bytes:
    """Run ``function`` as root of a new user namespace in a child process and return its bytes.

    ``mount_ns``: in a new mount namespace too. An exception of ``function`` is raised again here: ``OSError`` and
    exceptions that are made of (message, hint) as themselves, others as ``RootlessError``. The child dies with the
    caller.
    """
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    result_read, result_write = os.pipe()
    caller = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(ready_read)
        os.close(go_write)
        os.close(result_read)
        _child(function, idmap, caller, ready_write, go_read, result_write, CLONE_NEWNS if mount_ns else 0)
    os.close(ready_write)
    os.close(go_read)
    os.close(result_write)
    refused: RootlessError | None = None
    try:
        if os.read(ready_read, 1):
            try:
                write_maps(child, idmap)
                os.write(go_write, b"g")
            except RootlessError as error:
                refused = error
        os.close(go_write)
        answer = _read_all(result_read)
    finally:
        os.close(ready_read)
        os.close(result_read)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if refused:
        raise refused
    if not answer:
        raise RootlessError(f"a helper process in the user namespace ended with status {status}")
    return _decode(answer)


def _child(
    function: Callable[[], bytes], idmap: IdMap, caller: int, ready: int, go: int, result: int, flags: int
) -> NoReturn:
    code = 1
    try:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() == caller:
            try:
                unshare_user(flags)
                os.write(ready, b"r")
                if os.read(go, 1):
                    become_root(idmap)
                    prctl(PR_SET_PDEATHSIG, SIGKILL)
                    answer: Answer = ("ok", function())
                else:
                    answer = ("none",)
            except BaseException as error:  # it has to reach the caller, whatever it is
                answer = _encode(error)
            _write_all(result, marshal.dumps(answer))
            code = 0
    finally:
        os._exit(code)


def _encode(error: BaseException) -> Answer:
    kind = type(error)
    message, hint = getattr(error, "message", None), getattr(error, "hint", None)
    if isinstance(message, str) and isinstance(hint, str):
        return ("error", kind.__module__, kind.__qualname__, message, hint)
    if isinstance(error, OSError) and error.errno is not None:
        path = error.filename if isinstance(error.filename, str | bytes) else None
        return ("os", error.errno, str(error.strerror), path)
    return ("error", "rootless.errors", "RootlessError", f"{kind.__name__}: {error}", "")


def _decode(data: bytes) -> bytes:
    answer = marshal.loads(data)
    if answer[0] == "ok":
        value: bytes = answer[1]
        return value
    if answer[0] == "os":
        raise OSError(*answer[1:])
    _, module, name, message, hint = answer
    raise getattr(sys.modules.get(module), name, RootlessError)(message, hint)


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def enter(idmap: IdMap, flags: int = CLONE_NEWNS) -> None:
    """Move this very process into new namespaces (``CLONE_NEW*`` beside the user namespace) and become root there.

    A helper that stays behind in the old user namespace writes the map, and is gone when the call returns.
    """
    ready_read, ready_write = os.pipe()
    target = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ready_write)
            if os.read(ready_read, 1):
                write_maps(target, idmap)
                code = 0
        except RootlessError as error:
            os.write(2, f"Error: {error.message}\n".encode())
        finally:
            os._exit(code)
    os.close(ready_read)
    try:
        unshare_user(flags)
        os.write(ready_write, b"r")
    finally:
        os.close(ready_write)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise RootlessError("cannot enter a user namespace: its id map could not be written")
    become_root(idmap)


def enter_and_exec(
    idmap: IdMap, arguments: list[str], environment: dict[str, str], flags: int = CLONE_NEWNS
) -> NoReturn:
    """Replace this process by the command ``arguments`` in new user and mount namespaces; it returns only by raising.

    The command is sought in the PATH of ``environment``. Raises ``RootlessError`` with exit code 126 or 127.
    """
    enter(idmap, flags)
    name = arguments[0]
    search = environment.get("PATH", "/usr/bin:/bin").split(":")
    candidates = [name] if "/" in name else [f"{part or '.'}/{name}" for part in search]
    denied = False
    for path in candidates:
        try:
            os.execve(path, arguments, environment)
        except PermissionError:
            # A directory of PATH that is closed to the user says nothing about the command.
            denied = denied or os.path.lexists(path) or "/" in name
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise RootlessError(f"cannot execute `{name}`: {error.strerror}", exit_code=126) from error
    if denied:
        raise RootlessError(f"cannot execute `{name}`: Permission denied", exit_code=126)
    raise RootlessError(f"cannot find `{name}` in $PATH: No such file or directory", exit_code=127)
