"""From a Spec to a :class:`~rootless.init.plan.Plan`: every decision about a start, made without touching anything."""

from __future__ import annotations

from rootless.errors import RootlessError
from rootless.init.plan import Plan
from rootless.linux import libc
from rootless.runtime import mounts, validate
from rootless.runtime import process as processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.idmaps import IdMap
    from rootless.init.hooks import Hook
    from rootless.runtime.spec import Extras, Linux, Spec
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
_NAMES = ("kernel/hostname", "kernel/domainname")  # sysctls that only a call can set in a user namespace
_EVERY_ID = [(0, 0, 0xFFFFFFFF)]


def compile(spec: Spec, rootfs: RootfsMount, idmap: IdMap, extras: Extras) -> Plan:  # noqa: A001
    """Decide everything about the start of ``spec``. Raises ``RootlessError`` for what cannot or must not be run."""
    validate.check(spec)
    process, linux = spec["process"], spec.get("linux", {})
    namespaces, joined = _namespaces(linux)
    terminal = extras.get("terminal", process.get("terminal", False))
    size = process.get("consoleSize")
    root = idmap.uids == _EVERY_ID and not namespaces & libc.CLONE_NEWUSER
    operations = mounts.operations(spec.get("mounts") or [], linux.get("devices") or [], idmap, namespaces, root)
    if linux.get("mountLabel"):
        from rootless.runtime.labels import label_mounts

        rootfs = label_mounts(linux["mountLabel"], operations, rootfs)
    profile, label = processes.labels(process)
    call_filter = processes.call_filter(linux, process, extras)
    warnings: list[str] = []
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
        capabilities=processes.capabilities(process, warnings),
        no_new_privileges=process.get("noNewPrivileges", False),
        seccomp=call_filter,
        apparmor=profile,
        selinux=label,
        limits=processes.limits(process),
        oom_score_adj=process.get("oomScoreAdj"),
        persona=processes.personality(linux),
        terminal=terminal,
        console_size=(size["height"], size["width"]) if size else (0, 0),
        reaper=extras.get("init_binary") == "reaper",
        preserve_fds=extras.get("preserve_fds", 0),
        no_pivot=extras.get("no_pivot", False),
        keep_keyring=extras.get("keep_keyring", False),
        cleanup=list(extras.get("cleanup", [])),
        fuse_overlayfs=extras.get("fuse_overlayfs") or rootfs.get("helper", ""),
        hooks=_hooks(spec),
        attributes=processes.attributes(process),
        memory_policy=processes.memory_policy(linux),
        time_offsets=_time_offsets(linux),
        listener=processes.listener(linux, call_filter),
        net_devices=[(host, device.get("name") or host) for host, device in (linux.get("netDevices") or {}).items()],
        idmapped=any(getattr(operation, "idmap", None) for operation in operations),
        warnings=warnings,
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


def _time_offsets(linux: Linux) -> bytes:
    """The lines of /proc/PID/timens_offsets (time_namespaces(7))."""
    lines = [
        f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}\n"
        for clock, offset in (linux.get("timeOffsets") or {}).items()
    ]
    return "".join(lines).encode()


def _root_propagation(linux: Linux) -> tuple[int, bool]:
    """Of / inside, and whether of all below it too. Nothing: every mount is private unless its options say else."""
    text = linux.get("rootfsPropagation") or ""
    if not text:
        return 0, False
    recursive = text.startswith("r")
    word = text[recursive:]
    if word not in mounts.PROPAGATION:
        raise RootlessError(f"cannot use the propagation {text!r} for /", "it is one of [r]shared, slave, private…")
    # What is private by itself needs no call.
    return (0, False) if word == "private" else (mounts.PROPAGATION[word], recursive)


def _hooks(spec: Spec) -> dict[str, list[Hook]]:
    return {moment: hooks for moment, hooks in (spec.get("hooks") or {}).items() if hooks}
