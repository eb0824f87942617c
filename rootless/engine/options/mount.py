"""``--mount type=bind|volume|tmpfs|image|devpts,key=value,...``"""

from __future__ import annotations

import os

from rootless.engine.options.values import check_name, parse_bool, parse_bytes, parse_integer, parse_octal
from rootless.engine.options.volume import IDMAP_REFUSED, apply_options, check_destination
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.options.volume import UserMount

_KINDS = ("bind", "volume", "tmpfs", "image", "devpts")
_HINT = "write it like type=bind,source=/data,destination=/data,ro"
_FLAGS_WITH_VALUE = frozenset(("exec", "dev", "suid", "noexec", "nodev", "nosuid"))
_OPPOSITE = {"exec": "noexec", "dev": "nodev", "suid": "nosuid", "noexec": "exec", "nodev": "dev", "nosuid": "suid"}
_PROPAGATION = frozenset(
    ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")
)


def parse_mount(text: str) -> UserMount:
    """One ``--mount``; the type is volume when none is given, as in podman and Docker."""
    fields = fields_of(text)
    kind = "volume"
    for key, value in fields:
        if key == "type":
            kind = value or ""
    if kind not in _KINDS:
        raise UsageError(f"cannot use the mount type {kind[:40]!r}", "use one of " + ", ".join(_KINDS))
    mount: UserMount = {"type": kind, "source": "tmpfs" if kind == "tmpfs" else "", "destination": ""}
    words: list[str] = []
    private: list[str] = []
    for key, value in fields:
        if key != "type":
            _field(mount, key, value, words, private)
    if not mount["destination"]:
        raise UsageError(f"cannot use --mount {text[:120]!r}: it has no destination", _HINT)
    _check_source(mount, text)
    if kind == "devpts":
        mount["source"] = "devpts"
        mount["options"] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", *private, *words]
    else:
        apply_options(mount, words, "--mount")
        mount["options"] += private
    return mount


def fields_of(text: str, flag: str = "--mount", hint: str = _HINT) -> list[tuple[str, str | None]]:
    """The comma-separated fields of the value of ``flag``; one in double quotes may hold commas (CSV, as podman reads
    it). Raises UsageError, with ``hint``.
    """
    fields: list[str] = [""]
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append("")
        else:
            fields[-1] += character
    if quoted or "\0" in text or not text:
        raise UsageError(f"cannot use {flag} {text[:120]!r}", hint)
    pairs: list[tuple[str, str | None]] = []
    for field in fields:
        key, equals, value = field.partition("=")
        if not key.strip():
            raise UsageError(f"cannot use {flag} {text[:120]!r}: it has an empty field", hint)
        key = key.strip()
        pairs.append((key if key in ("U", "Z") else key.lower(), value if equals else None))
    return pairs


def _field(mount: UserMount, key: str, value: str | None, words: list[str], private: list[str]) -> None:
    kind = mount["type"]
    flag = f"--mount {key}"
    if key in ("source", "src") and kind not in ("tmpfs", "devpts"):
        mount["source"] = _value(key, value)
    elif key in ("destination", "dst", "target"):
        mount["destination"] = check_destination(_value(key, value))
    elif key in ("ro", "readonly"):
        words.append("ro" if value is None or parse_bool(value, flag) else "rw")
    elif key in ("rw", "readwrite"):
        words.append("rw" if value is None or parse_bool(value, flag) else "ro")
    elif key in ("u", "U", "chown"):
        if value is None or parse_bool(value, flag):
            words.append("U")
    elif key in _FLAGS_WITH_VALUE:
        words.append(key if value is None or parse_bool(value, flag) else _OPPOSITE[key])
    elif key == "bind-propagation" and kind in ("bind", "volume"):
        if value not in _PROPAGATION:
            raise UsageError(f"cannot use {value!r} for --mount bind-propagation")
        words.append(value)
    elif key in ("bind-nonrecursive", "non-recursive") and kind == "bind":
        words.append("bind" if value is None or parse_bool(value, flag) else "rbind")
    elif key == "relabel" and kind in ("bind", "volume"):
        if value not in ("shared", "private"):
            raise UsageError(f"cannot use {value!r} for --mount relabel: it must be shared or private")
        words.append("z" if value == "shared" else "Z")
    elif key == "idmap":
        raise IDMAP_REFUSED
    elif key == "consistency" and kind == "bind":
        pass  # Docker Desktop's word for its file sharing; there is one consistency here
    elif key in ("subpath", "volume-subpath", "image-subpath") and kind in ("volume", "image"):
        mount["subpath"] = _subpath(_value(key, value))
    elif kind == "volume" and key in ("volume-label", "volume-opt"):
        name, _, text = _value(key, value).partition("=")
        if key == "volume-label":
            mount.setdefault("labels", {})[name] = text
        else:
            mount.setdefault("volume_options", {})[name] = text
    elif kind in ("volume", "tmpfs") and key in ("nocopy", "volume-nocopy", "notmpcopyup", "tmpcopyup", "copy"):
        words.append(key.removeprefix("volume-"))
    elif kind == "tmpfs" and key in ("tmpfs-size", "size"):
        words.append(f"size={_value(key, value)}" if value and value.endswith("%") else
                     f"size={parse_bytes(_value(key, value), flag)}")  # fmt: skip
    elif kind == "tmpfs" and key in ("tmpfs-mode", "mode"):
        words.append(f"mode={parse_octal(_value(key, value), flag):o}")
    elif kind == "devpts" and key in ("uid", "gid"):
        private.append(f"{key}={parse_integer(_value(key, value), flag, 0, 0xFFFFFFFE)}")
    elif kind == "devpts" and key == "mode":
        private.append(f"mode={parse_octal(_value(key, value), flag):o}")
    elif kind == "devpts" and key == "max":
        private.append(f"max={parse_integer(_value(key, value), flag, 0, 1 << 20)}")
    elif value is None and kind in ("bind", "volume", "tmpfs"):
        words.append(key)
    else:
        raise UsageError(f"cannot use {key[:40]!r} in --mount type={kind}", _HINT)


def _value(key: str, value: str | None) -> str:
    if not value:
        raise UsageError(f"cannot use --mount: {key} needs a value", _HINT)
    return value


def _subpath(path: str) -> str:
    """A path below a volume or an image; it is resolved inside it when the container starts."""
    if ".." in path.split("/"):
        raise UsageError(f"cannot use {path[:80]!r} for --mount subpath: '..' is not allowed")
    return path.strip("/")


def _check_source(mount: UserMount, text: str) -> None:
    kind, source = mount["type"], mount["source"]
    if kind in ("bind", "image") and not source:
        raise UsageError(f"cannot use --mount {text[:120]!r}: type={kind} needs a source", _HINT)
    if kind == "bind":
        mount["source"] = os.path.abspath(source)
    elif kind == "volume" and source:
        check_name("volume", source)
