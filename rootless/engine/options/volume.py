"""``-v``/``--volume`` and ``--tmpfs``, and the mount options that ``--mount`` shares with them.

The result is a UserMount: what the user asked for, before named volumes are looked up and before anything is made.
"""

from __future__ import annotations

import os

from rootless.engine.options.values import check_name, is_digits, parse_bytes, parse_octal
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypedDict

    class UserMount(TypedDict, total=False):
        """One mount asked for by the user or by the image.

        ``type`` is bind, volume, tmpfs, image or devpts. ``source`` is an absolute host path, the name of a volume
        (empty: anonymous) or an image reference. ``options`` are mount options in the words of the OCI specification.
        ``relabel`` is a value of `RELABEL`.
        """

        type: str
        source: str
        destination: str
        options: list[str]
        chown: bool
        overlay: bool
        writable: bool
        relabel: str
        upper: str
        work: str
        copy_up: bool
        subpath: str
        labels: dict[str, str]
        volume_options: dict[str, str]


# option -> the group of which one may be given
_GROUPS = {
    "ro": "rw", "rw": "rw",
    "exec": "exec", "noexec": "exec", "dev": "dev", "nodev": "dev", "suid": "suid", "nosuid": "suid",
    "shared": "propagation", "rshared": "propagation", "slave": "propagation", "rslave": "propagation",
    "private": "propagation", "rprivate": "propagation", "unbindable": "propagation", "runbindable": "propagation",
    "bind": "bind", "rbind": "bind",
    "relatime": "atime", "noatime": "atime", "strictatime": "atime", "norelatime": "atime", "nostrictatime": "atime",
    "diratime": "diratime", "nodiratime": "diratime",
    "sync": "sync", "async": "sync", "dirsync": "dirsync", "nosymfollow": "symfollow", "symfollow": "symfollow",
}  # fmt: skip
RELABEL = {"z": "shared", "Z": "private"}
"""Who may use the files of a volume afterwards, on a machine with SELinux: every container, or this one alone."""

_TMPFS_WORDS = frozenset(
    ("huge=never", "huge=always", "huge=within_size", "huge=advise", "noswap", "inode32", "inode64")
)
IDMAP_REFUSED = UsageError(
    "cannot use an idmapped mount: the kernel allows them on a file system of the host to real root alone",
    "use --userns=keep-id, or the volume option U",
)


def parse_volume(text: str) -> UserMount:
    """``[SOURCE:]DESTINATION[:OPTIONS]``; ``\\:`` stands for a colon in a path.

    A source that starts with ``/`` or ``.`` is a path of the host (relative to the working directory), any other source
    the name of a volume; without a source the volume is anonymous.
    """
    parts = _split(text)
    if len(parts) > 3 or not text or "\0" in text:
        raise UsageError(f"cannot use {text[:120]!r} for --volume", "write it as SOURCE:DESTINATION[:OPTIONS]")
    if len(parts) == 1:
        return {"type": "volume", "source": "", "destination": check_destination(parts[0]),
                "options": volume_options([]), "copy_up": True}  # fmt: skip
    source, destination = parts[0], check_destination(parts[1])
    words = [word for word in (parts[2] if len(parts) == 3 else "").split(",") if word]
    mount: UserMount = {"type": "volume", "source": source, "destination": destination}
    if source.startswith(("/", ".")):
        mount["type"] = "bind"
        mount["source"] = os.path.abspath(source)
    else:
        check_name("volume", source)
    apply_options(mount, words, "--volume")
    return mount


def parse_tmpfs(text: str) -> UserMount:
    """``DESTINATION[:OPTIONS]`` with tmpfs(5) options such as ``size=64m`` and ``mode=1777``."""
    parts = _split(text)
    if len(parts) > 2 or not text or "\0" in text:
        raise UsageError(f"cannot use {text[:120]!r} for --tmpfs", "write it as DESTINATION[:OPTIONS]")
    words = [word for word in (parts[1] if len(parts) == 2 else "").split(",") if word]
    mount: UserMount = {"type": "tmpfs", "source": "tmpfs", "destination": check_destination(parts[0])}
    apply_options(mount, words, "--tmpfs")
    return mount


def _split(text: str) -> list[str]:
    if "\\:" not in text:
        return text.split(":")
    return [part.replace("\1", ":") for part in text.replace("\\:", "\1").split(":")]


def check_destination(path: str) -> str:
    """The normalised mount point; it must be absolute, not the root, and not in ``/proc``.

    A mount over ``/proc`` would let a container hide the files that the runtime itself writes to (CVE-2019-16884).
    """
    if not path.startswith("/"):
        raise UsageError(f"cannot mount at {path[:120]!r}: the path in the container must be absolute")
    normal = "/" + os.path.normpath(path).lstrip("/")
    if normal == "/":
        raise UsageError("cannot mount over the root of the container", "use --rootfs for another root file system")
    if normal == "/proc" or normal.startswith("/proc/"):
        raise UsageError(f"cannot mount at {normal[:120]!r}: mounts in /proc are refused")
    return normal


def apply_options(mount: UserMount, words: Iterable[str], flag: str) -> None:
    """Read the option words of any kind of mount into it; raises UsageError for unknown or contradicting words."""
    kind = mount["type"]
    options: list[str] = []
    seen: dict[str, str] = {}
    copy_up = True
    for word in words:
        group = _GROUPS.get(word)
        if group is not None and not (kind == "tmpfs" and group == "bind"):
            if seen.get(group, word) != word:
                raise UsageError(f"cannot use {seen[group]!r} and {word!r} together in {flag}")
            if group not in seen:
                seen[group] = word
                options.append(word)
        elif word in RELABEL:
            if mount.get("relabel", RELABEL[word]) != RELABEL[word]:
                raise UsageError(f"cannot use 'z' and 'Z' together in {flag}")
            mount["relabel"] = RELABEL[word]
        elif word == "U":
            mount["chown"] = True
        elif word == "O" and kind in ("bind", "volume"):
            mount["overlay"] = True
        elif word in ("copy", "tmpcopyup") or word in ("nocopy", "notmpcopyup"):
            copy_up = word in ("copy", "tmpcopyup")
        elif word == "idmap" or word.startswith("idmap="):
            raise IDMAP_REFUSED
        elif word.startswith(("upperdir=", "workdir=")) and kind in ("bind", "volume"):
            _overlay_directory(mount, word, flag)
        elif kind == "tmpfs" and _tmpfs_option(word, options, flag):
            pass
        else:
            raise UsageError(f"cannot use the option {word[:80]!r} in {flag} for {mount['destination'][:120]!r}")
    if ("upper" in mount) != ("work" in mount) or ("upper" in mount and not mount.get("overlay")):
        raise UsageError(f"cannot use {flag}: upperdir and workdir go together, with the option O")
    if kind == "tmpfs":
        mount["options"] = tmpfs_options(options, seen)
        mount["copy_up"] = copy_up
        if copy_up:
            mount["options"].append("tmpcopyup")
    else:
        mount["writable"] = seen.get("rw") == "rw"
        mount["options"] = volume_options(options, kind == "bind" and (mount["source"] + "/").startswith("/dev/"))
        mount["copy_up"] = copy_up and not mount.get("overlay")


def _overlay_directory(mount: UserMount, word: str, flag: str) -> None:
    key, _, path = word.partition("=")
    if not path.startswith("/"):
        raise UsageError(f"cannot use {word[:80]!r} in {flag}: the path must be absolute")
    mount["upper" if key == "upperdir" else "work"] = os.path.normpath(path)


def _tmpfs_option(word: str, options: list[str], flag: str) -> bool:
    key, _, value = word.partition("=")
    if key in ("size", "nr_blocks"):
        percent = value.removesuffix("%") if key == "size" else value
        if percent != value and is_digits(percent) and len(percent) <= 3:
            options.append(word)
        else:
            options.append(f"{key}={parse_bytes(value, flag)}")
    elif key == "mode":
        options.append(f"mode={parse_octal(value, flag):o}")
    elif word in _TMPFS_WORDS or (key in ("uid", "gid", "nr_inodes") and is_digits(value) and len(value) <= 10):
        options.append(word)
    else:
        return False
    return True


def volume_options(options: list[str], devices: bool = False) -> list[str]:
    """The options of a bind or volume with podman's defaults: recursive, private, nosuid, nodev unless of ``/dev``."""
    given = {_GROUPS[option] for option in options}
    words = list(options)
    if "suid" not in given:
        words.append("nosuid")
    if "dev" not in given and not devices:
        words.append("nodev")
    if "bind" not in given:
        words.append("rbind")
    if "propagation" not in given:
        words.append("rprivate")
    if "rw" not in given:
        words.append("rw")
    return words


def tmpfs_options(options: list[str], seen: dict[str, str]) -> list[str]:
    """The options of a tmpfs with the defaults nosuid and nodev."""
    words = list(options)
    for group, default in (("suid", "nosuid"), ("dev", "nodev"), ("propagation", "rprivate"), ("rw", "rw")):
        if group not in seen:
            words.append(default)
    return words
