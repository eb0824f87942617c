"""What the user asked of ``create`` and ``run``, read from the values of the command line.

Nothing here looks at an image or at the machine; parsers that few commands need are imported when their flag is given.
"""

from __future__ import annotations

import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.options.device import Device
    from rootless.engine.options.health import HealthOptions
    from rootless.engine.options.limits import Rlimit
    from rootless.engine.options.security import SecurityOptions
    from rootless.engine.options.userns import UserNamespace
    from rootless.engine.options.volume import UserMount
    from rootless.network.ports import PortMapping

SHM_SIZE = 64 << 20
STOP_TIMEOUT = 10
PIDS = 2048
"""How many processes a container may have where nobody says otherwise (podman's default)."""

LIMITS = (
    "memory", "memory_swap", "memory_reservation", "memory_swappiness", "cpus", "cpu_shares", "cpu_quota", "cpu_period",
    "cpu_rt_period", "cpu_rt_runtime", "cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight",
    "blkio_weight_device", "device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops",
    "oom_kill_disable", "cgroup_conf",
)  # fmt: skip
"""The flags of `rootless.engine.options.resources`."""

HEALTH = (
    "health_cmd", "health_interval", "health_timeout", "health_retries", "health_start_period", "health_on_failure",
    "health_startup_cmd", "health_startup_interval", "health_startup_timeout", "health_startup_retries",
    "health_startup_success", "health_log_destination", "health_max_log_count", "health_max_log_size",
    "no_healthcheck",
)  # fmt: skip
"""The flags of `rootless.engine.options.health`."""

RESTART_POLICIES = ("no", "on-failure", "always", "unless-stopped")
LOG_DRIVERS = ("k8s-file", "json-file", "journald", "none", "passthrough")
_STREAMS = ("stdin", "stdout", "stderr")
_HOST_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


class RunOptions:
    """The parsed options of one container; see the flags of the same names in ``rootless run --help``.

    None and empty mean that the flag was not given. ``entrypoint`` [] means that the image's is taken away. Paths are
    absolute; sizes are bytes; times are seconds.
    """

    __slots__ = (
        "add_host", "annotations", "attach", "cap_add", "cap_drop", "cgroup_parent", "cgroupns", "cgroups",
        "cidfile", "conmon_pidfile", "detach_keys", "devices", "dns", "dns_option", "dns_search", "entrypoint",
        "env", "env_file", "env_host", "env_merge", "expose", "groups", "hardened", "health", "hostname", "http_proxy",
        "image_volume", "init", "interactive", "ipc", "keep_groups", "labels", "log_driver", "log_path", "log_size",
        "log_tag", "mounts", "name", "nested", "network", "no_hosts", "oom_score_adj", "passwd", "pid", "pidfile",
        "ports", "preserve_fds", "privileged", "publish_all", "quiet", "read_only", "read_only_tmpfs", "replace",
        "require", "resources", "restart", "restart_retries", "rlimits", "rm", "rootfs", "sdnotify", "security",
        "shm_size", "sig_proxy", "stop_signal", "stop_timeout", "strict", "sysctls", "timeout", "tty", "tz",
        "ulimit_host", "umask", "unsetenv", "unsetenv_all", "user", "userns", "uts", "volumes_from", "workdir",
    )  # fmt: skip

    def __init__(self, values: Mapping[str, Any]) -> None:
        get = values.get
        self.name: str = get("name") or ""
        self.interactive = bool(get("interactive"))
        self.tty = bool(get("tty"))
        self.rm = bool(get("rm"))
        self.quiet = bool(get("quiet"))
        self.replace = bool(get("replace"))
        self.privileged = bool(get("privileged"))
        self.hardened = bool(get("hardened"))
        self.nested = bool(get("nested"))
        self.strict = bool(get("strict"))
        self.require = _require(get("require"))
        self.read_only = bool(get("read_only"))
        self.read_only_tmpfs = get("read_only_tmpfs") is not False
        self.rootfs = bool(get("rootfs"))
        self.init = bool(get("init"))
        self.no_hosts = bool(get("no_hosts"))
        self.http_proxy = get("http_proxy") is not False
        self.passwd = get("passwd") is not False
        self.sig_proxy = get("sig_proxy") is not False
        self.publish_all = bool(get("publish_all"))
        self.env: list[str] = get("env") or []
        self.env_file: list[str] = get("env_file") or []
        self.env_host = bool(get("env_host"))
        self.env_merge: list[str] = get("env_merge") or []
        self.unsetenv: list[str] = get("unsetenv") or []
        self.unsetenv_all = bool(get("unsetenv_all"))
        self.user: str = get("user") or ""
        self.cap_add: list[str] = _words(get("cap_add"))
        self.cap_drop: list[str] = _words(get("cap_drop"))
        self.add_host: list[str] = get("add_host") or []
        self.dns: list[str] = get("dns") or []
        self.dns_option: list[str] = get("dns_option") or []
        self.dns_search: list[str] = get("dns_search") or []
        self.expose: list[str] = get("expose") or []
        self.volumes_from: list[str] = get("volumes_from") or []
        self.tz: str = get("tz") or ""
        self.hostname = _hostname(get("hostname") or "")
        self.cidfile = _path(get("cidfile"))
        self.pidfile = _path(get("pidfile"))
        self.conmon_pidfile = _path(get("conmon_pidfile"))
        self.detach_keys = _detach_keys(get("detach_keys"))
        self.restart, self.restart_retries = _restart(get("restart") or "no")
        self.sdnotify = _choice(get("sdnotify"), "--sdnotify", ("container", "conmon", "healthy", "ignore"))
        entrypoint = get("entrypoint")
        self.entrypoint = None if entrypoint is None else parse_entrypoint(entrypoint)
        self.network = _network(get("network"))
        self.ipc = _choice(get("ipc"), "--ipc", ("private", "shareable", "host", "none"))
        self.pid = _choice(get("pid"), "--pid", ("private", "host"))
        self.uts = _choice(get("uts"), "--uts", ("private", "host"))
        self.cgroupns = _choice(get("cgroupns"), "--cgroupns", ("private", "host"))
        self.cgroups = _choice(get("cgroups"), "--cgroups", ("enabled", "disabled", "no-conmon", "split"))
        self.cgroup_parent: str = get("cgroup_parent") or ""
        self.resources, self.oom_score_adj = _resources(values, self.cgroups)
        self.log_driver = _choice(get("log_driver"), "--log-driver", LOG_DRIVERS)
        self.image_volume = _choice(get("image_volume"), "--image-volume", ("anonymous", "bind", "tmpfs", "ignore"))
        self.log_path, self.log_size, self.log_tag = _log_options(get("log_opt"))
        self.attach = _attach(get("attach") or [])
        self.workdir = _workdir(get("workdir") or "")
        self.groups, self.keep_groups = _groups(get("group_add") or [])
        self.labels = _labels(values, "label", "label_file")
        self.annotations = _labels(values, "annotation", "")
        self.ports = _ports(get("publish"))
        self.mounts = parse_mounts(values)
        self.userns = _userns(values)
        self.security = _security(get("security_opt"))
        self.ulimit_host, self.rlimits = _ulimits(get("ulimit"))
        self.devices = _devices(get("device"))
        self.sysctls: list[str] = get("sysctl") or []
        self.health = _health(values)
        self._numbers(values)
        if self.name:
            from rootless.engine.options.values import check_name

            check_name("container", self.name)
        if self.rm and self.restart != "no":
            raise UsageError("cannot use --rm with --restart: the container would be gone", "leave one of them out")
        if self.log_driver == "passthrough" and self.tty:
            raise UsageError("cannot use --log-driver=passthrough with --tty")

    def _numbers(self, values: Mapping[str, Any]) -> None:
        self.shm_size = SHM_SIZE
        self.umask = 0o022
        self.stop_signal = 0
        self.stop_timeout = STOP_TIMEOUT
        self.timeout = 0
        self.preserve_fds = 0
        keys = ("shm_size", "umask", "stop_signal", "stop_timeout", "timeout", "preserve_fds")
        if all(values.get(key) in (None, "") for key in keys):
            return
        from rootless.engine.options import values as parse

        if values.get("shm_size"):
            self.shm_size = parse.parse_bytes(str(values["shm_size"]), "--shm-size")
        if values.get("umask"):
            self.umask = parse.parse_octal(str(values["umask"]), "--umask", 0o777)
        if values.get("stop_signal"):
            self.stop_signal = parse.parse_signal(str(values["stop_signal"]), "--stop-signal")
        for key, high in (("stop_timeout", 1 << 31), ("timeout", 1 << 31), ("preserve_fds", 1 << 16)):
            if values.get(key) not in (None, ""):
                setattr(self, key, parse.parse_integer(str(values[key]), "--" + key.replace("_", "-"), 0, high))


def _words(values: list[str] | None) -> list[str]:
    """A repeatable flag whose values may also be separated by commas."""
    return [word.strip() for value in values or () for word in value.split(",") if word.strip()]


def _require(values: list[str] | None) -> list[str]:
    if not values:
        return []
    from rootless.engine.options.require import parse

    return parse(_words(values))


def _path(text: str | None) -> str:
    return os.path.abspath(text) if text else ""


def _choice(value: str | None, flag: str, allowed: tuple[str, ...]) -> str:
    if not value:
        return allowed[0]
    if value not in allowed:
        raise UsageError(f"cannot use {value[:40]!r} for {flag}", "use one of " + ", ".join(allowed))
    return value


def _network(value: str | list[str] | None) -> str:
    """The network mode as text; what it means is rootless.network's business."""
    modes = [value] if isinstance(value, str) else list(value or ())
    if len(modes) > 1:
        raise UsageError("cannot join more than one network", "give --network once")
    mode = modes[0] if modes else ""
    kind = mode.partition(":")[0]
    if kind in ("bridge", "container", "ns", "pod"):
        raise UsageError(f"cannot use the network {mode[:80]!r}: only none, host, pasta and slirp4netns are supported")
    if kind not in ("", "default", "private", "none", "host", "pasta", "slirp4netns"):
        hint = "use none, host, pasta or slirp4netns"
        raise UsageError(f"cannot use the network {mode[:80]!r}: network not found", hint)
    return "" if mode in ("default", "private") else mode


def _hostname(name: str) -> str:
    """A name that sethostname(2) takes; characters that could make a second line of /etc/hosts are refused."""
    if len(name) > 64 or not _HOST_NAME.issuperset(name) or name[:1] in ("-", "."):
        raise UsageError(f"cannot use {name[:80]!r} for --hostname: it must be a host name of at most 64 characters")
    return name


def _workdir(path: str) -> str:
    if path and (not path.startswith("/") or "\0" in path):
        raise UsageError(f"cannot use {path[:120]!r} for --workdir: the path must be absolute")
    return os.path.normpath(path) if path else ""


def _log_options(entries: list[str] | None) -> tuple[str, int, str]:
    """(path, size, tag)."""
    if not entries:
        return "", 0, ""
    from rootless.engine.options.log import parse_log_options

    return parse_log_options(entries)


def _restart(text: str) -> tuple[str, int]:
    """(policy, how often at most; 0 for without end)."""
    policy, colon, count = text.partition(":")
    counted = policy == "on-failure" and count.isascii() and count.isdigit()
    if policy not in RESTART_POLICIES or (colon and not counted):
        names = ", ".join(RESTART_POLICIES)
        raise UsageError(f"cannot use {text[:40]!r} for --restart", f"choose from: {names}; on-failure:N for N times")
    return policy, int(count or 0)


def _detach_keys(text: str | None) -> str | None:
    if text:
        from rootless.engine.options.detach_keys import parse

        parse(text)
    return text


def _attach(streams: list[str]) -> list[str]:
    for stream in streams:
        if stream.lower() not in _STREAMS:
            raise UsageError(f"cannot use {stream[:40]!r} for --attach: it must be stdin, stdout or stderr")
    return [stream.lower() for stream in streams]


def _groups(values: list[str]) -> tuple[list[str], bool]:
    groups = _words(values)
    if "keep-groups" in groups and len(groups) > 1:
        raise UsageError("cannot use other groups together with --group-add keep-groups")
    if groups == ["keep-groups"]:
        return [], True
    for group in groups:
        if not group.isprintable() or ":" in group:
            raise UsageError(f"cannot use {group[:80]!r} for --group-add")
    return groups, False


def parse_entrypoint(text: str) -> list[str]:
    """One word, or a JSON array of words; empty: no entrypoint at all."""
    if text.startswith("["):
        from storage.jsonfast import loads

        try:
            words = loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) and "\0" not in word for word in words):
            return words
    return [text] if text else []


def _labels(values: Mapping[str, Any], key: str, file_key: str) -> dict[str, str]:
    entries, files = values.get(key) or [], values.get(file_key) or []
    if not entries and not files:
        return {}
    from rootless.engine.options.env import parse_labels

    return parse_labels(entries, files, "--" + key)


def _ports(entries: list[str] | None) -> list[PortMapping]:
    if not entries:
        return []
    from rootless.network import ports

    return [mapping for entry in entries for mapping in ports.parse(entry)]


def parse_mounts(values: Mapping[str, Any]) -> list[UserMount]:
    """Every ``--volume``, ``--mount`` and ``--tmpfs``; two at the same destination are refused."""
    mounts: list[UserMount] = []
    if values.get("volume"):
        from rootless.engine.options.volume import parse_volume

        mounts += [parse_volume(text) for text in values["volume"]]
    if values.get("tmpfs"):
        from rootless.engine.options.volume import parse_tmpfs

        mounts += [parse_tmpfs(text) for text in values["tmpfs"]]
    if values.get("mount"):
        from rootless.engine.options.mount import parse_mount

        mounts += [parse_mount(text) for text in values["mount"]]
    seen: set[str] = set()
    for mount in mounts:
        if mount["destination"] in seen:
            raise UsageError(f"cannot mount twice at {mount['destination']}: duplicate mount destination")
        seen.add(mount["destination"])
    return mounts


def _resources(values: Mapping[str, Any], mode: str) -> tuple[dict[str, Any], int | None]:
    """(``linux.resources``, score of the killer when memory is short)."""
    score = values.get("oom_score_adj")
    limits: dict[str, Any] = {}
    if any(values.get(flag) is not None for flag in LIMITS):
        from rootless.engine.options import resources

        limits = resources.parse(values)
    if mode == "disabled":
        if limits:
            raise UsageError("cannot limit what a container uses with --cgroups=disabled", "leave away one of them")
    elif "pids" not in limits and "pids.max" not in limits.get("unified", {}):
        limits["pids"] = {"limit": PIDS}
    if score is None:
        return limits, None
    from rootless.engine.options.values import parse_integer

    return limits, parse_integer(str(score), "--oom-score-adj", -1000, 1000)


def _userns(values: Mapping[str, Any]) -> UserNamespace | None:
    if not (values.get("userns") or values.get("uidmap") or values.get("gidmap")):
        return None
    from rootless.engine.options.userns import parse_userns

    return parse_userns(values.get("userns") or "", values.get("uidmap") or (), values.get("gidmap") or ())


def _security(entries: list[str] | None) -> SecurityOptions | None:
    if not entries:
        return None
    from rootless.engine.options.security import parse_security

    return parse_security(entries)


def _ulimits(entries: list[str] | None) -> tuple[bool, list[Rlimit]]:
    if not entries:
        return False, []
    from rootless.engine.options.limits import parse_ulimits

    return parse_ulimits(entries)


def _health(values: Mapping[str, Any]) -> HealthOptions | None:
    given = given_health(values)
    if not given:
        return None
    from rootless.engine.options.health import HealthOptions

    return HealthOptions(values, given)


def given_health(values: Mapping[str, Any]) -> set[str]:
    """The keys of those flags of `HEALTH` that are given."""
    return {key for key in HEALTH if values.get(key) not in (None, False)}


def _devices(entries: list[str] | None) -> list[Device]:
    if not entries:
        return []
    from rootless.engine.options.device import parse_devices

    return parse_devices(entries)
