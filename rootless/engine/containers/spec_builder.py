"""The OCI runtime Spec of a container (``config.json``) and what the launcher needs beside it.

``build`` is a pure function of the options, the image's configuration and the facts about the machine that it is
given: the same input makes the same Spec, which the snapshot tests compare. Nothing of an image reaches the Spec but
the command, the environment, the user, the working directory and the places of its volumes: no annotation, label, mount
option, capability or host path (CVE-2024-3154, CVE-2026-53488).
Source: OCI runtime-spec 1.2, config.md and config-linux.md.
"""

from __future__ import annotations

from rootless.engine.containers import mounts as mounting
from rootless.engine.containers import process as processes
from rootless.errors import UsageError
from rootless.security import capabilities, defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.containers.mounts import Mount
    from rootless.engine.options.run import RunOptions
    from rootless.idmaps import IdMap

OCI_VERSION = "1.2.0"
UNLIMITED = (1 << 64) - 1
RLIMITS = {"NOFILE": (1048576, 1048576), "NPROC": (4194304, 4194304)}
"""podman's default limits, lowered at the start to what the caller may give."""


class Facts:
    """What the Spec depends on beside options and image.

    ``environ``: the caller's environment. ``hostname``: the container's. ``files``: generated files, (path on the host,
    path in the container). ``mounts``: the user's mounts, resolved. ``devices``: mounts of the host's devices.
    ``keep_id_user``: ``uid:gid`` of the caller inside, with keep-id.
    """

    __slots__ = (
        "devices", "environ", "files", "hostname", "idmap", "keep_id_user", "mounts", "rootfs",
    )  # fmt: skip

    def __init__(
        self,
        *,
        idmap: IdMap,
        environ: Mapping[str, str],
        hostname: str,
        rootfs: str,
        files: Sequence[tuple[str, str]] = (),
        mounts: Sequence[Mount] = (),
        devices: Sequence[Mount] = (),
        keep_id_user: str = "",
    ) -> None:
        self.idmap = idmap
        self.environ = environ
        self.hostname = hostname
        self.rootfs = rootfs
        self.files = files
        self.mounts = mounts
        self.devices = devices
        self.keep_id_user = keep_id_user


def host_name(options: RunOptions, container_id: str, machine: str) -> str:
    """The container's host name: the one asked for, the machine's where that is shared, else the short id."""
    if options.hostname:
        return options.hostname
    return machine if options.network == "host" or options.uts == "host" else container_id[:12]


def private_namespaces(options: RunOptions) -> list[str]:
    """The namespaces that the container has of its own, in the Spec's words."""
    names = ["user", "mount"]
    names += ["pid"] if options.pid != "host" else []
    names += ["ipc"] if options.ipc != "host" else []
    names += ["uts"] if options.uts != "host" else []
    names += ["network"] if options.network != "host" else []
    names += ["cgroup"] if options.cgroupns != "host" else []
    return names


def build(
    options: RunOptions, config: Mapping[str, Any], arguments: Sequence[str], facts: Facts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(Spec, extras of ``runtime.plan.compile``) for a container of an image with the configuration ``config``."""
    entrypoint, command = processes.entrypoint_and_command(options, config, arguments)
    variables = processes.environment(options, config, facts.environ, facts.hostname)
    user = processes.user_text(options, config, facts.keep_id_user)
    security = options.security
    namespaces = private_namespaces(options)
    process: dict[str, Any] = {
        "terminal": options.tty,
        "user": {"uid": 0, "gid": 0, "umask": options.umask},
        "args": entrypoint + command,
        "env": [f"{key}={value}" for key, value in variables.items()],
        "cwd": processes.working_directory(options, config),
        "capabilities": capabilities.compute(
            options.cap_add, options.cap_drop, options.privileged, processes.is_root(user), options.hardened
        ),
        "rlimits": rlimits(options),
        "noNewPrivileges": _no_new_privileges(options, user),
    }
    linux: dict[str, Any] = {
        "namespaces": [{"type": namespace} for namespace in namespaces],
        "uidMappings": _mappings(facts.idmap.uids),
        "gidMappings": _mappings(facts.idmap.gids),
        "rootfsPropagation": _propagation(facts.mounts),
    }
    if options.oom_score_adj is not None:
        process["oomScoreAdj"] = options.oom_score_adj
    if options.resources:
        linux["resources"] = options.resources
    sysctls = _sysctls(options, namespaces, facts.idmap)
    if sysctls:
        linux["sysctl"] = sysctls
    mask, unmask = (security.mask, security.unmask) if security else ([], [])
    if security and "nested" in security.label:
        unmask = [*unmask, "/sys/fs/selinux"]
    # An engine inside mounts a procfs of its own, which the kernel allows only to who sees all of one already.
    if not options.privileged and not options.nested:
        linux["maskedPaths"] = defaults.masked_paths(mask, unmask)
        linux["readonlyPaths"] = defaults.readonly_paths(unmask)
    elif mask:
        linux["maskedPaths"] = mask
    base = mounting.default_mounts(
        options, map_size=sum(row[2] for row in facts.idmap.gids), cgroup="cgroup" in namespaces
    )
    own = [*mounting.file_mounts(facts.files, options.read_only), *facts.devices]
    mounts = mounting.combine(mounting.combine(base, own), list(facts.mounts))
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": facts.rootfs, "readonly": options.read_only},
        "mounts": mounts,
        "linux": linux,
    }
    if "uts" in namespaces:
        spec["hostname"] = facts.hostname
    if options.annotations:
        spec["annotations"] = options.annotations
    extras: dict[str, Any] = {
        "user": user,
        "groups": options.groups,
        "keep_groups": options.keep_groups,
        "make_cwd": not options.workdir,
        "passwd_entry": options.passwd,
        "init_binary": "reaper" if options.init else None,
        "preserve_fds": options.preserve_fds,
        "terminal": options.tty,
    }
    return spec, extras


def _sysctls(options: RunOptions, namespaces: Sequence[str], idmap: IdMap) -> dict[str, str]:
    """Those asked for, and ping without CAP_NET_RAW, which podman gives too. They are written through the container's
    own procfs, which it has with a pid namespace of its own.
    """
    own_proc = "pid" in namespaces
    found: dict[str, str] = {}
    if own_proc and "network" in namespaces and idmap.host_gid(0) is not None:
        found["net.ipv4.ping_group_range"] = "0 0"
    if options.sysctls:
        from rootless.engine.options.limits import parse_sysctls

        if not own_proc:
            raise UsageError("cannot set a sysctl together with --pid=host")
        found.update(parse_sysctls(options.sysctls, namespaces))
    return found


def _mappings(rows: Sequence[tuple[int, int, int]]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": length} for inside, outside, length in rows]


def _no_new_privileges(options: RunOptions, user: str) -> bool:
    wanted = options.security.no_new_privileges if options.security else None
    if wanted is not None:
        return wanted
    return options.hardened and not processes.is_root(user)


def _propagation(mounts: Sequence[Mount]) -> str:
    """``/`` inside must take part where a volume does (mount_namespaces(7), "SHARED SUBTREES")."""
    words = {option for mount in mounts for option in mount["options"]}
    if words & {"shared", "rshared"}:
        return "rshared"
    return "rslave" if words & {"slave", "rslave"} else "rprivate"


def rlimits(options: RunOptions) -> list[dict[str, Any]]:
    """The limits of the process: those asked for (``explicit``), else the usual ones, which the launcher may lower."""
    wanted = {} if options.ulimit_host else {f"RLIMIT_{name}": limit for name, limit in RLIMITS.items()}
    found: list[dict[str, Any]] = [
        {"type": name, "soft": soft, "hard": hard, "explicit": False}
        for name, (soft, hard) in wanted.items()
        if not any(limit["type"] == name for limit in options.rlimits)
    ]
    # "No limit" means as much as the caller may give; a number means that number.
    found += [{**limit, "explicit": limit["hard"] != UNLIMITED} for limit in options.rlimits]
    return found
