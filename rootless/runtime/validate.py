"""Refusing a Spec that cannot or must not be run, before anything is made. Pure; raises ``RootlessError``."""

from __future__ import annotations

from rootless.cgroups.resources import convert
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.init.hooks import Hook
    from rootless.runtime.spec import Device, Linux, Mount, NetDevice, Process, Spec

NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup", "time")
_LARGEST_ID = 0xFFFFFFFE
_LONGEST_TEXT, _LONGEST_PATH = (128 << 10) - 1, 4095  # MAX_ARG_STRLEN of execve(2), PATH_MAX
_IFNAMSIZ = 16
_ADD_TIME = 'add {"type": "time"} to linux.namespaces'
_IPC_SYSCTLS = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
_TYPES: tuple[tuple[str, type], ...] = (
    ("process", dict), ("root", dict), ("hostname", str), ("domainname", str), ("mounts", list), ("hooks", dict),
    ("annotations", dict), ("linux", dict),
)  # fmt: skip
# Objects of the specification that ask for something which this runtime cannot do. An unknown property, in contrast,
# must be passed over (config.md, "Extensibility").
_UNSUPPORTED: tuple[tuple[str, str], ...] = (
    ("linux.intelRdt", "Intel RDT"), ("vm", "a virtual machine"), ("windows", "Windows"), ("solaris", "Solaris"),
    ("freebsd", "FreeBSD"), ("zos", "z/OS"),
)  # fmt: skip
MOMENTS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_PROCESS: tuple[tuple[str, type], ...] = (
    ("terminal", bool), ("user", dict), ("cwd", str), ("capabilities", dict), ("rlimits", list),
    ("noNewPrivileges", bool), ("oomScoreAdj", int), ("apparmorProfile", str), ("selinuxLabel", str),
    ("consoleSize", dict), ("scheduler", dict), ("ioPriority", dict), ("execCPUAffinity", dict),
)  # fmt: skip
_LINUX: tuple[tuple[str, type], ...] = (
    ("namespaces", list), ("uidMappings", list), ("gidMappings", list), ("devices", list), ("sysctl", dict),
    ("seccomp", dict), ("rootfsPropagation", str), ("mountLabel", str),
    ("resources", dict), ("cgroupsPath", str), ("personality", dict), ("timeOffsets", dict),
    ("memoryPolicy", dict), ("netDevices", dict),
)  # fmt: skip


def check(spec: Spec) -> None:
    """Check types, forms and combinations of everything that the runtime reads."""
    _fields(spec, _TYPES, "config.json")
    version = spec.get("ociVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        _refuse(f"cannot run a Spec of ociVersion {version!r}", "this runtime knows versions 1.x")
    process = spec.get("process")
    if not process:
        _refuse("cannot run a Spec without a process")
    _process(process)
    linux = spec.get("linux", {})
    _fields(linux, _LINUX, "linux")
    names = _namespaces(linux)
    for name in ("hostname", "domainname"):
        value = spec.get(name)
        if value:
            _text(value, name)
            if "uts" not in names:
                _refuse(f"cannot set the {name} {value!r} in the host's UTS namespace", "use a private UTS namespace")
            if len(str(value)) > 64:
                _refuse(f"cannot set the {name}: it is longer than 64 characters")
    for mount in spec.get("mounts") or []:
        _mount(mount)
    for device in linux.get("devices") or []:
        _device(device)
    _annotations(spec.get("annotations") or {})
    if linux.get("timeOffsets"):
        _time_offsets(linux)
    if linux.get("netDevices"):
        _net_devices(linux["netDevices"], names)
    _sysctls(linux.get("sysctl", {}), names)
    _path(linux.get("cgroupsPath") or "", "linux.cgroupsPath")
    for key in ("maskedPaths", "readonlyPaths"):
        _strings(linux.get(key) or [], f"linux.{key}", absolute=True)
    _hooks(spec.get("hooks") or {})
    _unsupported(spec)


def _refuse(message: str, hint: str = "") -> NoReturn:
    raise RootlessError(message, hint=hint)


def _fields(value: object, fields: tuple[tuple[str, type], ...], where: str) -> None:
    if not isinstance(value, dict):
        _refuse(f"cannot read the Spec: {where} is not an object")
    for name, kind in fields:
        found = value.get(name)
        if found is not None and (not isinstance(found, kind) or (kind is int and isinstance(found, bool))):
            _refuse(f"cannot read the Spec: {name} in {where} is not of the type {kind.__name__}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        _refuse(f"cannot read the Spec: {where} is not a string")
    if "\0" in value:
        _refuse(f"cannot use a NUL character in {where}")
    if len(value) > _LONGEST_TEXT:
        _refuse(f"cannot use a text of {len(value)} characters in {where}", f"the kernel takes {_LONGEST_TEXT}")
    return value


def _path(value: object, where: str) -> str:
    text = _text(value, where)
    if len(text) > _LONGEST_PATH:
        _refuse(f"cannot use a path of {len(text)} characters in {where}", f"the kernel takes {_LONGEST_PATH}")
    return text


def _strings(values: object, where: str, *, absolute: bool = False) -> None:
    if not isinstance(values, list):
        _refuse(f"cannot read the Spec: {where} is not a list")
    for value in values:
        text = _path(value, where) if absolute else _text(value, where)
        if absolute and not text.startswith("/"):
            _refuse(f"cannot use {text!r} in {where}: it is not an absolute path")


def _number(value: object, where: str, largest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        _refuse(f"cannot use {value!r} as {where}")


def _process(process: Process) -> None:
    _fields(process, _PROCESS, "process")
    arguments = process.get("args")
    if not arguments:
        _refuse("cannot start a container without a command", "name one, or use an image that has one")
    _strings(arguments, "process.args")
    _strings(process.get("env", []), "process.env")
    cwd = _path(process.get("cwd"), "process.cwd")
    if not cwd.startswith("/"):
        _refuse(f"cannot use the working directory {cwd!r}: it is not an absolute path")
    user = process.get("user", {})
    for key in ("uid", "gid"):
        _number(user.get(key, 0), f"process.user.{key}", _LARGEST_ID)
    for group in user.get("additionalGids") or []:
        _number(group, "process.user.additionalGids", _LARGEST_ID)
    if user.get("umask") is not None:
        _number(user["umask"], "process.user.umask", 0o777)
    limited: set[str] = set()
    for limit in process.get("rlimits") or []:
        if not isinstance(limit, dict) or not isinstance(limit.get("type"), str):
            _refuse("cannot read the Spec: a limit is not an object with a type")
        if limit["type"] in limited:
            _refuse(f"cannot set the limit {limit['type']} twice")
        limited.add(limit["type"])
        for part in ("soft", "hard"):
            _number(limit.get(part), f"{part} limit of {limit.get('type')}", (1 << 64) - 1)
    size: dict[str, int] | None = process.get("consoleSize")  # type: ignore[assignment]
    for part in ("height", "width") if size else ():
        _number(size and size.get(part), f"{part} of process.consoleSize", 0xFFFF)
    sets = process.get("capabilities") or {}
    for kind, listed in sets.items():
        _strings(listed or [], f"process.capabilities.{kind}")
    score = process.get("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        _refuse(f"cannot use {score} as oomScoreAdj", "it is a number from -1000 to 1000")


def _namespaces(linux: Linux) -> set[str]:
    names: set[str] = set()
    for namespace in linux.get("namespaces", []):
        name = namespace.get("type") if isinstance(namespace, dict) else None
        if name not in NAMESPACES:
            _refuse(f"cannot use a namespace of the type {name!r}")
        if name in names:
            _refuse(f"cannot use two namespaces of the type {name}")
        path = namespace.get("path")
        if path and not _path(path, "linux.namespaces").startswith("/"):
            _refuse(f"cannot join the namespace {path}: it is not an absolute path")
        names.add(name)
    if "mount" not in names:
        _refuse("cannot run a container in the host's mount namespace")
    return names


def _mount(mount: Mount) -> None:
    if not isinstance(mount, dict):
        _refuse("cannot read the Spec: a mount is not an object")
    destination = _path(mount.get("destination"), "mounts.destination")
    if not destination.strip("/."):
        _refuse(f"cannot mount on {destination!r}: the root file system is there")
    for key in ("source", "beneath"):
        _path(mount.get(key, ""), f"mounts.{key}")
    _text(mount.get("type", ""), "mounts.type")
    _strings(mount.get("options") or [], "mounts.options")
    if bool(mount.get("uidMappings")) != bool(mount.get("gidMappings")):
        _refuse(f"cannot mount {destination} with an id map: it needs both uidMappings and gidMappings")


def _device(device: Device) -> None:
    if not isinstance(device, dict):
        _refuse("cannot read the Spec: a device is not an object")
    path, kind = _path(device.get("path"), "linux.devices.path"), device.get("type")
    if not path.startswith("/") or path.endswith("/"):
        _refuse(f"cannot make the device {path!r}: it is not an absolute path")
    if kind not in ("c", "b", "u", "p"):
        _refuse(f"cannot make the device {path}: there is no type {kind!r}", "it is one of c, b, u, p")
    for part, largest in (("major", 0xFFF), ("minor", 0xFFFFF)) if kind != "p" else ():
        _number(device.get(part), f"{part} number of {path}", largest)
    for part, largest in (("fileMode", 0xFFFF), ("uid", _LARGEST_ID), ("gid", _LARGEST_ID)):
        if device.get(part) is not None:
            _number(device[part], f"{part} of {path}", largest)  # type: ignore[literal-required]


def _annotations(annotations: dict[str, str]) -> None:
    for key, value in annotations.items():
        if not key or not isinstance(value, str):
            _refuse(f"cannot use the annotation {key[:80]!r}: it needs a name and a text")


def _time_offsets(linux: Linux) -> None:
    own = any(namespace["type"] == "time" and not namespace.get("path") for namespace in linux.get("namespaces", []))
    if not own:
        _refuse("cannot set linux.timeOffsets without a time namespace of the container's own", _ADD_TIME)
    for clock, offset in linux["timeOffsets"].items():
        if clock not in ("monotonic", "boottime"):
            _refuse(f"cannot set an offset of the clock {clock[:80]!r}", "it is monotonic or boottime")
        _fields(offset, (("secs", int), ("nanosecs", int)), f"timeOffsets.{clock}")
        if abs(offset.get("secs") or 0) >= 1 << 63:
            _refuse(f"cannot use {offset['secs']} as secs of {clock}")
        _number(offset.get("nanosecs") or 0, f"nanosecs of {clock}", 999_999_999)


def _net_devices(devices: dict[str, NetDevice], names: set[str]) -> None:
    if "network" not in names:
        hint = 'add {"type": "network"} to linux.namespaces'
        _refuse("cannot move network devices without a network namespace", hint)
    taken: set[str] = set()
    for host, device in devices.items():
        if not isinstance(device, dict):
            _refuse(f"cannot read the Spec: linux.netDevices.{host} is not an object")
        name = _text(device.get("name") or host, "linux.netDevices")
        for text in (host, name):
            plain = 0 < len(text.encode()) < _IFNAMSIZ and text not in (".", "..")
            if not plain or any(character in "/:" or character.isspace() for character in text):
                _refuse(f"cannot move the network device {text[:80]!r}: that is no name of one")
        if name in taken:
            _refuse(f"cannot move two network devices to the name {name}")
        taken.add(name)


def _unsupported(spec: Spec) -> None:
    for place, what in _UNSUPPORTED:
        found: object = spec
        for part in place.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found:
            _refuse(f"cannot apply {place}: {what} is not supported", f"leave {place} out of config.json")
    _resources(spec)


def _resources(spec: Spec) -> None:
    """Refuse limits that are no such, or that control groups of version 2 do not have (rootless.cgroups.resources).

    Rules for devices hold by themselves where no node can be made.
    """
    linux = spec.get("linux", {})
    resources = linux.get("resources") or {}
    if resources:
        convert(resources)
        if resources.get("devices"):
            from rootless.cgroups import devices

            devices.parse(resources["devices"])


def _hooks(hooks: dict[str, list[Hook]]) -> None:
    for moment in MOMENTS:
        listed = hooks.get(moment) or []
        if not isinstance(listed, list) or not all(isinstance(hook, dict) for hook in listed):
            _refuse(f"cannot read the Spec: hooks.{moment} is not a list of objects")
        for hook in listed:
            if not _path(hook.get("path"), f"hooks.{moment}.path").startswith("/"):
                _refuse(f"cannot run the {moment} hook {hook['path']}: it is not an absolute path")
            for part in ("args", "env"):
                _strings(hook.get(part) or [], f"hooks.{moment}.{part}")
            if hook.get("timeout") is not None:
                _number(hook["timeout"], f"timeout of the {moment} hook {hook['path']}", 1 << 31)
                if not hook["timeout"]:
                    _refuse(f"cannot run the {moment} hook {hook['path']}: its timeout is 0", "leave it out for none")


def _sysctls(sysctls: dict[str, str], names: set[str]) -> None:
    for key, value in sysctls.items():
        _text(value, f"the sysctl {key}")
        sysctl_path(key)
        if "\n" in value:
            _refuse(f"cannot set the sysctl {key}: its value has more than one line")
        dotted = key.replace("/", ".") if "/" in key.split(".")[0] else key
        if dotted.startswith("net."):
            needed = "network"
        elif dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
            needed = "ipc"
        elif dotted in ("kernel.hostname", "kernel.domainname"):
            needed = "uts"
        else:
            hint = "only those of the network, IPC and UTS namespaces are a container's own"
            _refuse(f"cannot set the sysctl {key}: it is the whole machine's", hint)
        if needed not in names:
            hint = f"use a private {needed} namespace"
            _refuse(f"cannot set the sysctl {key} in the host's {needed} namespace", hint)


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a sysctl written ``a.b.c`` or ``a/b/c`` (then dots are part of names; sysctl(8))."""
    dot, slash = key.find("."), key.find("/")
    path = key if slash >= 0 and (dot < 0 or slash < dot) else key.translate({46: 47, 47: 46})
    parts = path.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) or not all(_plain(part) for part in parts):
        _refuse(f"cannot set the sysctl {key!r}: it is not the name of one")
    return path


def _plain(part: str) -> bool:
    return all(character.isascii() and (character.isalnum() or character in "_-.:@") for character in part)
