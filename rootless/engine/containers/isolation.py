"""The lines of `rootless.engine.isolation` for a container: as it would get them now, and as it has them."""

from __future__ import annotations

from rootless.cgroups.devices import is_in_user_namespace
from rootless.engine import isolation
from rootless.engine.containers import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.cgroups.manager import Location
    from rootless.engine.containers.status import Status
    from rootless.engine.context import Engine
    from rootless.engine.isolation import Line, Lines
    from rootless.engine.options.run import RunOptions
    from rootless.network import Network

    Object = dict[str, Any]


def expected(engine: Engine, options: RunOptions, name: str = "") -> Lines:
    """What a container with these options would get now; nothing is made for it. ``name``: of the image or directory.

    Raises RootlessError for what is asked for by name and cannot be had.
    """
    from rootless import network as networks
    from rootless.cgroups import manager
    from rootless.engine.containers import cgroup, idmap, record, rootfs
    from rootless.engine.containers import resources as limits

    ids = idmap.container_map(options.userns, engine.idmap)
    layered = not options.rootfs or name.endswith(":O")
    driver = rootfs.driver_for(engine, ids) if layered else None
    network = networks.choose(options.network)
    wanted = {"cgroups": options.cgroups, "cgroup_parent": options.cgroup_parent, "resources": options.resources}
    location = manager.choose(cgroup.wished(engine, "check", wanted, {}))
    facts: Object = {
        "driver": driver.name if driver else "",
        "driver_why": driver.why if driver else "",
        "network": options.network,
        "userns": options.userns.mode if options.userns is not None else "",
        "seccomp": record.seccomp(options),
        "security": record.security(options),
        "options": {key: getattr(options, key) for key in ("privileged", "nested", "hardened", "pid", "ipc")},
    }
    profile, profile_why = _profile(facts)
    label, label_why = _label(facts)
    return _lines(facts, ids.uids, ids.gids, network, limits.located(wanted, location)) | {
        "LSM": isolation.lsm(profile, label, profile_why, label_why, less=_goes_without(facts, profile, label)),
    }


def planned(record: Object, spec: Object, network: Network, location: Location) -> Lines:
    """What a container that was made before gets if it is started now."""
    return _lines(record, *_rows(spec), network, resources.located(record["options"], location)) | {
        "LSM": _of_spec(record, spec)
    }


def shown(record: Object, spec: Object, current: Status) -> Lines:
    """What a container has, or has had when it ran last; of its control group, while it runs."""
    from rootless.network import Network

    network = Network(record.get("network_helper") or "pasta")
    network.why = record.get("network_why", "")
    return _lines(record, *_rows(spec), network, resources.isolation(record.get("options", {}), current)) | {
        "LSM": _of_spec(record, spec)
    }


def _lines(facts: Object, uids: Any, gids: Any, network: Network, cgroup: Line) -> Lines:
    options = facts.get("options", {})
    return {
        "UserIDs": isolation.user_ids(uids, gids, facts.get("userns", ""), nested=is_in_user_namespace()),
        "RootFS": isolation.root_fs(facts.get("driver", ""), facts.get("driver_why", "")),
        "Network": isolation.network(facts["network"], network.kind, network.why),
        "Cgroup": cgroup,
        "Seccomp": isolation.seccomp(
            facts.get("seccomp", "default"),
            hardened=bool(options.get("hardened")),
            privileged=bool(options.get("privileged")),
        ),
    }


def _rows(spec: Object) -> tuple[Any, Any]:
    linux = spec.get("linux", {})

    def rows(key: str) -> list[tuple[int, int, int]]:
        return [(row["containerID"], row["hostID"], row["size"]) for row in linux.get(key, [])]

    return rows("uidMappings"), rows("gidMappings")


def _profile(facts: Object) -> tuple[str, str]:
    """The AppArmor profile to expect, and why. Raises RootlessError for one that cannot be had."""
    from rootless.engine.containers import labels
    from rootless.security import apparmor

    profile, why = labels.profile(facts)
    return ("" if profile == apparmor.UNCONFINED else profile), why


def _label(facts: Object) -> tuple[str, str]:
    """The SELinux label to expect, without the categories, and why."""
    from rootless.engine.containers import labels
    from rootless.security import selinux

    why = "" if selinux.enabled() else "this machine has no SELinux"
    why = why or labels.unlabelled(facts)
    if why:
        return "", why
    process, files = selinux.contexts()
    if process and selinux.valid(process) and selinux.valid(files):
        return process, "the default, with categories of its own"
    return "", "the policy has no label for containers"


def _of_spec(record: Object, spec: Object) -> Line:
    """By what the container's Spec says, from the last start."""
    process, security = spec.get("process", {}), record.get("security") or {}
    profile, label = process.get("apparmorProfile", ""), process.get("selinuxLabel", "")
    profile = "" if profile == "unconfined" else profile
    profile_why, label_why = _profile_why(record, profile), _label_why(record, label)
    asked = {part: value for part, value in security.get("label", {}).items() if value}
    if label and asked:
        label_why = " ".join(f"--security-opt label={part}:{value}" for part, value in asked.items())
    return isolation.lsm(profile, label, profile_why, label_why, less=_goes_without(record, profile, label))


def _profile_why(record: Object, profile: str) -> str:
    from rootless.security import apparmor

    asked = (record.get("security") or {}).get("apparmor", "")
    if asked:
        return f"--security-opt apparmor={asked}"
    for flag in ("privileged", "nested"):
        if record.get("options", {}).get(flag):
            return f"--{flag}"
    if profile:
        return "the default"
    return "no profile for containers was loaded" if apparmor.enabled() else "this machine has no AppArmor"


def _label_why(record: Object, label: str) -> str:
    from rootless.engine.containers import labels
    from rootless.security import selinux

    if label:
        return "the default, with categories of its own"
    if not selinux.enabled():
        return "this machine has no SELinux"
    return labels.unlabelled(record) or "the policy has no label for containers"


def _goes_without(record: Object, profile: str, label: str) -> bool:
    """Whether the machine has a security module that gives the container nothing, although nobody asked for that."""
    from rootless.engine.containers import labels
    from rootless.security import apparmor, selinux

    options, security = record.get("options", {}), record.get("security") or {}
    unconfined = security.get("apparmor") or options.get("privileged") or options.get("nested")
    if apparmor.enabled() and not profile and not unconfined:
        return True
    asked = labels.unlabelled(record)
    by_driver = record.get("driver") in labels.WITHOUT_CONTEXT
    return selinux.enabled() and not label and (not asked or by_driver)
