"""``rootless-oci spec``: a first ``config.json``, which runs a shell as it is."""

from __future__ import annotations

from rootless import idmaps
from rootless.security import defaults, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERSION = "1.0.2"
"""The oldest that has all that is in it, so that older runtimes take it too."""
# What runc and crun give in theirs.
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_OWN = ("pid", "network", "ipc", "uts", "cgroup", "mount")
_HIDDEN = ("nosuid", "noexec", "nodev")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def document(rootless: bool) -> dict[str, Any]:
    """The Spec; ``rootless``: with a user namespace, in which the caller is root and has its subordinate ids."""
    linux: dict[str, Any] = {
        "namespaces": [{"type": name} for name in (*_OWN, *(["user"] if rootless else []))],
        "maskedPaths": defaults.masked_paths(),
        "readonlyPaths": defaults.readonly_paths(),
        "seccomp": seccomp.default_profile(_CAPABILITIES),
    }
    if rootless:
        idmap = idmaps.default_map()
        linux["uidMappings"], linux["gidMappings"] = _mappings(idmap.uids), _mappings(idmap.gids)
    return {
        "ociVersion": _VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [_PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: _CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "rootless",
        "mounts": [
            _mount("/proc", "proc", "proc", *_HIDDEN),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
            _mount("/dev/shm", "tmpfs", "shm", *_HIDDEN, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", *_HIDDEN),
            _mount("/sys", "sysfs", "sysfs", *_HIDDEN, "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_HIDDEN, "relatime", "ro"),
        ],
        "linux": linux,
    }


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _mappings(rows: list[tuple[int, int, int]]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": length} for inside, outside, length in rows]
