"""Bundles of a busybox root file system, started by the runtime alone: no store, no image, no command line.

``python -IS tests/support/bundles.py FILE`` is the driver: it starts the container that FILE (JSON) describes, as the
engine would, and prints a failure as the command line does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from rootless import idmaps  # noqa: E402
from rootless.errors import RootlessError  # noqa: E402

if TYPE_CHECKING:
    from rootless.runtime.launch import Process

CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split()
    )
]
NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/interrupts", "/sys/firmware"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
GROUP = "root:x:0:\nuser:x:1000:\nwheel:x:10:user,root\naudio:x:29:user\n"


def mount(destination: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
    """One entry of a Spec's mounts."""
    return {"destination": destination, "type": kind, "source": source or kind, "options": list(options)}


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    """A bind mount."""
    return mount(destination, "bind", "rbind", "rprivate", *options, source=str(source))


def spec(*arguments: str) -> dict[str, Any]:
    """A Spec as the engine makes it for a plain run without a network."""
    hidden = ("nosuid", "noexec", "nodev")
    return {
        "ociVersion": "1.2.0",
        "process": {
            "args": list(arguments),
            "env": ["PATH=/usr/bin:/bin", "TERM=dumb"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", *hidden),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/sys", "sysfs", *hidden, "ro"),
            mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            mount("/dev/mqueue", "mqueue", *hidden),
            mount("/dev/shm", "tmpfs", *hidden, "mode=1777", "size=65536k", source="shm"),
            mount("/sys/fs/cgroup", "cgroup", *hidden, "relatime", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": name} for name in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def make_root(directory: Path) -> Path:
    """A root file system of busybox at ``directory``."""
    from tests.support.images import busybox_path

    source = busybox_path()
    assert source
    for name in ("bin", "dev", "etc", "home/user", "proc", "root", "sys", "tmp", "usr/bin", "var"):
        (directory / name).mkdir(parents=True)
    target = directory / "bin" / "busybox"
    target.write_bytes(Path(source).read_bytes())
    target.chmod(0o755)
    applets = subprocess.run([source, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc" / "passwd").write_text(PASSWD)
    (directory / "etc" / "group").write_text(GROUP)
    (directory / "tmp").chmod(0o1777)
    return directory


def overlay(directory: Path, *lower: Path, kind: str = "overlay") -> dict[str, Any]:
    """An overlay of ``lower``, topmost first, with its own directories below ``directory``."""
    for name in ("upper", "work", "merged"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    return {
        "kind": kind,
        "lower": [str(path) for path in lower],
        "lower_links": [],
        "links": "",
        "upper": str(directory / "upper"),
        "work": str(directory / "work"),
        "merged": str(directory / "merged"),
        "options": ["userxattr"] if kind == "overlay" else [],
        "readonly": False,
    }


def job(
    directory: Path, given: dict[str, Any], root: Path | dict[str, Any], idmap: str = "default", **extras: Any
) -> list[str]:
    """The command line that starts the container; ``idmap`` is default, single or keep-id."""
    if not isinstance(root, dict):
        from rootless.runtime.bundle import directory_root

        root = dict(directory_root(str(root)))
    file = directory / "job.json"
    file.write_text(json.dumps({"spec": given, "rootfs": root, "idmap": idmap, "extras": extras}))
    return ["/usr/bin/python3", "-IS", __file__, str(file)]


def run(
    directory: Path,
    given: dict[str, Any],
    root: Path | dict[str, Any],
    idmap: str = "default",
    stdin: str = "",
    pass_fds: tuple[int, ...] = (),
    **extras: Any,
) -> subprocess.CompletedProcess[str]:
    """Start a container and wait for its end."""
    command = job(directory, given, root, idmap, **extras)
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, errors="surrogateescape", check=False, timeout=60,
        pass_fds=pass_fds,
    )


def create(path: str) -> Process:
    """Create the container that a job file describes."""
    from rootless.runtime import launch, plan

    document = json.loads(Path(path).read_text())
    maps = {"default": idmaps.default_map, "single": idmaps.single_map, "keep-id": idmaps.keep_id}
    if "copy_up" in document["extras"]:
        document["extras"]["copy_up"] = [tuple(pair) for pair in document["extras"]["copy_up"]]
    if "seccomp" in document["extras"]:
        document["extras"]["seccomp"] = bytes.fromhex(document["extras"]["seccomp"])
    compiled = plan.compile(document["spec"], document["rootfs"], maps[document["idmap"]](), document["extras"])
    return launch.create(compiled)


def main(path: str) -> int:
    """Start the container of a job file; its exit code."""
    try:
        process = create(path)
        if os.environ.get("NOTES"):
            os.write(2, f"notes: {process.notes}\n".encode())
        process.start()
        return process.wait()
    except RootlessError as error:
        hint = f"hint: {error.hint}\n" if error.hint else ""
        os.write(2, f"Error: {error.message}\n{hint}".encode(errors="backslashreplace"))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
