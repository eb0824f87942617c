"""``rootless-oci exec``: a further process in a running container.

The process is described by a file (``process`` of OCI runtime-spec 1.3, config.md) or is the container's own with the
changes of the command line, as runc and crun have it.
"""

from __future__ import annotations

import os

from rootless.cli import console
from rootless.cli.oci_log import tell_notes
from rootless.cli.oci_state import Record
from rootless.engine.containers.stdio import follow
from rootless.errors import RootlessError, UsageError
from rootless.runtime import bundle, descriptors, enter, hooks, validate
from rootless.security.capabilities import parse
from storage import atomic, jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.runtime.spec import Process, Spec
    from rootless.runtime.state import State

    Values = dict[str, Any]

_LONGEST_FILE = 16 << 20
_LARGEST_ID = 0xFFFFFFFE
_MORE = ("bounding", "effective", "permitted")


def run(values: Values, args: list[str], global_values: Values) -> int:
    """``exec``: the exit code of the program; with ``--detach`` 0 as soon as it runs."""
    preserved = descriptors.preserved(values.get("preserve_fds"))
    record = Record(global_values, args[0])
    found = record.read()
    target = enter.find(found, ignore_paused=bool(values.get("ignore_paused")))
    spec = record.spec() or bundle.read(found.get("bundle", ""))
    process = _process(spec, values, args[1:])
    detach = bool(values.get("detach"))
    socket = _console_socket(process, values, detach)
    validate.check({**spec, "process": process})
    entry = enter.compile(process, spec.get("linux") or {}, {})
    entry.preserved = preserved
    document = hooks.state_document(spec, record.id, found.get("bundle", ""), found["pid"], "running")
    joined = enter.enter(target, entry, cgroup=_below(found, values.get("cgroup")), state=document)
    target.close()
    try:
        tell_notes(global_values, joined.notes)
        if values.get("pid_file"):
            atomic.write(values["pid_file"], str(joined.pid).encode(), mode=0o644, durable=False)
        if socket:
            master, joined.console_fd = joined.console_fd, -1
            console.send(socket, master)
        if not detach:
            return follow(joined, interactive=True)
        joined.start()
    except BaseException:
        joined.close()
        raise
    return 0


def _process(spec: Spec, values: Mapping[str, Any], command: Sequence[str]) -> Process:
    """What is to be executed: the file of ``--process``, or the container's own process, and the flags over it."""
    path = values.get("process")
    if path and command:
        raise UsageError("cannot use --process together with a command: the file has one")
    if not path and not command:
        raise UsageError("cannot execute nothing: name a command after the ID, or a file with --process")
    process: Values = _read(path) if path else {**spec.get("process", {})}
    if command:
        process["args"] = list(command)
        process["terminal"] = False
        process.pop("consoleSize", None)
    if values.get("tty"):
        process["terminal"] = True
    if values.get("env"):
        process["env"] = [*process.get("env", ()), *values["env"]]
    for key, name in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process_label", "selinuxLabel")):
        if values.get(key):
            process[name] = values[key]
    if values.get("no_new_privs"):
        process["noNewPrivileges"] = True
    if values.get("user") or values.get("additional_gids"):
        process["user"] = _user(process.get("user") or {}, values)
    if values.get("cap"):
        process["capabilities"] = _capabilities(process.get("capabilities") or {}, values["cap"])
    found: Process = process  # type: ignore[assignment]
    return found


def _read(path: str) -> Values:
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise RootlessError(f"cannot read the process file {path}: {error.strerror}") from None
    try:
        process = jsonfast.loads(data[:_LONGEST_FILE].decode())
    except ValueError as error:
        raise RootlessError(f"cannot read the process file {path}: {error}") from None
    if not isinstance(process, dict):
        raise RootlessError(f"cannot read the process file {path}: it is not a JSON object")
    return process


def _user(own: Mapping[str, Any], values: Mapping[str, Any]) -> Values:
    user = dict(own)
    text = values.get("user")
    if text:
        uid, colon, gid = text.partition(":")
        user["uid"] = _id(uid, "--user")
        if colon:
            user["gid"] = _id(gid, "--user")
    if values.get("additional_gids"):
        more = [_id(word, "--additional-gids") for word in values["additional_gids"]]
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *more]
    return user


def _id(text: str, option: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LARGEST_ID):
        raise UsageError(f"cannot use {text[:40]!r} for {option}: ids are numbers from 0 to {_LARGEST_ID}")
    return int(text)


def _capabilities(own: Mapping[str, Any], names: Sequence[str]) -> Values:
    """The container's and more; ambient only where the process has inheritable ones (CVE-2022-29162)."""
    sets = {kind: list(found or ()) for kind, found in own.items()}
    for kind in (*_MORE, "ambient") if sets.get("inheritable") else _MORE:
        known = sets.setdefault(kind, [])
        known += [name for name in map(parse, names) if name not in known]
    return sets


def _console_socket(process: Process, values: Mapping[str, Any], detach: bool) -> str:
    """The socket that gets the terminal, '' for none."""
    path = values.get("console_socket") or ""
    terminal = process.get("terminal")
    if terminal and detach and not path:
        raise UsageError("cannot make a terminal for a process that is left alone", "pass --console-socket SOCKET")
    if path and not terminal:
        raise UsageError("cannot use --console-socket: the process has no terminal", "add --tty")
    return str(path)


def _below(found: State, path: str | None) -> str:
    """The control group below the container's, of ``--cgroup``."""
    if not path:
        return ""
    if not found.get("cgroup"):
        raise RootlessError("cannot use --cgroup: the container has no control group of its own")
    controllers, colon, rest = path.rpartition(":")
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    if ".." in parts or (colon and controllers):
        raise UsageError(f"cannot use {path[:80]!r} for --cgroup", "name a group below the container's own")
    inside = "/".join(parts)
    if not os.path.isdir(f"{found['cgroup']}/{inside}"):
        raise RootlessError(f"cannot use --cgroup: the container has no control group {inside}")
    return inside
