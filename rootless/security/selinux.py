"""SELinux: whether the machine has it, and the labels of a container's processes and files (selinux(8)).

A process label is made of what the policy names for containers (``lxc_contexts``, selabel_lxc), changed by what was
asked for, and of a level with two categories that no other container has: that keeps containers with the same type from
each other's files. Files get the type for files and the same level.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError, UsageError
from rootless.linux.libc import file_system_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

SHARED_LEVEL = "s0"
PARTS = ("user", "role", "type", "level", "filetype")
"""What ``--security-opt label=PART:VALUE`` may name."""

_MAGIC = 0xF97CFF8C  # statfs(2): f_type of selinuxfs
_FS = "/sys/fs/selinux"
_CONFIG = "/etc/selinux"
_CATEGORIES = 1024
_ATTRIBUTE = "security.selinux"
_LONGEST = 255
_DEEPEST = 256  # directories in each other; each holds a descriptor open
# Relabelling one of these would lock the machine's own programs out.
_SYSTEM = frozenset(
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin "
    "/usr/lib /usr/lib64 /usr/local /usr/sbin /usr/share /var /var/lib /var/log".split()
)


def enabled() -> bool:
    """Whether SELinux is in the kernel and has a policy, enforcing or not."""
    try:
        fd = os.open(_FS, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return file_system_type(fd) == _MAGIC
    finally:
        os.close(fd)


def valid(label: str) -> bool:
    """Whether the policy knows the label."""
    try:
        fd = os.open(f"{_FS}/context", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(fd, label.encode() + b"\0")
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def require(label: str) -> str:
    """``label`` itself, which was asked for. Raises ``RootlessError`` where it cannot be applied (CVE-2025-64750)."""
    if not label:
        return ""
    if not enabled():
        hint = "leave the label out, or say label=disable"
        raise RootlessError(f"cannot apply the SELinux label {label[:_LONGEST]}: this machine has no SELinux", hint)
    if len(label) > _LONGEST or not label.isprintable() or not valid(label):
        raise RootlessError(f"cannot apply the SELinux label {label[:_LONGEST]!r}: the policy does not know it")
    return label


def parse(text: str) -> tuple[str, str]:
    """(part, value) of ``--security-opt label=TEXT``; the value of ``disable`` and ``nested`` is empty."""
    if text in ("disable", "nested"):
        return text, ""
    part, colon, value = text.partition(":")
    # A level has colons of its own.
    if part not in PARTS or not colon or not value or (":" in value and part != "level") or not _plain(value):
        hint = "use disable, nested, user:, role:, type:, level: or filetype:"
        raise UsageError(f"cannot use {text[:80]!r} for --security-opt label", hint)
    return part, value


def _plain(value: str) -> bool:
    return len(value) <= _LONGEST and all(
        character.isascii() and (character.isalnum() or character in "_-.:,") for character in value
    )


def contexts() -> tuple[str, str]:
    """(process label, file label) that the policy names for containers; empty where it names none."""
    policy = _settings(f"{_CONFIG}/config").get("SELINUXTYPE", "targeted")
    found = _settings(f"{_CONFIG}/{policy}/contexts/lxc_contexts")
    return found.get("process", ""), found.get("file", "")


def _settings(path: str) -> dict[str, str]:
    """``NAME = "VALUE"`` of each line of a file; none where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if line.lstrip()[:1] not in ("#", ";"))
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}


def level(container_id: str, taken: Collection[str]) -> str:
    """A level with two categories for the container of this id (hex digits), none of ``taken``.

    Raises ``RootlessError`` when all 523,776 are.
    """
    pairs = _CATEGORIES * (_CATEGORIES - 1) // 2
    start = int(container_id[:16], 16)
    for step in range(min(pairs, len(taken) + 1)):
        low, high = _pair((start + step) % pairs)
        found = f"s0:c{low},c{high}"
        if found not in taken:
            return found
    raise RootlessError("cannot give the container SELinux categories of its own: all are taken")


def _pair(number: int) -> tuple[int, int]:
    """The pair low < high with that place in the order (0,1) (0,2) (1,2) (0,3)…"""
    high = int((1 + (1 + 8 * number) ** 0.5) / 2)
    return number - high * (high - 1) // 2, high


def labels(wanted: Mapping[str, str], own_level: str) -> tuple[str, str]:
    """(process label, mount label) of a container: the policy's, with the parts of ``wanted`` (`PARTS`) in their place.

    Empty where the policy has none for containers. ``own_level`` counts where none was asked for.
    """
    process, mount = (label.split(":", 3) for label in contexts())
    if len(process) < 3 or len(mount) < 3:
        return "", ""
    process = [wanted.get(part) or own for part, own in zip(PARTS, process, strict=False)]
    own = wanted.get("level") or own_level
    file_type = wanted.get("filetype") or mount[2]
    return ":".join([*process[:3], own]), ":".join([wanted.get("user") or mount[0], mount[1], file_type, own])


def shared(label: str) -> str:
    """The file label with a level that every container may use."""
    return ":".join([*label.split(":", 3)[:3], SHARED_LEVEL])


def level_of(label: str) -> str:
    """The level of a label; empty where it has none."""
    return label.split(":", 3)[3] if label.count(":") >= 3 else ""


def check_relabel(path: str, home: str) -> None:
    """Refuse to relabel what the machine or the user's whole session needs. Raises ``RootlessError``."""
    if path in _SYSTEM or path == home.rstrip("/"):
        hint = "name a directory below it, or leave z and Z out and use --security-opt label=disable"
        raise RootlessError(f"cannot relabel {path} for SELinux: the system uses it", hint)


def relabel(path: str, label: str) -> None:
    """Give a file, or a directory with everything below it, the label; of symbolic links the links themselves.

    Every step is by descriptor: nothing that is swapped for a link meanwhile leads elsewhere. Raises ``OSError``, and
    ``RootlessError`` where directories are nested too deep.
    """
    value = label.encode() + b"\0"
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_mode & 0o170000 == 0o040000:
            _relabel_below(fd, value, _DEEPEST)
        _set(fd, value)
    finally:
        os.close(fd)


def _relabel_below(directory: int, value: bytes, levels: int) -> None:
    if not levels:
        raise RootlessError(f"cannot relabel for SELinux: directories are nested more than {_DEEPEST} deep")
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        names: Iterable[str] = os.listdir(listed)
    finally:
        os.close(listed)
    for name in names:
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            continue  # removed while we looked
        try:
            if os.fstat(fd).st_mode & 0o170000 == 0o040000:
                _relabel_below(fd, value, levels - 1)
            _set(fd, value)
        finally:
            os.close(fd)


def _set(fd: int, value: bytes) -> None:
    """Set the attribute of what an ``O_PATH`` descriptor stands for, which fsetxattr(2) would refuse."""
    name = f"/proc/self/fd/{fd}"
    try:
        if os.getxattr(name, _ATTRIBUTE) == value:
            return
    except OSError:
        pass
    os.setxattr(name, _ATTRIBUTE, value)
