"""Refusing a Spec that cannot or must not be run, before anything is made. Pure; raises ``RootlessError``."""

from __future__ import annotations

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.runtime.spec import Linux, Mount, Process, Spec

NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup", "time")
_LARGEST_ID = 0xFFFFFFFE
_IPC_SYSCTLS = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
_TYPES: tuple[tuple[str, type], ...] = (
    ("process", dict), ("root", dict), ("hostname", str), ("domainname", str), ("mounts", list), ("hooks", dict),
    ("annotations", dict), ("linux", dict),
)  # fmt: skip
_PROCESS: tuple[tuple[str, type], ...] = (
    ("terminal", bool), ("user", dict), ("cwd", str), ("capabilities", dict), ("rlimits", list),
    ("noNewPrivileges", bool), ("oomScoreAdj", int), ("apparmorProfile", str), ("selinuxLabel", str),
    ("consoleSize", dict),
)  # fmt: skip
_LINUX: tuple[tuple[str, type], ...] = (
    ("namespaces", list), ("uidMappings", list), ("gidMappings", list), ("devices", list), ("sysctl", dict),
    ("seccomp", dict), ("rootfsPropagation", str), ("mountLabel", str), ("personality", dict),
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
    for mount in spec.get("mounts", []):
        _mount(mount)
    _sysctls(linux.get("sysctl", {}), names)
    for key in ("maskedPaths", "readonlyPaths"):
        _strings(linux.get(key) or [], f"linux.{key}", absolute=True)
    if linux.get("mountLabel") or process.get("selinuxLabel"):
        _refuse("cannot apply an SELinux label: it is not supported yet", "run without a label")
    if process.get("apparmorProfile") not in (None, "", "unconfined"):
        _refuse("cannot apply an AppArmor profile: it is not supported yet", "run without a profile")


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
    return value


def _strings(values: object, where: str, *, absolute: bool = False) -> None:
    if not isinstance(values, list):
        _refuse(f"cannot read the Spec: {where} is not a list")
    for value in values:
        text = _text(value, where)
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
    cwd = _text(process.get("cwd", "/"), "process.cwd")
    if not cwd.startswith("/"):
        _refuse(f"cannot use the working directory {cwd!r}: it is not an absolute path")
    user = process.get("user", {})
    for key in ("uid", "gid"):
        _number(user.get(key, 0), f"process.user.{key}", _LARGEST_ID)
    for group in user.get("additionalGids") or []:
        _number(group, "process.user.additionalGids", _LARGEST_ID)
    if user.get("umask") is not None:
        _number(user["umask"], "process.user.umask", 0o777)
    for limit in process.get("rlimits") or []:
        if not isinstance(limit, dict):
            _refuse("cannot read the Spec: a limit is not an object")
        for part in ("soft", "hard"):
            _number(limit.get(part), f"{part} limit of {limit.get('type')}", (1 << 64) - 1)
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
        if path and not _text(path, "linux.namespaces").startswith("/"):
            _refuse(f"cannot join the namespace {path}: it is not an absolute path")
        names.add(name)
    if "mount" not in names:
        _refuse("cannot run a container in the host's mount namespace")
    return names


def _mount(mount: Mount) -> None:
    if not isinstance(mount, dict):
        _refuse("cannot read the Spec: a mount is not an object")
    destination = _text(mount.get("destination"), "mounts.destination")
    if not destination.startswith("/"):
        _refuse(f"cannot mount on {destination!r}: it is not an absolute path")
    if not destination.strip("/"):
        _refuse("cannot mount on /: the root file system is there")
    _text(mount.get("source", ""), "mounts.source")
    _text(mount.get("type", ""), "mounts.type")
    _strings(mount.get("options") or [], "mounts.options")


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
