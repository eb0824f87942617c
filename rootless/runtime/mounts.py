"""From the entries of ``mounts`` and ``linux.devices`` of a Spec to operations of the plan. Pure.

Source of the options: OCI runtime-spec 1.3, config.md, "Linux mount options"; mount(8), mount_setattr(2).
"""

from __future__ import annotations

from rootless.errors import RootlessError
from rootless.init import devices, ops
from rootless.linux import libc
from rootless.linux.mountapi import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.idmaps import IdMap, Row
    from rootless.init.ops import Operation, Setting
    from rootless.runtime.spec import Device, Mount

PROPAGATION = {
    "private": libc.MS_PRIVATE, "slave": libc.MS_SLAVE, "shared": libc.MS_SHARED, "unbindable": libc.MS_UNBINDABLE,
}  # fmt: skip
# A word sets the first attributes and clears the second. Relative access times are the kernel's default and have no
# attribute: whatever takes another choice back clears all of them.
_ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, 0), "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0), "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0), "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0), "exec": (0, MOUNT_ATTR_NOEXEC),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME), "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME),
    "relatime": (0, MOUNT_ATTR_ATIME), "atime": (0, MOUNT_ATTR_ATIME),
    "norelatime": (0, MOUNT_ATTR_ATIME), "nostrictatime": (0, MOUNT_ATTR_ATIME),
}  # fmt: skip
# Of a file system as a whole, so of a new one or a remount; the second form takes the first back.
_SUPERBLOCK = {"sync": "async", "dirsync": "", "lazytime": "nolazytime", "mand": "nomand"}
_OPPOSITES = {back: word for word, back in _SUPERBLOCK.items() if back}
# Words without an effect that a mount call could have: the kernel's messages, its own choice of a version counter, what
# concerns mount(8) alone, and the default of devpts.
_WITHOUT_CALL = frozenset("defaults iversion noiversion silent loud newinstance nofail auto noauto user nouser".split())
_IDMAPS = ("idmap", "ridmap")
_ENGINE_WORDS = ("z", "Z", "U", "nocopy", "copy", "upperdir", "workdir")
# File systems that a user may mount, and those whose instances share one superblock or need to be written first.
_FILE_SYSTEMS = frozenset(("tmpfs", "devpts", "mqueue", "sysfs", "proc", "ramfs", "bpf", "binfmt_misc"))
_DEVICES = (
    ("null", (1, 3)), ("zero", (1, 5)), ("full", (1, 7)), ("random", (1, 8)), ("urandom", (1, 9)), ("tty", (5, 0)),
)  # fmt: skip
_LINKS = [
    ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
]  # fmt: skip
_LARGEST_ID = 0xFFFFFFFE


class MountOptions:
    """The words of a mount's options.

    ``set`` and ``clear`` are attributes of the mount itself, ``all_set`` and ``all_clear`` of those below it too;
    ``flags`` the words for the whole file system, ``data`` the rest, which is for the file system to understand.
    """

    __slots__ = (
        "all_clear", "all_set", "bind", "clear", "copy_up", "data", "flags", "idmap", "propagation", "recursive",
        "remount", "set",
    )  # fmt: skip

    def __init__(self, words: list[str]) -> None:
        self.bind = self.recursive = self.copy_up = self.remount = False
        self.set = self.clear = self.all_set = self.all_clear = 0
        self.idmap: tuple[str, str] = ("", "")
        self.propagation: list[tuple[int, bool]] = []
        self.flags: list[str] = []
        self.data: list[tuple[str, str | None]] = []
        for word in words:
            self._take(word)

    def _take(self, word: str) -> None:
        rest = word[1:] if word[:1] == "r" else ""
        if word in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word]
            self.set, self.clear = self.set & ~off | on, self.clear & ~on | off
        elif rest in _ATTRIBUTES:
            on, off = _ATTRIBUTES[rest]
            self.all_set, self.all_clear = self.all_set & ~off | on, self.all_clear & ~on | off
        elif word in ("bind", "rbind"):
            self.bind = True
            self.recursive |= word == "rbind"
        elif word in PROPAGATION:
            self.propagation.append((PROPAGATION[word], False))
        elif rest in PROPAGATION:
            self.propagation.append((PROPAGATION[rest], True))
        elif word in _SUPERBLOCK or word in _OPPOSITES:
            back = _SUPERBLOCK.get(word) or _OPPOSITES.get(word, "")
            self.flags = [flag for flag in self.flags if flag not in (word, back)] + [word]
        elif word == "tmpcopyup":
            self.copy_up = True
        elif word == "remount":
            self.remount = True
        elif word.partition("=")[0] in _IDMAPS:
            self.idmap = word.partition("=")[0], word.partition("=")[2]
        elif word not in _WITHOUT_CALL:
            key, separator, value = word.partition("=")
            self.data.append((key, value if separator else None))

    def settings(self, propagation: int = 0) -> list[Setting]:
        """What to do to a mount, in order. Its propagation is ``propagation`` unless the options name another."""
        found: list[Setting] = []
        if self.propagation:
            propagation = 0
        if propagation or self.all_set or self.all_clear:
            found.append((self.all_set, self.all_clear, propagation, True))
        if self.set or self.clear:
            found.append((self.set, self.clear, 0, False))
        return found + [(0, 0, kind, recursive) for kind, recursive in self.propagation]


def mount_options() -> list[str]:
    """Every word in the options of a mount that is understood, whatever the file system (OCI features.md)."""
    plain = {*PROPAGATION, *_ATTRIBUTES}
    host = {"auto", "noauto", "nofail", "user", "nouser", "newinstance"}
    words = {*plain, *(f"r{word}" for word in plain), *_SUPERBLOCK, *_OPPOSITES, *_IDMAPS, *(_WITHOUT_CALL - host)}
    return sorted(words | {"bind", "rbind", "remount", "tmpcopyup"})


def operations(
    mounts: list[Mount], devices: list[Device], idmap: IdMap, namespaces: int, root: bool
) -> list[Operation]:
    """The operations that build the container's view. ``root``: the caller is root of the machine, and stays it."""
    found: list[Operation] = []
    named = {normal(device["path"]): device for device in devices}
    unmade = True
    for mount in mounts:
        operation = _mount(mount, idmap, namespaces, root)
        found.append(operation)
        if normal(mount["destination"]) == "/dev" and not isinstance(operation, ops.Remount):
            if not isinstance(operation, ops.NewMount):
                # A /dev of the host's has what it has; nothing is added there.
                named = {path: device for path, device in named.items() if not path.startswith("/dev/")}
            elif unmade:
                found += _default_devices(named, root)
            unmade = False
    if unmade:
        found += _default_devices(named, root)
    return found + [_device(path, device, root) for path, device in named.items()]


def normal(path: str) -> str:
    """The path, absolute and without ``.``, ``..`` and double slashes; a relative one starts at the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _mount(mount: Mount, idmap: IdMap, namespaces: int, root: bool) -> Operation:
    target = normal(mount["destination"])
    kind = mount.get("type", "")
    options = MountOptions(mount.get("options") or [])
    if options.remount:
        return _remount(target, options)
    if options.bind or kind in ("bind", "rbind", "none", ""):
        options.recursive |= kind == "rbind"
        return _bind(mount, target, options, idmap, bool(namespaces & libc.CLONE_NEWUSER))
    if options.idmap[0] or mount.get("uidMappings") or mount.get("gidMappings"):
        raise RootlessError(f"cannot mount {target} with an id map: only a bind mount can have one")
    attributes = options.set | options.all_set
    if kind in ("cgroup", "cgroup2"):
        return ops.Cgroup(target, attributes, bool(namespaces & libc.CLONE_NEWCGROUP))
    if kind == "overlay":
        return _overlay(mount, target, options)
    if kind not in _FILE_SYSTEMS and not root:
        raise RootlessError(f"cannot mount {target}: a user may not mount the file system type {kind!r}")
    if target == "/proc" or target.startswith("/proc/"):
        _check_proc(target, kind)
    data = options.data + [(word, None) for word in options.flags]
    if kind == "devpts":
        # The group tty is 5 everywhere; without a range of ids it is not mapped.
        data = [(key, value) for key, value in data if key != "gid" or _mapped(idmap.host_gid, value)]
    if kind not in _FILE_SYSTEMS and attributes & MOUNT_ATTR_RDONLY:
        # Some file systems can only be mounted so as a whole, and others would write to their device.
        data.append(("ro", None))
    return ops.NewMount(
        kind, target, data, attributes, options.copy_up, mount.get("source", ""), options.propagation
    )


def _remount(target: str, options: MountOptions) -> Operation:
    """A change of what is mounted already: of the mount alone with ``bind``, else of the file system too."""
    data = [*options.data, *((word, None) for word in options.flags)]
    if options.bind and data:
        raise RootlessError(f"cannot remount {target}: {data[0][0]!r} is not an option of a bind mount")
    return ops.Remount(target, options.settings(), None if options.bind else data)


def _overlay(mount: Mount, target: str, options: MountOptions) -> Operation:
    """An overlay of directories of the host; the words are overlayfs's own (``lowerdir=``, topmost first)."""
    from rootless.init.overlay import Overlay

    data = dict(options.data)
    unknown = sorted(set(data) - {"lowerdir", "upperdir", "workdir", "userxattr"})
    if unknown or not data.get("lowerdir") or ("upperdir" in data) != ("workdir" in data):
        reason = f"unknown option {unknown[0]}" if unknown else "a directory is missing"
        raise RootlessError(f"cannot mount an overlay on {target}: {reason}")
    lower = split_paths(data["lowerdir"] or "")
    upper, work = (split_paths(data.get(key) or "")[0] for key in ("upperdir", "workdir"))
    return Overlay(target, lower, upper, work, options.set | options.all_set, mount.get("beneath", ""))


def split_paths(text: str) -> list[str]:
    """The paths of ``lowerdir=``: separated by colons; a backslash takes its meaning from the next character."""
    paths = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            paths[-1] += next(characters, "")
        elif character == ":":
            paths.append("")
        else:
            paths[-1] += character
    return paths


def _mapped(host: object, value: str | None) -> bool:
    return callable(host) and value is not None and value.isdigit() and host(int(value)) is not None


def _check_proc(target: str, kind: str) -> None:
    if target == "/proc" and kind == "proc":
        return
    raise RootlessError(f"cannot mount on {target}: it is inside /proc", hint="choose another destination")


def _bind(mount: Mount, target: str, options: MountOptions, idmap: IdMap, own_users: bool) -> Operation:
    source = mount.get("source", "")
    if not source.startswith("/"):
        raise RootlessError(f"cannot bind {source!r} on {target}: it is not an absolute path")
    for key, _ in options.data:
        if key not in _ENGINE_WORDS:
            raise RootlessError(f"cannot bind {source} on {target}: unknown mount option {key!r}")
    if target == "/proc" and source != "/proc":
        _check_proc(target, "bind")
    bind = ops.Bind(
        source,
        target,
        recursive=options.recursive,
        settings=options.settings(libc.MS_PRIVATE),
        optional=target == "/dev/mqueue",
        beneath=mount.get("beneath", ""),
    )
    if options.idmap[0] or mount.get("uidMappings") or mount.get("gidMappings"):
        bind.idmap = _mount_map(mount, target, options, idmap, own_users)
        bind.map_all = options.idmap[0] == "ridmap"
    if options.flags:
        bind.note = f"{' '.join(options.flags)} of {target}: left out, an option of the whole file system of the host"
    return bind


def _mount_map(
    mount: Mount, target: str, options: MountOptions, idmap: IdMap, own_users: bool
) -> tuple[list[Row], list[Row]]:
    """The rows (stored, shown, length) of users and groups for a mount with an id map; without any the container's."""
    if options.idmap[1]:
        return _words_map(options.idmap[1], target)
    uids, gids = mount.get("uidMappings") or [], mount.get("gidMappings") or []
    if uids or gids:
        return rows(uids, "mounts.uidMappings"), rows(gids, "mounts.gidMappings")
    if not own_users:
        hint = "give the mount uidMappings and gidMappings"
        raise RootlessError(f"cannot mount {target} with the container's id map: it has no user namespace", hint)
    return idmap.uids, idmap.gids


def _words_map(text: str, target: str) -> tuple[list[Row], list[Row]]:
    """The maps of ``idmap=uids=0-1000-1#1-2000-10;gids=…``: inside, outside and length, as podman writes them."""
    found: dict[str, list[Row]] = {"uids": [], "gids": []}
    for part in text.split(";"):
        kind, _, listed = part.partition("=")
        for row in listed.split("#"):
            numbers = row.split("-")
            if kind not in found or len(numbers) != 3 or not all(word.isdigit() for word in numbers):
                hint = "write idmap=uids=INSIDE-OUTSIDE-LENGTH#…;gids=…"
                raise RootlessError(f"cannot mount {target} with the id map {text[:80]!r}", hint)
            inside, outside, length = map(int, numbers)
            found[kind].append((inside, outside, length))
    return found["uids"], found["gids"]


def rows(mappings: object, where: str) -> list[Row]:
    """Rows (inside, outside, length) of a list of mappings of the Spec. Raises ``RootlessError``."""
    if not isinstance(mappings, list):
        raise RootlessError(f"cannot read the Spec: {where} is not a list")
    found = []
    for mapping in mappings:
        row = tuple(mapping.get(key) for key in ("containerID", "hostID", "size")) if isinstance(mapping, dict) else ()
        numbers = [value for value in row if isinstance(value, int) and not isinstance(value, bool)]
        if len(numbers) != 3:
            raise RootlessError(f"cannot read the Spec: a row of {where} lacks containerID, hostID or size")
        found.append((numbers[0], numbers[1], numbers[2]))
    return found


def _default_devices(named: dict[str, Device], root: bool) -> list[Operation]:
    """The devices that every container has (config-linux.md, "Default Devices"), and the links.

    Those that the Spec names itself are taken out of ``named`` and made as it says. Not so /dev/ptmx: callers that hand
    on all devices of the host name it, but it opens terminals of the host, and the container has its own.
    """
    named.pop("/dev/ptmx", None)
    found: list[Operation] = []
    for name, number in _DEVICES:
        path = f"/dev/{name}"
        if path in named:
            found.append(_device(path, named.pop(path), root))
        else:
            found.append(devices.Node(path, "c", number, 0o666) if root else devices.Device(path, path, "c", number))
    found.append(devices.Links("/dev", _LINKS))
    return found


def _device(path: str, device: Device, root: bool) -> Operation:
    """A device by a node of the container's own where one can be made, else by that of the host."""
    kind, number = device["type"], (device.get("major", 0), device.get("minor", 0))
    if kind == "p" or root:
        mode, uid, gid = device.get("fileMode"), device.get("uid") or 0, device.get("gid") or 0
        return devices.Node(path, kind, number, 0o666 if mode is None else mode & 0o7777, uid, gid)
    return devices.Device(path, path, "b" if kind == "b" else "c", number)
