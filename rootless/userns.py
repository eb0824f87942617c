"""User namespaces: writing their id maps, and running code inside a new one.

See user_namespaces(7), newuidmap(1).
"""

from __future__ import annotations

import marshal
import os
import sys

from rootless import paths
from rootless.errors import RootlessError
from rootless.idmaps import read
from rootless.linux.libc import CLONE_NEWNS, CLONE_NEWUSER, PR_SET_PDEATHSIG, prctl, setns, unshare
from rootless.linux.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from rootless.idmaps import IdMap, Row

    Answer = tuple[str | bytes | int | None, ...]


def _write_map(pid: int, kind: str, rows: list[Row]) -> None:
    text = "".join(f"{inside} {outside} {length}\n" for inside, outside, length in rows).encode()
    fd = os.open(f"/proc/{pid}/{kind}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


class Helpers:
    """newuidmap and newgidmap at work, side by side; what they say in ``words``, a descriptor."""

    __slots__ = ("pids", "words")

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.words = -1


def start_helpers(pid: int, idmap: IdMap) -> Helpers:
    """Start newuidmap and newgidmap for ``pid``; give the result to :func:`await_helpers`."""
    started = Helpers()
    try:
        started.words = os.memfd_create("said")
        said = [(os.POSIX_SPAWN_DUP2, started.words, 2)]
        for name, rows in (("newuidmap", idmap.uids), ("newgidmap", idmap.gids)):
            path = paths.helper(name)
            if path is None:
                raise RootlessError(
                    f"cannot map user ids: {name} is not installed", hint="install the package uidmap (or shadow-utils)"
                )
            arguments = [name, str(pid)]
            for row in rows:
                arguments += map(str, row)
            started.pids.append(os.posix_spawn(path, arguments, {}, file_actions=said))
    except OSError as error:
        _end(started)
        raise RootlessError(f"cannot map user ids: {error.strerror}") from error
    except RootlessError:
        _end(started)
        raise
    return started


def await_helpers(started: Helpers) -> None:
    """Wait for the helpers of :func:`start_helpers`. Raises ``RootlessError`` with what they said."""
    failed, words = _end(started)
    if any(failed):
        name = "newuidmap" if failed[0] else "newgidmap"
        if os.WIFSIGNALED(failed[0] or failed[1]):
            raise RootlessError(f"cannot map user ids: {name} was killed")
        said = next((line.removeprefix(f"{name}: ") for line in words.splitlines() if line.startswith(name)), "")
        raise RootlessError(
            f"cannot map user ids: {name} refused the map" + (f": {said}" if said else ""),
            hint="check the caller's ranges in /etc/subuid and /etc/subgid, and that newuidmap is set-user-ID root",
        )


def _end(started: Helpers) -> tuple[list[int], str]:
    """Wait for the helpers: how each ended, and what they said if one failed."""
    failed = [os.waitpid(pid, 0)[1] for pid in started.pids]
    words = b""
    if started.words >= 0:
        if any(failed):
            words = os.pread(started.words, 4096, 0)
        os.close(started.words)
    started.pids, started.words = [], -1
    return failed, words.decode(errors="replace")


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
    command, advice = obstacle()
    return f"run as root: {command}" if command else advice


def obstacle() -> tuple[str, str]:
    """Why no user namespace can be made, as the command with which root opens the way, or else as advice."""
    for setting, off, value in (
        ("user/max_user_namespaces", b"0", "user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", b"0", "kernel.unprivileged_userns_clone=1"),
    ):
        if _setting(setting) == off:
            return f"sysctl {value}", ""
    if needs_profile():
        return "", "AppArmor restricts user namespaces: install the program's profile (contrib/apparmor/install)"
    if _is_chroot():
        return "", "this is a chroot, and in one the kernel makes no user namespaces: run it outside, or in a container"
    if b"\nSeccomp:\t2" in read("/proc/self/status"):
        outer = "the container that this is in with --security-opt seccomp=unconfined, or one of rootless with --nested"
        return "", f"a system call filter forbids it: start {outer}"
    return "", "a security module may forbid it, or user.max_user_namespaces of an outer namespace be reached"


def needs_profile() -> bool:
    """Whether AppArmor lets only programs with a profile make user namespaces that are of use."""
    return _setting("kernel/apparmor_restrict_unprivileged_userns") == b"1"


def _setting(name: str) -> bytes:
    """A setting of the kernel, which refuses to be asked for megabytes of it; empty where there is none."""
    try:
        with open(f"/proc/sys/{name}", "rb", buffering=0) as file:
            return (file.read(256) or b"").strip()
    except OSError:
        return b""


def _is_chroot() -> bool:
    """Whether the root directory of this process is no mount of its own: the list of mounts has none that is it."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            places = [line.split(b" ")[4] for line in file]
    except OSError:
        return False
    return bool(places) and b"/" not in places


def become_root(idmap: IdMap, keep_groups: bool = False) -> None:
    """Take the ids 0 of the user namespace, and no supplementary groups where the namespace lets them be changed.

    ``keep_groups``: those of the caller stay; they are not in the map, but count for the files of the host.
    Where the map has no id 0 the process keeps its own; it has every capability in the namespace all the same.
    """
    if idmap.host_gid(0) is not None:
        os.setresgid(0, 0, 0)
    if idmap.host_uid(0) is not None:
        os.setresuid(0, 0, 0)
    if not keep_groups and read("/proc/self/setgroups").strip() == b"allow":
        os.setgroups([])


def run_in_userns(
    function: Callable[[], bytes],
    idmap: IdMap,
    *,
    mount_ns: bool = False,
    before: Callable[[], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> bytes:
    """Run ``function`` as root of a new user namespace in a child process and return its bytes.

    ``mount_ns``: in a new mount namespace too. ``meanwhile`` is called while the helpers write the map: for loading
    what ``function`` needs. ``before`` is called in the namespaces with the caller's own id, which
    a map need not have: for opening what only the caller can reach. An exception of ``function`` is raised again here:
    ``OSError`` and exceptions that are made of (message, hint) as themselves, others as ``RootlessError``. The child
    dies with the caller.
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
        flags = CLONE_NEWNS if mount_ns else 0
        _child(function, idmap, caller, ready_write, go_read, result_write, flags, before, meanwhile)
    os.close(ready_write)
    os.close(go_read)
    os.close(result_write)
    refused: RootlessError | None = None
    try:
        try:
            if os.read(ready_read, 1):
                write_maps(child, idmap)
                os.write(go_write, b"g")
        except RootlessError as error:
            refused = error
        except BrokenPipeError:
            pass  # it was killed: there is no answer
        finally:
            os.close(go_write)  # for which the child waits
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
    function: Callable[[], bytes],
    idmap: IdMap,
    caller: int,
    ready: int,
    go: int,
    result: int,
    flags: int,
    before: Callable[[], None] | None,
    meanwhile: Callable[[], None] | None,
) -> NoReturn:
    code = 1
    try:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() == caller:
            try:
                unshare_user(flags)
                os.write(ready, b"r")
                if meanwhile is not None:
                    meanwhile()
                if os.read(go, 1):
                    if before is not None:
                        before()
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


def run_in_namespace(function: Callable[[], bytes], namespace: int, idmap: IdMap) -> bytes:
    """Run ``function`` as root of the user namespace behind the descriptor ``namespace``, in a child process.

    ``idmap`` is the map of that namespace, which the caller must own. As in `run_in_userns` the child dies with the
    caller, and an exception is raised again here.
    """
    result_read, result_write = os.pipe()
    caller = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(result_read)
        code = 1
        try:
            prctl(PR_SET_PDEATHSIG, SIGKILL)
            if os.getppid() == caller:
                try:
                    if not os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/user")):
                        setns(namespace, CLONE_NEWUSER)
                        become_root(idmap)
                        prctl(PR_SET_PDEATHSIG, SIGKILL)
                    answer: Answer = ("ok", function())
                except BaseException as error:  # it has to reach the caller, whatever it is
                    answer = _encode(error)
                _write_all(result_write, marshal.dumps(answer))
                code = 0
        finally:
            os._exit(code)
    os.close(result_write)
    try:
        answered = _read_all(result_read)
    finally:
        os.close(result_read)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not answered:
        raise RootlessError(f"a helper process in the user namespace ended with status {status}")
    return _decode(answered)


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
    except BrokenPipeError:
        pass  # it was killed, as its exit code tells
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
