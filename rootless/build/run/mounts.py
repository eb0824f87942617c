"""The values of ``RUN --mount=``: ``type=bind|cache|tmpfs|secret|ssh,key=value,…``, read and checked. Pure.

Source: Docker's Dockerfile reference, "RUN --mount"; buildah adds ``z``, ``Z`` and ``U``.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from rootless.engine.options.mount import fields_of
from rootless.engine.options.values import parse_bool, parse_bytes, parse_integer, parse_octal
from rootless.engine.options.volume import RELABEL, check_destination
from rootless.errors import UsageError
from storage.caches import LOCKED, PRIVATE, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterable

BIND, CACHE, TMPFS, SECRET, SSH = KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = (SHARED, PRIVATE, LOCKED)
SECRETS = "/run/secrets"
AGENTS = "/run/buildkit"
_PRIVATE = ("private", "rprivate")
_LARGEST_ID = (1 << 31) - 1
_LONGEST = 1024
_HINT = "write it like --mount=type=cache,target=/root/.cache"
_TREES, _FILES = (BIND, CACHE), (SECRET, SSH)
# key: the kinds of mounts that have it
_KEYS = {
    "from": _TREES, "source": _TREES, "target": KINDS, "id": (CACHE, *_FILES), "ro": (*_TREES, TMPFS),
    "rw": (*_TREES, TMPFS), "sharing": (CACHE,), "mode": (CACHE, TMPFS, *_FILES), "uid": (CACHE, *_FILES),
    "gid": (CACHE, *_FILES), "required": _FILES, "env": (SECRET,), "size": (TMPFS,), "bind-propagation": (BIND,),
    "relabel": _TREES,
}  # fmt: skip
_OTHER_NAMES = {
    "src": "source", "dst": "target", "destination": "target", "readonly": "ro", "readwrite": "rw",
    "tmpfs-size": "size", "tmpfs-mode": "mode",
}  # fmt: skip


class Mount(NamedTuple):
    """One mount of a RUN.

    ``target`` is absolute and normal. ``source`` is a path in the context, or in ``from_`` (a stage, a named context or
    an image). ``id`` is of a cache, a secret or an agent; a secret may be put into the variable ``env`` instead of a
    file (then ``target`` is ''). ``size`` (bytes) is of a tmpfs, 0 for the kernel's own. ``mode`` is None for that of
    the kind. ``relabel``: "shared" or "private" with SELinux, '' for not at all.
    """

    kind: str
    target: str
    source: str = ""
    from_: str = ""
    read_only: bool = False
    id: str = ""
    sharing: str = SHARED
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    required: bool = False
    env: str = ""
    size: int = 0
    relabel: str = ""


def parse_all(texts: Iterable[str], directory: str) -> list[Mount]:
    """The mounts of one RUN in their order; two at the same place are refused. See :func:`parse`."""
    found: list[Mount] = []
    for text in texts:
        mount = parse(text, directory, sum(other.kind == SSH for other in found))
        if mount.target and any(other.target == mount.target for other in found):
            raise UsageError(f"cannot mount twice at {mount.target}: duplicate mount destination")
        found.append(mount)
    return found


def parse(text: str, directory: str, agents: int = 0) -> Mount:
    """One value of ``--mount``, a bind where it names no type. Raises UsageError.

    ``directory``: the working directory, for a relative target. ``agents``: how many ssh mounts there were before.
    """
    pairs = fields_of(text)
    kind = next((value or "" for key, value in reversed(pairs) if key == "type"), BIND)
    if kind not in KINDS:
        raise UsageError(f"cannot use the mount type {kind[:40]!r} in RUN", "use one of " + ", ".join(KINDS))
    values: dict[str, str] = {}
    for key, value in pairs:
        if key != "type":
            _take(values, kind, key, value)
    if values.get("sharing", SHARED) not in SHARING:
        hint = "use one of " + ", ".join(SHARING)
        raise UsageError(f"cannot use {values['sharing'][:40]!r} for --mount sharing", hint)
    return _mount(kind, values, directory, agents)


def _take(values: dict[str, str], kind: str, key: str, value: str | None) -> None:
    """Put one field into ``values`` under its first name."""
    if key in RELABEL and value is None:
        key, value = "relabel", RELABEL[key]
    key = _OTHER_NAMES.get(key, key)
    if kind not in _KEYS.get(key, ()):
        raise UsageError(f"cannot use {key[:40]!r} in RUN --mount=type={kind}", _HINT)
    if value is None:
        if key not in ("ro", "rw", "required"):
            raise UsageError(f"cannot use --mount: {key} needs a value", _HINT)
        value = "true"
    if not value or "\0" in value or len(value) > 4096:
        raise UsageError(f"cannot use {value[:40]!r} for --mount {key}")
    if key in ("ro", "rw"):
        values["ro"] = str(parse_bool(value, f"--mount {key}") == (key == "ro"))
    else:
        values[key] = value


def _mount(kind: str, values: dict[str, str], directory: str, agents: int) -> Mount:
    name = values.get("id", "")
    _check_id(name)
    mode = values.get("mode")
    env = values.get("env", "")
    if env and ("=" in env or not env.isprintable() or " " in env):
        raise UsageError(f"cannot use {env[:40]!r} for --mount env: it is no name of a variable")
    if values.get("bind-propagation", "private") not in _PRIVATE:
        word = values["bind-propagation"]
        hint = "the mounts of a build are private: leave it out"
        raise UsageError(f"cannot use {word[:40]!r} for --mount bind-propagation", hint)
    if values.get("relabel", "shared") not in RELABEL.values():
        raise UsageError(f"cannot use {values['relabel'][:40]!r} for --mount relabel: it must be shared or private")
    target = values.get("target", "")
    if kind in _FILES and not name:
        name = posixpath.basename(target.rstrip("/")) if kind == SECRET else "default"
        if not name:
            raise UsageError("cannot use --mount=type=secret: it has neither id nor target", _HINT)
    place = _target(kind, target, directory, name, agents) if target or not env else ""
    if kind == CACHE and not name:
        name = place
    return Mount(
        kind,
        place,
        values.get("source", ""),
        values.get("from", ""),
        values.get("ro", str(kind == BIND)) == "True",
        name,
        values.get("sharing", SHARED),
        None if mode is None else parse_octal(mode, "--mount mode"),
        _number(values, "uid"),
        _number(values, "gid"),
        parse_bool(values.get("required", "false"), "--mount required"),
        env,
        parse_bytes(values["size"], "--mount size") if "size" in values else 0,
        values.get("relabel", ""),
    )


def _target(kind: str, target: str, directory: str, name: str, agents: int) -> str:
    if not target:
        if kind == SECRET:
            return check_destination(f"{SECRETS}/{posixpath.basename(name)}")
        if kind == SSH:
            return f"{AGENTS}/ssh_agent.{agents}"
        raise UsageError(f"cannot use --mount=type={kind}: it has no target", _HINT)
    normal = posixpath.normpath(posixpath.join("/", directory, target))
    if not normal.strip("/"):
        hint = "give it a target below the root, or set a WORKDIR before"
        raise UsageError(f"cannot mount at {target[:80]!r}: it is the root of the container", hint)
    return check_destination(normal)


def _check_id(name: str) -> None:
    """An id is a name and no path, though it may look like one: it must not claim to lead elsewhere (CVE-2024-9675)."""
    if ".." in name.split("/") or not name.isprintable() or len(name) > _LONGEST:
        raise UsageError(f"cannot use {name[:80]!r} for --mount id: it must be a name without '..'")


def _number(values: dict[str, str], key: str) -> int:
    return parse_integer(values[key], f"--mount {key}", 0, _LARGEST_ID) if key in values else 0
