"""The mounts of a container, in the words of the OCI runtime specification (config.md, "Mounts"). Pure functions."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NotRequired, TypedDict

    from rootless.engine.options.device import Device
    from rootless.engine.options.run import RunOptions

    class Mount(TypedDict):
        """One entry of the specification's ``mounts``; ``beneath`` as in `rootless.runtime.spec`."""

        destination: str
        type: str
        source: str
        options: list[str]
        beneath: NotRequired[str]


_RESTRICTIONS = ("ro", "nosuid", "nodev", "noexec")
READ_ONLY_TMPFS = ("/run", "/tmp", "/var/tmp")


def _mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def default_mounts(options: RunOptions, *, map_size: int, cgroup: bool) -> list[Mount]:
    """/proc, /dev, /sys and what is in them, by which namespaces are the container's own.

    A namespace shared with the host belongs to the host's user namespace; its file system cannot be mounted anew then,
    so the host's own is bound. ``map_size`` is the number of mapped group ids: devpts names the tty group where it is
    mapped.
    """
    write = "rw" if options.privileged else "ro"
    mounts: list[Mount] = []
    if options.pid == "host":
        mounts.append(_mount("/proc", "bind", "/proc", "rprivate", "nosuid", "noexec", "nodev", "rbind"))
    else:
        extra = options.security.proc_options if options.security else []
        mounts.append(_mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev", *extra))
    mounts.append(_mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"))
    if options.network == "host":
        mounts.append(_mount("/sys", "bind", "/sys", "rprivate", "nosuid", "noexec", "nodev", write, "rbind"))
    else:
        mounts.append(_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", write))
        if cgroup:
            write = "rw" if options.nested else write
            mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", write))
    tty_group = ("gid=5",) if map_size > 5 else ()
    pts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group)
    mounts.append(_mount("/dev/pts", "devpts", "devpts", *pts))
    mounts += _ipc_mounts(options)
    if options.read_only and options.read_only_tmpfs:
        flags = ("rw", "rprivate", "nosuid", "nodev", "tmpcopyup")
        mounts += [_mount(path, "tmpfs", "tmpfs", *flags) for path in READ_ONLY_TMPFS]
    return mounts


def _ipc_mounts(options: RunOptions) -> list[Mount]:
    flags = ("nosuid", "noexec", "nodev")
    if options.ipc == "host":
        return [
            _mount("/dev/shm", "bind", "/dev/shm", "rprivate", *flags, "rbind"),
            _mount("/dev/mqueue", "bind", "/dev/mqueue", "rprivate", *flags, "rbind"),
        ]
    mounts = [_mount("/dev/mqueue", "mqueue", "mqueue", *flags)]
    if options.ipc != "none":
        write = "ro" if options.read_only and not options.read_only_tmpfs else "rw"
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", *flags, "mode=1777", f"size={options.shm_size}", write))
    return mounts


def file_mounts(files: Iterable[tuple[str, str]], read_only: bool) -> list[Mount]:
    """The generated files, as (path on the host, path in the container)."""
    write = ("ro",) if read_only else ()
    return [_mount(target, "bind", source, "bind", "rprivate", *write) for source, target in files]


def device_mounts(devices: Iterable[Device]) -> list[Mount]:
    """The host's devices, bound: no device node can be made in a user namespace."""
    return [_mount(d["destination"], "bind", d["source"], "bind", "rprivate", "nosuid", "noexec") for d in devices]


def combine(defaults: list[Mount], own: list[Mount]) -> list[Mount]:
    """The container's mounts in mounting order, parents first; a mount of the user's replaces a default one."""
    taken = {mount["destination"] for mount in own}
    kept = [mount for mount in defaults if mount["destination"] not in taken]
    both = [_for_all_below(mount) for mount in kept + own]
    return sorted(both, key=lambda mount: mount["destination"].count("/"))


def _for_all_below(mount: Mount) -> Mount:
    """The mount with restrictions that hold for what the host has mounted below a recursive bind, too."""
    options = mount.get("options") or []
    if "rbind" not in options:
        return mount
    restricted = mount.copy()
    restricted["options"] = [f"r{word}" if word in _RESTRICTIONS else word for word in options]
    return restricted
