"""From a Spec to a :class:`~rootless.init.plan.Plan`: every decision about a start, made without touching anything."""

from __future__ import annotations

from rootless.errors import RootlessError
from rootless.init import ops
from rootless.init.plan import Plan
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
from rootless.runtime import process as processes
from rootless.runtime import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.idmaps import IdMap
    from rootless.init.hooks import Hook
    from rootless.init.ops import Operation
    from rootless.runtime.spec import Device, Extras, Linux, Mount, Spec
    from storage.drivers.base import RootfsMount

_NAMESPACES = {
    "user": libc.CLONE_NEWUSER,
    "mount": libc.CLONE_NEWNS,
    "pid": libc.CLONE_NEWPID,
    "network": libc.CLONE_NEWNET,
    "ipc": libc.CLONE_NEWIPC,
    "uts": libc.CLONE_NEWUTS,
    "cgroup": libc.CLONE_NEWCGROUP,
    "time": libc.CLONE_NEWTIME,
}
_PROPAGATION = {
    "private": libc.MS_PRIVATE, "slave": libc.MS_SLAVE, "shared": libc.MS_SHARED, "unbindable": libc.MS_UNBINDABLE,
}  # fmt: skip
_SET = {
    "ro": MOUNT_ATTR_RDONLY, "nosuid": MOUNT_ATTR_NOSUID, "nodev": MOUNT_ATTR_NODEV, "noexec": MOUNT_ATTR_NOEXEC,
    "noatime": MOUNT_ATTR_NOATIME, "strictatime": MOUNT_ATTR_STRICTATIME, "nodiratime": MOUNT_ATTR_NODIRATIME,
    "nosymfollow": MOUNT_ATTR_NOSYMFOLLOW, "relatime": 0,
}  # fmt: skip
_CLEAR = {
    "rw": MOUNT_ATTR_RDONLY, "suid": MOUNT_ATTR_NOSUID, "dev": MOUNT_ATTR_NODEV, "exec": MOUNT_ATTR_NOEXEC,
    "diratime": MOUNT_ATTR_NODIRATIME, "symfollow": MOUNT_ATTR_NOSYMFOLLOW,
}  # fmt: skip
_ATIME = ("noatime", "strictatime", "relatime")
_IGNORED = frozenset(
    "defaults async sync dirsync mand nomand lazytime nolazytime iversion noiversion silent loud atime norelatime "
    "nostrictatime newinstance nofail auto noauto user nouser".split()
)
_DEVICES = (
    ("null", (1, 3)), ("zero", (1, 5)), ("full", (1, 7)), ("random", (1, 8)), ("urandom", (1, 9)), ("tty", (5, 0)),
)  # fmt: skip
_LINKS = [
    ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
]  # fmt: skip
_NAMES = ("kernel/hostname", "kernel/domainname")  # sysctls that only a call can set in a user namespace
_FILE_SYSTEMS = frozenset(("tmpfs", "devpts", "mqueue", "sysfs", "proc", "ramfs"))


class MountOptions:
    """The words of a mount's options: attributes to set and to clear, propagation, and the rest for the kernel."""

    __slots__ = ("bind", "clear", "copy_up", "data", "propagation", "recursive", "set")

    def __init__(self, words: list[str]) -> None:
        self.bind = self.recursive = self.copy_up = False
        self.set = self.clear = 0
        self.propagation = 0
        self.data: list[tuple[str, str | None]] = []
        for word in words:
            self._take(word)

    def _take(self, word: str) -> None:
        plain = word[1:] if word[:1] == "r" and word[1:] in (*_PROPAGATION, *_SET, *_CLEAR, "bind") else word
        if word in ("rw", "ro", "relatime"):
            plain = word
        if plain == "bind":
            self.bind = True
            self.recursive |= word == "rbind"
        elif plain in _SET:
            self.set |= _SET[plain]
            self.clear &= ~_SET[plain]
            if plain in _ATIME:
                self.clear |= MOUNT_ATTR_ATIME
        elif plain in _CLEAR:
            self.clear |= _CLEAR[plain]
            self.set &= ~_CLEAR[plain]
        elif plain in _PROPAGATION:
            self.propagation = _PROPAGATION[plain]
        elif word == "tmpcopyup":
            self.copy_up = True
        elif word not in _IGNORED:
            key, separator, value = word.partition("=")
            self.data.append((key, value if separator else None))


def mount_options() -> list[str]:
    """Every word in the options of a mount that has an effect, whatever the file system (OCI features.md)."""
    propagations = [f"r{word}" for word in _PROPAGATION]
    return sorted({"bind", "rbind", "tmpcopyup", *_PROPAGATION, *propagations, *_SET, *_CLEAR})


def compile(spec: Spec, rootfs: RootfsMount, idmap: IdMap, extras: Extras) -> Plan:  # noqa: A001
    """Decide everything about the start of ``spec``. Raises ``RootlessError`` for what cannot or must not be run."""
    validate.check(spec)
    process, linux = spec["process"], spec.get("linux", {})
    namespaces, joined = _namespaces(linux)
    terminal = extras.get("terminal", process.get("terminal", False))
    size = process.get("consoleSize")
    operations = _operations(spec, idmap, namespaces)
    if linux.get("mountLabel"):
        from rootless.runtime.labels import label_mounts

        rootfs = label_mounts(linux["mountLabel"], operations, rootfs)
    profile, label = processes.labels(process)
    sysctls = {validate.sysctl_path(key): value for key, value in linux.get("sysctl", {}).items()}
    return Plan(
        rootfs=rootfs,
        idmap=idmap,
        namespaces=namespaces,
        joined=joined,
        operations=operations,
        masked=linux.get("maskedPaths") or [],
        read_only_paths=linux.get("readonlyPaths") or [],
        root_read_only=spec.get("root", {}).get("readonly", False) or rootfs["readonly"],
        root_propagation=_root_propagation(linux),
        hostname=spec.get("hostname") or sysctls.get("kernel/hostname", ""),
        domainname=spec.get("domainname") or sysctls.get("kernel/domainname", ""),
        sysctls=[(path, value) for path, value in sysctls.items() if path not in _NAMES],
        arguments=process["args"],
        environment=processes.environment(process),
        cwd=process.get("cwd", "/"),
        make_cwd=extras.get("make_cwd", False),
        user=processes.user(process, extras),
        passwd_entry=extras.get("passwd_entry", False) and bool(extras.get("files_dir")),
        files_dir=extras.get("files_dir", ""),
        copy_up=list(extras.get("copy_up", [])),
        capabilities=processes.capabilities(process),
        no_new_privileges=process.get("noNewPrivileges", False),
        seccomp=processes.call_filter(linux, process, extras),
        apparmor=profile,
        selinux=label,
        limits=processes.limits(process),
        oom_score_adj=process.get("oomScoreAdj"),
        persona=processes.personality(linux),
        terminal=terminal,
        console_size=(size["height"], size["width"]) if size else (0, 0),
        reaper=extras.get("init_binary") == "reaper",
        preserve_fds=extras.get("preserve_fds", 0),
        cleanup=list(extras.get("cleanup", [])),
        fuse_overlayfs=extras.get("fuse_overlayfs") or rootfs.get("helper", ""),
        hooks=_hooks(spec),
    )


def _namespaces(linux: Linux) -> tuple[int, list[tuple[int, str]]]:
    """The namespaces to make, as flags, and those to join."""
    flags, joined = 0, []
    for namespace in linux.get("namespaces", []):
        kind, path = _NAMESPACES[namespace["type"]], namespace.get("path")
        if path:
            joined.append((kind, path))
        else:
            flags |= kind
    return flags, joined


def _root_propagation(linux: Linux) -> int:
    """Of / inside. Private needs no call: a new mount is; ``slave`` has no master to follow."""
    word = linux.get("rootfsPropagation", "").removeprefix("r")
    if word and word not in _PROPAGATION:
        raise RootlessError(f"cannot use the propagation {linux['rootfsPropagation']!r} for /")
    return _PROPAGATION[word] if word in ("shared", "unbindable") else 0


def _operations(spec: Spec, idmap: IdMap, namespaces: int) -> list[Operation]:
    found: list[Operation] = []
    devices = spec.get("linux", {}).get("devices", [])
    own_dev = True
    for mount in spec.get("mounts", []):
        operation = _mount(mount, idmap, namespaces)
        found.append(operation)
        if _normal(mount["destination"]) == "/dev":
            own_dev = isinstance(operation, ops.NewMount)
            if own_dev:
                found += _device_operations(devices)
                own_dev = False
    if own_dev:
        found += _device_operations(devices)
    return found


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _mount(mount: Mount, idmap: IdMap, namespaces: int) -> Operation:
    target = _normal(mount["destination"])
    kind = mount.get("type", "")
    options = MountOptions(mount.get("options") or [])
    if options.bind or kind in ("bind", "rbind", "none", ""):
        return _bind(mount, target, options)
    if kind == "cgroup" or kind == "cgroup2":
        return ops.Cgroup(target, options.set, bool(namespaces & libc.CLONE_NEWCGROUP))
    if kind == "overlay":
        return _overlay(target, options)
    if kind not in _FILE_SYSTEMS:
        raise RootlessError(f"cannot mount {target}: a user may not mount the file system type {kind!r}")
    if target == "/proc" or target.startswith("/proc/"):
        _check_proc(target, kind)
    data = options.data
    if kind == "devpts":
        # The group tty is 5 everywhere; without a range of ids it is not mapped.
        data = [(key, value) for key, value in data if key != "gid" or _mapped(idmap.host_gid, value)]
    return ops.NewMount(kind, target, data, options.set, options.copy_up)


def _overlay(target: str, options: MountOptions) -> Operation:
    """An overlay of directories of the host; the words are overlayfs's own (``lowerdir=``, topmost first)."""
    from rootless.init.overlay import Overlay

    data = dict(options.data)
    unknown = sorted(set(data) - {"lowerdir", "upperdir", "workdir", "userxattr"})
    if unknown or not data.get("lowerdir") or ("upperdir" in data) != ("workdir" in data):
        reason = f"unknown option {unknown[0]}" if unknown else "a directory is missing"
        raise RootlessError(f"cannot mount an overlay on {target}: {reason}")
    lower = split_paths(data["lowerdir"] or "")
    upper, work = (split_paths(data.get(key) or "")[0] for key in ("upperdir", "workdir"))
    return Overlay(target, lower, upper, work, options.set)


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


def _bind(mount: Mount, target: str, options: MountOptions) -> Operation:
    source = mount.get("source", "")
    if not source.startswith("/"):
        raise RootlessError(f"cannot bind {source!r} on {target}: it is not an absolute path")
    for key, _ in options.data:
        if key in ("idmap", "ridmap"):
            hint = "the kernel allows it to root only; use :U to change owners"
            raise RootlessError(f"cannot bind {source} with an id map", hint)
        if key not in ("z", "Z", "U", "nocopy", "copy", "upperdir", "workdir"):
            raise RootlessError(f"cannot bind {source} on {target}: unknown mount option {key!r}")
    if target == "/proc" and source != "/proc":
        _check_proc(target, "bind")
    return ops.Bind(
        source,
        target,
        recursive=options.recursive,
        restrict=options.set,
        relax=options.clear & ~MOUNT_ATTR_RDONLY,
        propagation=options.propagation or libc.MS_PRIVATE,
        optional=target == "/dev/mqueue",
    )


def _device_operations(devices: list[Device]) -> list[Operation]:
    """The devices that every container has (config-linux.md, "Default Devices"), the Spec's own, and the links."""
    found: list[Operation] = [ops.Device(f"/dev/{name}", f"/dev/{name}", "c", number) for name, number in _DEVICES]
    for device in devices:
        path, kind = _normal(device["path"]), device.get("type", "c")
        if kind not in ("c", "u", "b"):
            raise RootlessError(f"cannot make the device {path}: a user may not make one of the type {kind!r}")
        number = device.get("major", 0), device.get("minor", 0)
        if not any(isinstance(known, ops.Device) and known.target == path for known in found):
            found.append(ops.Device(path, path, "b" if kind == "b" else "c", number))
    found.append(ops.Links("/dev", _LINKS))
    return found


def _hooks(spec: Spec) -> dict[str, list[Hook]]:
    return {moment: hooks for moment, hooks in (spec.get("hooks") or {}).items() if hooks}
