"""``info``: what this machine offers, what was chosen and why; the keys are those of ``podman info``."""

from __future__ import annotations

import os
import time

from rootless import __version__, paths
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.idmaps import IdMap

    Object = dict[str, Any]

PODMAN_API = "5.8.0"


def info(engine: Engine) -> Object:
    """The whole report."""
    return {
        "host": _host(engine),
        "store": _store(engine),
        "registries": _registries(),
        "Isolation": _isolation(engine),
        "plugins": {
            "volume": ["local"], "network": ["pasta", "slirp4netns"], "log": ["k8s-file", "none", "passthrough"],
        },
        "version": {
            "APIVersion": PODMAN_API, "Version": PODMAN_API, "RootlessVersion": __version__,
            "OsArch": f"linux/{_architecture()}", "Os": "linux",
        },
    }  # fmt: skip


def _isolation(engine: Engine) -> Object:
    """What a container gets that is started now and for which nothing is asked, see `rootless.engine.isolation`."""
    from rootless.engine.containers.create import with_defaults
    from rootless.engine.containers.isolation import expected
    from rootless.engine.options.run import RunOptions

    return expected(engine, RunOptions(with_defaults(engine, {})))


def _architecture() -> str:
    from storage.oci import host_platform

    return str(host_platform()["architecture"])


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""


def _host(engine: Engine) -> Object:
    machine = os.uname()
    memory = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)

    def kilobytes(key: str) -> int:
        words = memory.get(key, "0").split()
        return int(words[0]) * 1024 if words and words[0].isdigit() else 0

    uptime = float((_read("/proc/uptime").split() or ["0"])[0])
    return {
        "arch": _architecture(),
        **_cgroups(str(engine.globals.get("cgroup_manager") or "")),
        "cpus": os.cpu_count() or 1,
        "distribution": _distribution(),
        "eventLogger": "file",
        "hostname": machine.nodename,
        "idMappings": _id_mappings(engine.idmap),
        "kernel": machine.release,
        "linkmode": "dynamic",
        "logDriver": "k8s-file",
        "memFree": kilobytes("MemFree"),
        "memTotal": kilobytes("MemTotal"),
        "swapFree": kilobytes("SwapFree"),
        "swapTotal": kilobytes("SwapTotal"),
        "networkBackend": _network(),
        "networkHelpers": _helpers(),
        "ociRuntime": {
            "name": "rootless-oci", "package": f"rootless {__version__}", "path": _program(),
            "version": f"rootless-oci version {__version__}, in the engine's own process",
        },
        "os": "linux",
        "remoteSocket": {"exists": False, "path": ""},
        "security": _security(),
        "serviceIsRemote": False,
        "uptime": time.strftime("%Hh %Mm %Ss", time.gmtime(uptime)) if uptime < 86400 else f"{int(uptime // 3600)}h",
        "variant": _variant(),
    }  # fmt: skip


def _variant() -> str:
    from storage.oci import host_platform

    return str(host_platform().get("variant", ""))


def _cgroups(asked: str) -> Object:
    """Who makes the control groups of containers that are started now, and what these can limit."""
    from rootless.cgroups import manager, tree

    version = "v2" if tree.hierarchy()[1] else "v1"
    try:
        found = manager.choose(manager.Wish("info", manager=asked))
    except (RootlessError, OSError):
        found = manager.Location("none", "")
    kind = "disabled" if found.kind == "none" else found.kind
    return {"cgroupManager": kind, "cgroupVersion": version, "cgroupControllers": sorted(found.controllers)}


def _network() -> str:
    """What connects a container by default."""
    from rootless import network

    return network.choose().kind


def _program() -> str:
    """Where the runtime is installed, empty if it is not."""
    import shutil

    return shutil.which("rootless-oci") or ""


def _distribution() -> Object:
    words: dict[str, str] = {}
    for line in _read("/etc/os-release").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            words[key] = value.strip("\"'")
    return {
        "distribution": words.get("ID", "unknown"),
        "version": words.get("VERSION_ID", "unknown"),
        "codename": words.get("VERSION_CODENAME", ""),
    }


def _id_mappings(idmap: IdMap) -> Object:
    def rows(ranges: list[tuple[int, int, int]]) -> list[Object]:
        return [{"container_id": inside, "host_id": outside, "size": size} for inside, outside, size in ranges]

    return {"uidmap": rows(idmap.uids), "gidmap": rows(idmap.gids)}


def _helpers() -> Object:
    """The programs of others that are used where they are installed: absolute path, or why they are missed."""
    from rootless.network import tunnel
    from rootless.paths import helper

    found: Object = {}
    for name, use in (
        ("pasta", "the default network"),
        ("slirp4netns", "the network where pasta is missing"),
        ("fuse-overlayfs", "root file systems where the kernel has no overlay for users"),
        ("newuidmap", "more than one user id in a container"),
    ):
        found[name] = helper(name) or f"not installed; it gives {use}"
    found["/dev/net/tun"] = "not accessible" if tunnel() else "usable"
    return found


def _security() -> Object:
    from rootless.security import apparmor, selinux
    from rootless.security.capabilities import DEFAULT

    modules = _read("/sys/kernel/security/lsm").strip().split(",")
    return {
        "apparmorEnabled": apparmor.enabled(),
        "capabilities": ",".join(DEFAULT),
        "rootless": os.geteuid() != 0,
        "seccompEnabled": "Seccomp:" in _read("/proc/self/status"),
        "seccompProfilePath": "built-in",
        "selinuxEnabled": selinux.enabled(),
        "kernelModules": [module for module in modules if module],
    }


def _store(engine: Engine) -> Object:
    layout = engine.store.layout
    driver = engine.driver
    states = _states(engine)
    disk = os.statvfs(layout.data)
    return {
        "configFile": paths.config_dir() + "/rootless.conf",
        "containerStore": states,
        "graphDriverName": driver.name,
        "graphDriverReason": driver.why,
        "graphOptions": {},
        "graphRoot": layout.data,
        "graphRootAllocated": disk.f_blocks * disk.f_frsize,
        "graphRootUsed": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        "graphStatus": {"Native Overlay Diff": "true" if driver.name == "overlay" else "false"},
        "imageCopyTmpDir": layout.tmp,
        "imageStore": {"number": len(engine.store.images.list())},
        "runRoot": layout.run,
        "transientStore": False,
        "volumePath": layout.volumes,
    }


def _states(engine: Engine) -> dict[str, int]:
    from rootless.engine.containers.status import status

    ids = engine.store.containers.ids()
    running = sum(1 for container_id in ids if status(engine, container_id).state == "running")
    return {"number": len(ids), "paused": 0, "running": running, "stopped": len(ids) - running}


def _registries() -> Object:
    from rootless.registry.registries_conf import load

    settings = load()
    shown: Object = {"search": settings.search}
    for rule in settings.rules.values():
        shown[rule.prefix] = {"Prefix": rule.prefix, "Blocked": rule.blocked, "Insecure": rule.insecure}
    return shown
