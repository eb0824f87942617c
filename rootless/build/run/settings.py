"""The options of `build` that are about the containers of RUN, as those that `run` has.

What is not given has the engine's own default: the settings of the user's configuration hold for builds as well, as far
as a build has such an option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless.engine.containers.create import with_defaults
from rootless.engine.options.run import RunOptions
from rootless.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.engine.context import Engine

HOST_NAME = "sandbox"
"""Of every container of a build: its own would make each result another."""

INSECURE = "security.insecure"
_TAKEN = (
    "add_host", "cap_add", "cap_drop", "cgroup_parent", "cgroupns", "cpu_period", "cpu_quota", "cpu_shares", "cpus",
    "cpuset_cpus", "cpuset_mems", "cgroup_conf", "device", "dns", "dns_option", "dns_search", "group_add", "http_proxy",
    "ipc", "memory", "memory_swap", "network", "no_hosts", "pid", "security_opt", "shm_size", "ulimit", "uts", "volume",
)  # fmt: skip
_RESULT = ("add_host", "cap_add", "cap_drop", "device", "group_add", "hardened", "ipc", "network", "no_hostname",
           "no_hosts", "pid", "security_opt", "uts", "volume")  # fmt: skip
"""Those that change what a command can see or do, rather than how much it may use."""

_ISOLATIONS = ("", "default", "oci", "rootless", "chroot")
_HOST_USERS = ("", "host")


def read(engine: Engine, values: Mapping[str, Any], network: str, security: str) -> RunOptions:
    """The options of a step's container. ``network`` and ``security`` are those of the RUN, '' where not given.

    Raises UsageError.
    """
    check(values)
    if values.get("isolation") == "chroot" and engine.globals.get("debug"):
        engine.tell("isolation chroot: there is one kind of container, that of run")
    merged = _merged(engine, values)
    for text in merged["volume"]:
        if not text.startswith("/"):
            hint = "write the whole path: --volume /DIRECTORY:/PLACE"
            raise UsageError(f"cannot use {text[:120]!r} for --volume: a build mounts directories of the host", hint)
    if network:
        if network not in ("default", "none", "host"):
            raise UsageError(f"cannot use {network[:40]!r} for RUN --network", "use one of default, none, host")
        merged["network"] = merged.get("network") if network == "default" else network
    if _is_insecure(values, security):
        merged["privileged"] = True
    if merged.get("uts") != "host":
        merged["hostname"] = HOST_NAME
    # An image's entrypoint is not that of its RUN; accounts that nobody made would be in files that RUN may change.
    return RunOptions({**merged, "entrypoint": "", "passwd": False, "rm": True})


def _merged(engine: Engine, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the command line over those of the user's configuration; volumes of the latter are for `run`."""
    given = {key: values[key] for key in _TAKEN if values.get(key) is not None}
    merged = with_defaults(engine, given)
    known = {key: value for key, value in merged.items() if key in _TAKEN or key == "hardened"}
    return {**known, "volume": given.get("volume") or []}


def check(values: Mapping[str, Any]) -> None:
    """Refuse what a build cannot give. Raises UsageError."""
    isolation = values.get("isolation") or ""
    if isolation not in _ISOLATIONS:
        raise UsageError(f"cannot use {isolation[:40]!r} for --isolation", "use one of oci, rootless, chroot")
    userns = values.get("userns") or ""
    if userns not in _HOST_USERS:
        hint = "leave it out: a build runs with all the ids that you have"
        raise UsageError(f"cannot use {userns[:40]!r} for --userns: layers are made with your own id map", hint)
    for entitlement in values.get("allow") or ():
        if entitlement not in (INSECURE, "network.host"):
            raise UsageError(f"cannot use {entitlement[:40]!r} for --allow", f"use {INSECURE} or network.host")


def _is_insecure(values: Mapping[str, Any], security: str) -> bool:
    if security in ("", "sandbox"):
        return False
    if security != "insecure":
        raise UsageError(f"cannot use {security[:40]!r} for RUN --security", "use sandbox or insecure")
    if INSECURE not in (values.get("allow") or ()):
        raise UsageError("cannot RUN --security=insecure: it is not allowed", f"allow it with --allow {INSECURE}")
    return True


def key_part(engine: Engine, values: Mapping[str, Any]) -> dict[str, Any]:
    """What of the command line and of the user's configuration changes the result of a step, for the cache's key."""
    given = {**_merged(engine, values), "no_hostname": values.get("no_hostname")}
    return {key: given[key] for key in _RESULT if given.get(key)}
